"""Whose turn it is in a simulated queue: the rules of `workers.core.queue.turns`, without Redis."""

from collections import deque
from dataclasses import dataclass

QUEUED_LEAST, TURN_REGIONS = 1, 4
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
        workers: How many there are: while so many regions are queued, no turn is handed out.
    """

    def __init__(self, workers: int) -> None:
        self.room = max(QUEUED_LEAST, workers)
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

    def take(self, *, plan_queued: bool) -> tuple[str, Job, int]:
        """Hand out what is next: a plan, or a turn of so many regions of a job."""
        if self._plan_is_next() and not plan_queued:
            self.plan_before = True
            return "plan", self.plans.popleft(), 1
        jobs = self.tenants[0]
        job = jobs[0]
        regions = (job.waiting - 1) % TURN_REGIONS + 1
        job.waiting -= regions
        self.plan_before = False
        jobs.rotate(-1)
        if not job.waiting:
            jobs.remove(job)
        self.tenants.rotate(-1)
        if not jobs:
            self.tenants.remove(jobs)
        return "region", job, regions

    def _plan_is_next(self) -> bool:
        return bool(self.plans) and not (self.tenants and self.plan_before)
