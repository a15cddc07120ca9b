"""Retention inside a gateway: what is gone is on record, and one bad sweep is not the last."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import httpx
import pytest
from tus_fixtures import Tus, metadata

from server.access.audit import AuditLog
from server.jobs.retention import Removed, Retention
from server.jobs.retention_sweep import sweep_for_ever, teller, upload_forgetter
from server.uploads.records import Upload
from server.uploads.store import UploadStore
from workers.core.errors.base import QueueUnavailable
from workers.core.settings import Settings


def test_what_is_gone_is_on_record_and_dropped_from_memory(tmp_path: Path) -> None:
    dropped: list[Removed] = []
    tell = teller(AuditLog(tmp_path, 10**6), dropped.append)
    removed = Removed(kind="slide", id="1" * 32, reason="age", size_bytes=5, slide_id="1" * 32)
    tell(removed)
    tell(removed.model_copy(update={"kind": "job", "id": "2" * 32, "reason": "request"}))
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines] == ["slide_removed", "job_removed"]
    assert [line["path"] for line in lines] == [f"/v1/slides/{'1' * 32}", f"/v1/jobs/{'2' * 32}"]
    assert lines[0]["detail"].startswith("age; 5 bytes")
    assert dropped[0] == removed
    tell(removed.model_copy(update={"is_whole": False}))
    assert "could not be removed" in (tmp_path / "audit.jsonl").read_text().splitlines()[-1]


def test_the_record_of_an_upload_goes_with_its_slide(tmp_path: Path) -> None:
    upload_store = UploadStore(tmp_path / "uploads", Settings(data_dir=tmp_path, disk_reserve_bytes=0))
    now = datetime.now(UTC)
    fields = {"state": "ready", "length": 3, "offset": 3, "filename": "Doe, Jane.svs", "created_at": now}
    for upload_id in ("1" * 32, "2" * 32):
        upload_store.create(Upload.model_validate(fields | {"id": upload_id, "expires_at": now + timedelta(days=1)}))
    forget = upload_forgetter(upload_store)
    removed = Removed(kind="job", id="1" * 32, reason="age", size_bytes=5, slide_id="1" * 32)
    forget(removed)
    assert len(upload_store.list_uploads()) == 2
    for _ in range(2):  # nothing is left to remove the second time
        forget(removed.model_copy(update={"kind": "slide"}))
    assert [upload.id for upload in upload_store.list_uploads()] == ["2" * 32]
    assert "1" * 32 not in str(list(tmp_path.rglob("*")))


def test_a_slide_that_is_deleted_leaves_no_upload_to_be_listed(
    gateway: httpx.Client, gateway_settings: Settings, tus_slide: bytes
) -> None:
    client = Tus(str(gateway.base_url), gateway_settings)
    with client.http:
        address = client.new(len(tus_slide), tus_slide, Upload_Metadata=metadata(filename="Doe, Jane.tif"))
        client.assert_slide(address, tus_slide)
    assert gateway.delete(f"/v1/slides/{address.rpartition('/')[2]}").status_code == 204
    assert gateway.get("/v1/uploads").json()["items"] == []
    assert gateway.get(address).status_code == 404
    assert list((gateway_settings.data_dir / "uploads").iterdir()) == []


def test_a_sweep_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | int] = [QueueUnavailable("Gone."), OSError("No disk."), ValueError("A fault."), 2]

    class Failing:
        def __init__(self, tell_done: Callable[[], object]) -> None:
            self.tell_done = tell_done

        def sweep(self, _now: object) -> int:
            if not answers:
                self.tell_done()
                return 0
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        failing = Failing(lambda: loop.call_soon_threadsafe(done.set))
        task = asyncio.create_task(sweep_for_ever(cast("Retention", failing), period_s=0))
        await asyncio.wait_for(done.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert [record.levelname for record in caplog.records][:3] == ["WARNING", "WARNING", "ERROR"]
