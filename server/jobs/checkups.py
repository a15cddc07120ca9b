"""The doctor for who asks from afar: it reports and mends nothing, one at a time, for a bounded time."""

import threading
import time

from pydantic import Field

from server.jobs.doctor import SLIDE, Doctor, Finding
from workers.core.errors.access import TooMany
from workers.core.frozen import Frozen
from workers.core.queue.jobs import Jobs

LOOK_S = 10.0
"""A page ends with the first job after this time: proxies cut off after a minute what says nothing."""


class Checkup(Frozen):
    """A page of what is not as it should be, by the ids of jobs, then of slides; the trash is on the last one."""

    items: tuple[Finding, ...]
    jobs: int = Field(description="Jobs that were looked at for this page.")
    next_cursor: str | None = None


class Checkups:
    """Looks at a store against its queue.

    Args:
        jobs: The queue.
        look_s: Seconds after which a page ends.
    """

    def __init__(self, jobs: Jobs, look_s: float = LOOK_S) -> None:
        self._jobs = jobs
        self._look_s = look_s
        self._turn = threading.Lock()

    def page(self, limit: int, cursor: str | None = None, *, digests: bool = False) -> Checkup:
        """Return what is wrong; blocks for seconds.

        Args:
            limit: Findings after which the page ends. Those of one job are not parted.
            cursor: `next_cursor` of the page before.
            digests: Read all results again and compare them with their digests.

        Raises:
            TooMany: Somebody else has it looked at.
            QueueUnavailable: Redis does not answer.
        """
        if not self._turn.acquire(blocking=False):
            raise TooMany("The store is being looked at already.", accepted="one at a time", retry_after_s=self._look_s)
        try:
            return self._look(limit, cursor or "", digests=digests)
        finally:
            self._turn.release()

    def _look(self, limit: int, after: str, *, digests: bool) -> Checkup:
        began, count = time.monotonic(), 0
        items: list[Finding] = []
        for mark, found in Doctor(self._jobs, digests=digests).looks(after):
            items += [Finding(kind=each.kind, id=each.id, detail=each.detail) for each in found]
            count += bool(mark) and not mark.startswith(SLIDE)
            if mark and (len(items) >= limit or time.monotonic() - began > self._look_s):
                return Checkup(items=tuple(items), jobs=count, next_cursor=mark)
        return Checkup(items=tuple(items), jobs=count)
