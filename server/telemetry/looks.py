"""A look at queue and disk, for who watches over the server: beside the event loop, bounded, and kept for a moment.

However many ask, they are looked at once in `KEPT_S`, and more seldom where a look is dear; whatever hangs is waited
for `LOOK_S`, and then told as away.
"""

import shutil
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from anyio import CapacityLimiter, move_on_after, to_thread

from server.viewing.service import Viewing
from workers.core.errors.base import QueueUnavailable
from workers.core.queue.census import Census, read_tallies, take_census
from workers.core.queue.jobs import Jobs
from workers.core.telemetry.tallies import Tally

LOOK_S = 3.0
"""Who scrapes waits ten seconds as a rule."""

KEPT_S = 3.0
KEPT_TIMES, KEPT_MAX_S = 50, 30.0
"""A look is good for so many times what it took as well: Redis answers nobody else while it counts many jobs."""

THREADS = 4

T = TypeVar("T")


class Disk(NamedTuple):
    """The disk of the data folder, in bytes."""

    size: int
    free: int


class Queue(NamedTuple):
    """What is in the queue, who works, and what workers have counted: tally, labels, sum."""

    census: Census
    sums: list[tuple[Tally, tuple[str, ...], float]]


class Scene(NamedTuple):
    """What one look found; None of what did not answer. Requests wait for one of the children that decode tiles."""

    queue: Queue | None
    disk: Disk | None
    tile_children_busy: int
    tile_requests_waiting: int


class Look(Generic[T]):
    """Asks what may hang: in a thread, one at a time.

    Args:
        ask: Blocks.
        away: What it raises if there is no answer.
    """

    def __init__(self, ask: Callable[[], T], away: type[Exception]) -> None:
        self._ask = ask
        self._away = away
        self._turn = threading.Lock()
        self._threads = CapacityLimiter(THREADS)
        self._kept: tuple[float, T | None] | None = None

    async def get(self) -> T | None:
        """Return the answer, seconds old at most; None if there is none in time."""
        with move_on_after(LOOK_S):
            return await to_thread.run_sync(self._look, abandon_on_cancel=True, limiter=self._threads)
        return None

    def _look(self) -> T | None:
        if not self._turn.acquire(timeout=LOOK_S):  # one hangs: no other begins
            return None
        try:
            if self._kept is None or time.monotonic() >= self._kept[0]:
                began = time.monotonic()
                try:
                    found: T | None = self._ask()
                except self._away:
                    found = None
                now = time.monotonic()
                self._kept = now + max(KEPT_S, min(KEPT_MAX_S, KEPT_TIMES * (now - began))), found
            return self._kept[1]
        finally:
            self._turn.release()


class Looks:
    """Looks at what one gateway works with.

    Args:
        jobs: The queue, with its data folder.
        viewing: Has children that decode.
    """

    def __init__(self, jobs: Jobs, viewing: Viewing) -> None:
        self._viewing = viewing
        self._queue = Look(lambda: Queue(take_census(jobs), read_tallies(jobs)), QueueUnavailable)
        self._disk = Look(lambda: _disk_of(jobs), OSError)

    async def scene(self) -> Scene:
        """Return what there is; in the event loop."""
        return Scene(await self._queue.get(), await self._disk.get(), *self._viewing.load)


def _disk_of(jobs: Jobs) -> Disk:
    usage = shutil.disk_usage(jobs.store.root)
    return Disk(usage.total, usage.free)
