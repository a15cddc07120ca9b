"""Stored slides are read again when they are due; one flipped bit is told by the slide, a job and the audit log."""

import asyncio
import errno
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from job_requests import add_slide, code_of, submit

from server.access.audit import AuditLog
from server.intake import scrub as module
from server.intake.scrub import Scrub, scrub_for_ever
from workers.core.errors.base import Unavailable
from workers.core.settings import Settings
from workers.core.storage.files import write_json
from workers.core.store import Store


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days, minutes=1)


def stored(store: Store, files: dict[str, bytes], **fields: str) -> str:
    """A slide of these files, with the digests that `sha256sum` would give."""
    slide_id = add_slide(store, 0.5)
    folder = store.slide_dir(slide_id)
    (folder / "original.tif").unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    info = store.read_slide(slide_id).model_copy(update=fields)
    write_json(folder / "slide.json", info)
    return slide_id


def plain(store: Store, content: bytes = b"slide") -> str:
    return stored(store, {"original.svs": content}, sha256=hashlib.sha256(content).hexdigest())


def of_a_set(store: Store) -> str:
    files = {"original.mrxs": b"front", "original/Data0000.dat": b"pixels"}
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    # In the order of their names: "original.mrxs" goes before "original/…".
    return stored(store, files, stored_sha256=hashlib.sha256(lines.encode()).hexdigest())


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def scrub(store: Store, days: float = 30) -> Scrub:
    return Scrub(store, Settings(data_dir=store.root, rehash_days=days), AuditLog(store.root, 10**6))


def log(store: Store) -> list[dict[str, Any]]:
    path = store.root / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def found(store: Store, slide_id: str) -> bool | None:
    integrity = store.read_slide(slide_id).integrity
    return None if integrity is None else integrity.ok


@pytest.mark.parametrize("make", [plain, of_a_set])
@pytest.mark.parametrize("damage", [flip_one_bit, Path.unlink])
def test_a_slide_is_compared_with_what_was_stored(
    store: Store, make: Callable[[Store], str], damage: Callable[[Path], None]
) -> None:
    slide_id, checks = make(store), scrub(store)
    assert (checks.check_due(later(29)), found(store, slide_id)) == (0, None)
    assert (checks.check_due(later(30)), found(store, slide_id)) == (1, True)
    damage(max(path for path in store.slide_dir(slide_id).rglob("*") if path.is_file() and path.suffix != ".json"))
    assert (checks.check_due(later(59)), found(store, slide_id)) == (0, True)
    assert (checks.check_due(later(61)), found(store, slide_id)) == (1, False)
    assert [(line["action"], line.get("code")) for line in log(store)] == [
        ("slide_checked", None),
        ("slide_checked", "slide_damaged"),
    ]
    assert log(store)[0]["path"] == f"/v1/slides/{slide_id}"


def test_what_was_put_back_is_whole_again_after_a_day(store: Store) -> None:
    slide_id, checks = plain(store), scrub(store)
    file = store.slide_file(slide_id)
    flip_one_bit(file)
    checks.check_due(later(30))
    flip_one_bit(file)
    assert (checks.check_due(later(30.5)), found(store, slide_id)) == (0, False)
    assert (checks.check_due(later(31.5)), found(store, slide_id)) == (1, True)


def test_zero_days_check_nothing(store: Store) -> None:
    plain(store)
    assert scrub(store, days=0).check_due(later(10**4)) == 0


def test_an_error_that_says_nothing_of_the_slide_marks_none_and_stops_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = plain(store), plain(store)

    def opened(path: Path, **_: Any) -> FileIO:
        if path.parent.name == first:
            raise OSError(errno.EMFILE, "Too many open files")
        return FileIO(path)

    monkeypatch.setattr(module, "_SlowFile", opened)
    scrub(store).check_due(later(30))
    assert (found(store, first), found(store, other)) == (None, True)


def test_a_slide_that_is_deleted_meanwhile_stays_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slide_id = plain(store)

    def deleting(path: Path, **_: Any) -> FileIO:
        store.delete_slide(slide_id)
        return FileIO(path)

    monkeypatch.setattr(module, "_SlowFile", deleting)
    scrub(store).check_due(later(30))
    assert (list((store.root / "slides").iterdir()), log(store)) == ([], [])


def test_a_stop_ends_a_check_which_then_says_nothing(store: Store) -> None:
    slide_id, checks = plain(store), scrub(store)
    checks.stop()
    with pytest.raises(Unavailable):
        checks.check_due(later(30))
    assert found(store, slide_id) is None


def test_a_fault_does_not_end_the_loop_and_its_end_stops_the_check(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        calls, is_stopped = 0, False

        def __init__(self) -> None:
            self.loop, self.again = asyncio.get_running_loop(), asyncio.Event()

        def check_due(self, _now: object) -> int:
            self.calls += 1
            if self.calls == 2:
                self.loop.call_soon_threadsafe(self.again.set)
            raise ValueError("A fault.")

        def stop(self) -> None:
            self.is_stopped = True

    async def run() -> None:
        failing = Failing()
        task = asyncio.create_task(scrub_for_ever(cast("Scrub", failing), period_s=0))
        await asyncio.wait_for(failing.again.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert failing.is_stopped

    asyncio.run(run())
    assert "is tried again" in caplog.text


def test_the_slide_tells_and_no_job_is_taken_on_it(gateway: httpx.Client, gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    slide_id = plain(store)
    assert gateway.get(f"/v1/slides/{slide_id}").json()["integrity"] is None
    flip_one_bit(store.slide_file(slide_id))
    checked_at = later(30)
    scrub(store).check_due(checked_at)
    told = gateway.get(f"/v1/slides/{slide_id}").json()["integrity"]
    assert (told["ok"], datetime.fromisoformat(told["checked_at"])) == (False, checked_at)
    assert code_of(submit(gateway, slide_id)) == (422, "slide_damaged")
    batch = gateway.post("/v1/batches", json={"slide_ids": [slide_id], "model": "made-model"})
    assert code_of(batch) == (422, "invalid_request")
    assert "stored bytes" in batch.json()["error"]["message"]
