"""The right to run a task, as it stands in Redis and as its worker holds it.

A lease carries the number of the attempt, and that of a finish a fencing token.
"""

from dataclasses import dataclass

from workers.core.queue.exchange import Transaction
from workers.core.queue.keys import JobKeys, Task

STATES_OF = {"plan": ("queued", "planning"), "region": ("running",), "finish": ("finishing",)}
"""States of the job in which a task of a kind has something to do."""


class Superseded(Exception):
    """The task was given to another worker, or its job has ended."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a task; of a finish with a fencing token, greater than any before, also if tries begin anew.

    Of a region it says since when regions of its job are computed, as the job's record does.
    """

    task: Task
    worker_id: str
    attempt: int
    token: int = 0
    first_region_at: str = ""

    @property
    def value(self) -> str:
        """What stands in Redis."""
        return f"{self.worker_id}:{self.attempt}"


def is_held(pipe: Transaction, lease: Lease) -> bool:
    """Whether Redis shows this very lease; ending a job removes them all."""
    return bool(pipe.hget(JobKeys(lease.task.job_id).leases, lease.task.name) == lease.value.encode())


def holder_of(value: str) -> str:
    """Return the worker id in the value of a lease."""
    return value.rpartition(":")[0]
