"""Checkpoints of a long chunk: begun while more comes in, one at a time; a line too fast for the disk waits."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from server.uploads import checkpoints
from server.uploads.checkpoints import CHECKPOINT_BYTES, Checkpoints
from server.uploads.records import Upload
from workers.core.errors.base import DiskFull

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WAIT_S = 30


def upload() -> Upload:
    return Upload(
        id="0" * 32, length=10 * CHECKPOINT_BYTES, filename="s.tif", created_at=NOW, expires_at=NOW + timedelta(days=1)
    )


class SlowDisk:
    """Acknowledges one more checkpoint each time it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.begun = 0
        self._is_begun = threading.Event()

    def acknowledge(self, known: Upload) -> Upload:
        self.begun += 1
        self._is_begun.set()
        assert self.let.wait(WAIT_S)
        return known.model_copy(update={"offset": known.offset + CHECKPOINT_BYTES})

    async def is_begun(self) -> None:
        assert await asyncio.to_thread(self._is_begun.wait, WAIT_S)


def test_more_comes_in_while_the_disk_is_busy() -> None:
    async def check() -> None:
        disk = SlowDisk()
        points = Checkpoints(disk.acknowledge, upload())
        await points.tend(CHECKPOINT_BYTES - 1)
        assert disk.begun == 0  # not due
        for blocks in range(1, 4):
            await points.tend(blocks * CHECKPOINT_BYTES)  # would wait here for ever otherwise
            await disk.is_begun()
        disk.let.set()
        assert (await points.end()).offset == CHECKPOINT_BYTES
        assert disk.begun == 1

    asyncio.run(check())


def test_the_line_waits_for_a_disk_that_is_too_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "BEHIND_MAX_BYTES", 2 * CHECKPOINT_BYTES)

    async def check() -> None:
        disk = SlowDisk()
        points = Checkpoints(disk.acknowledge, upload())
        await points.tend(CHECKPOINT_BYTES)
        waiting = asyncio.create_task(points.tend(2 * CHECKPOINT_BYTES))
        await disk.is_begun()
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.let.set()
        await asyncio.wait_for(waiting, WAIT_S)
        assert (await points.end()).offset == CHECKPOINT_BYTES

    asyncio.run(check())


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_disk_that_is_full_is_told(at_the_end: bool) -> None:
    def full(_: Upload) -> Upload:
        raise DiskFull("full")

    async def check() -> None:
        points = Checkpoints(full, upload())
        await points.tend(CHECKPOINT_BYTES)
        with pytest.raises(DiskFull):
            await (points.end() if at_the_end else points.tend(checkpoints.BEHIND_MAX_BYTES))

    asyncio.run(check())
