"""A queue entry that can do no harm, whoever wrote it into Redis; and what RQ is told of one."""

from collections.abc import Callable
from typing import Any

from rq import Queue, Retry
from rq.job import Job, JobStatus

from workers.core.queue.keys import FINISH_SLIDE, TASK_FUNCTIONS
from workers.core.schemas import OUTPUTS
from workers.core.settings import Settings

FAILURE_TTL_S = 24 * 3600
"""How long the queue keeps the traceback of a task that failed."""


class TaskRefused(Exception):
    """The queue held something that is none of our tasks."""


class TaskJob(Job):
    """Runs one of our tasks or nothing; its callbacks and web hooks are none."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """The function to run, imported only if it is on the list."""
        if self.func_name not in TASK_FUNCTIONS or self.instance is not None:
            raise TaskRefused(f"{self.func_name!r} is not on the list of tasks")
        function: Callable[..., Any] | None = super().func
        return function

    @property
    def success_callback(self) -> None:
        """None: a name in Redis is no reason to import it."""
        return

    @property
    def failure_callback(self) -> None:
        """None, for the same reason."""
        return

    @property
    def stopped_callback(self) -> None:
        """None, for the same reason."""
        return

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Send nothing: an address in Redis is no reason to call it."""


def options_of(settings: Settings, function: str) -> dict[str, Any]:
    """Return what RQ is told of every task of a function."""
    retries = settings.task_retries * (len(OUTPUTS) + 1 if function == FINISH_SLIDE else 1)
    return {
        "timeout": settings.job_timeout_s,
        "result_ttl": 0,
        "failure_ttl": FAILURE_TTL_S,
        "retry": Retry(max=retries) if retries else None,
    }


def entry_of(settings: Settings, queue: Queue, function: str) -> dict[str, str]:
    """Return the fields of an entry that calls a function, as RQ writes them; those of its task are others'."""
    job = queue.create_job(function, status=JobStatus.QUEUED, **options_of(settings, function))
    job.origin, job.enqueued_at = queue.name, job.created_at
    fields = job.to_dict(include_meta=False, include_result=False)
    del fields["data"], fields["description"]
    return {name: str(getattr(value, "value", value)) for name, value in fields.items()}
