"""Whose turn it is in a simulated queue: the rules of `workers.core.queue.turns`, without Redis."""

from collections import deque
from dataclasses import dataclass

QUEUED_SPARE, TURN_REGIONS = 2, 4
"""As in `workers.core.queue.turns`; a test compares."""


@dataclass(eq=False)
class Job:
    """A slide: regions that wait, and those that have not landed.

    Args:
        regions: How many it has.
        tenant: Whose it is.
        waiting: Regions that are not handed out, if it is planned.
    """

    regions: int
    tenant: int = 0
    waiting: int = 0
    left: int = 0


class Turns:
    """Whose turn it is, as `workers.core.queue.turns` has it.

    Args:
        room: Regions that may be in the queue.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.plans: deque[Job] = deque()
        self.tenants: deque[deque[Job]] = deque()
        self.plan_before = False

    def wait(self, job: Job) -> None:
        """Have the regions of a job wait for their turns."""
        for jobs in self.tenants:
            if jobs[0].tenant == job.tenant:
                jobs.append(job)
                return
        self.tenants.append(deque([job]))

    def next(self, queued: int, *, plan_queued: bool) -> Job | None:
        """Return the job of which something may be handed out."""
        if self._plan_is_next() and not plan_queued:
            return self.plans[0]
        return self.tenants[0][0] if self.tenants and queued < self.room else None

    def take(self, *, plan_queued: bool) -> tuple[str, Job]:
        """Hand out what is next."""
        if self._plan_is_next() and not plan_queued:
            self.plan_before = True
            return "plan", self.plans.popleft()
        jobs = self.tenants[0]
        job = jobs[0]
        job.waiting -= 1
        if job.waiting % TURN_REGIONS == 0:
            self.plan_before = False
            jobs.rotate(-1)
            if not job.waiting:
                jobs.remove(job)
            self.tenants.rotate(-1)
            if not jobs:
                self.tenants.remove(jobs)
        return "region", job

    def _plan_is_next(self) -> bool:
        return bool(self.plans) and not (self.tenants and self.plan_before)
