"""Retention inside a gateway: what is gone is on record, and one bad sweep is not the last."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from server.access.audit import AuditLog
from server.access.sweeping import sweep_for_ever, teller
from workers.core.errors import QueueUnavailable
from workers.core.retention import Removed, Retention


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


def test_a_sweep_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | int] = [QueueUnavailable("Gone."), OSError("No disk."), 2]

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
        await done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert [record.levelname for record in caplog.records][:2] == ["WARNING", "WARNING"]
