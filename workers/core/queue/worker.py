"""The loop that takes tasks from the queue: in this process (CUDA cannot be forked), as JSON, three functions only."""

import logging
import signal
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType

from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from workers.core.disk_room import storage_error
from workers.core.errors.base import JobLost, LDiffusionError
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import FINISH_SLIDE, TASK_FUNCTIONS, JobKeys, prefix_of
from workers.core.queue.task_job import TaskJob
from workers.core.telemetry.logs import about
from workers.core.telemetry.status import WorkerStatus

WORKER_TTL_S = 20
"""Lets the loop come round every 5 s when the queue is empty."""

MAINTENANCE_S = 60
JOB_ID_CHARS = 32

logger = logging.getLogger(__name__)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of RQ tells what no line of ours does: that a task raised is told with its traceback, once."""
    return not (isinstance(record.msg, str) and "exception raised while executing" in record.msg)


class QueueWorker(SimpleWorker):
    """Runs the tasks of a queue in this process.

    Args:
        jobs: The queue.
        worker_id: Name of this worker in RQ.
        on_task: Called with that name before each task.
        status: Hears that there is one.
    """

    def __init__(
        self,
        jobs: Jobs,
        worker_id: str,
        on_task: Callable[[str], None] = lambda _: None,
        status: WorkerStatus | None = None,
    ) -> None:
        super().__init__(
            list(jobs.queues),
            name=worker_id,
            connection=jobs.redis,
            job_class=TaskJob,
            serializer=JSONSerializer,
            exception_handlers=[self._on_exception],
            maintenance_interval=MAINTENANCE_S,
            worker_ttl=WORKER_TTL_S,
            log_job_description=False,
        )
        self._jobs = jobs
        self._on_task = on_task
        self._status = status

    def run(self, *, burst: bool = False) -> bool:
        """Work until asked to stop (a signal ends the loop after the task at hand), or until nothing is queued.

        Returns:
            Whether a signal asked for the end.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.log.addFilter(is_news)
        try:
            self.work(burst=burst, logging_level="WARNING")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._shutdown_requested_date is not None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a task in this process."""
        self._on_task(self.name)
        busy = nullcontext() if self._status is None else self._status.busy()
        with about(job=prefix_of(job.id)[:JOB_ID_CHARS]), busy:
            super().execute_job(job, queue)

    def subscribe(self) -> None:
        """Listen to no commands: signals stop a worker, and a message in Redis does not."""

    def _on_exception(
        self, job: Job, kind: type[BaseException], error: BaseException, *_: TracebackType | None
    ) -> None:
        """Say that a task raised, and end its job if it may not be tried again."""
        logger.error("%s raised", job.id, exc_info=(kind, error, error.__traceback__))
        try:
            is_ours = job.func_name in TASK_FUNCTIONS
        except DeserializationError:
            is_ours = False
        if is_ours and job.args and (not job.should_retry or self._is_spent(job)):
            self._jobs.fail(str(job.args[0]), self._public(kind, error))

    def _is_spent(self, job: Job) -> bool:
        """Whether a finish has used up the tries of the output it is at: its entry may be tried again for each."""
        if job.func_name != FINISH_SLIDE:
            return False
        begun = self._jobs.redis.hget(JobKeys(str(job.args[0])).attempts, "finish")
        return int(begun or 0) > self._jobs.settings.task_retries

    def _public(self, kind: type[BaseException], error: BaseException) -> LDiffusionError:
        """What the client is told: no path and no traceback."""
        if (known := storage_error(error)) is not None:
            return known
        if issubclass(kind, JobTimeoutException):
            limit = self._jobs.settings.job_timeout_s
            return JobLost(f"A part of the job took longer than {limit} s each time it ran.")
        return LDiffusionError("The job failed through a fault of ours; the log of the workers says more.")
