"""The loop that takes tasks from the queue: in this process (CUDA cannot be forked), as JSON, three functions only."""

import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType

from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import WorkerStatus as State

from workers.core.disk_room import storage_error
from workers.core.errors.base import JobLost, LDiffusionError
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import FINISH_SLIDE, TASK_FUNCTIONS, JobKeys, prefix_of
from workers.core.queue.scripts.prefer import Preference
from workers.core.queue.task_job import TaskJob
from workers.core.telemetry.logs import about
from workers.core.telemetry.status import WorkerStatus

WORKER_TTL_S = 20
"""Lets the loop come round every 5 s when the queue is empty."""

RECORD_S = 10.0
"""How often a worker renews what RQ keeps of it, which nobody reads but people; its signs of life are others."""

MAINTENANCE_S = 60
AWAY_S = 2.0
"""How long the loop waits at most before it asks a queue again that was away, however long that was."""
JOB_ID_CHARS = 32

logger = logging.getLogger(__name__)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of RQ tells what no line of ours does: that a task raised is told with its traceback, once."""
    return not (isinstance(record.msg, str) and "exception raised while executing" in record.msg)


def has_gpu(status: WorkerStatus | None) -> bool:
    """Whether models are known to run on a GPU."""
    return status is not None and status.has_gpu


class QueueWorker(SimpleWorker):
    """Runs the tasks of a queue in this process.

    Args:
        jobs: The queue.
        worker_id: Name of this worker in RQ.
        on_task: Called with that name before each task.
        status: Hears that there is one.
    """

    max_connection_wait_time = AWAY_S

    def __init__(
        self,
        jobs: Jobs,
        worker_id: str,
        on_task: Callable[[str], None] = lambda _: None,
        status: WorkerStatus | None = None,
    ) -> None:
        super().__init__(
            list(jobs.served(has_gpu=has_gpu(status))),
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
        self._preference = Preference(jobs.redis)
        self._on_task = on_task
        self._status = status
        self._renewed_at = float("-inf")
        self._told_state: str | None = None
        self._is_at_task = False

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

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Take the next task, or a region of the model at hand that is near, see `Preference`."""
        # Where models run may be known only since one was loaded.
        self._ordered_queues = self.queues = list(self._jobs.served(has_gpu=has_gpu(self._status)))
        found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        if found is None or self._status is None:
            return found
        job, queue = found
        if not isinstance(job, TaskJob):
            return found
        chosen = self._preference.instead(queue.key, job.id, job.model, job.passed, self._status.model)
        if chosen is None:
            return found
        try:
            nearer = TaskJob.fetch(chosen, self.connection, JSONSerializer)
        except NoSuchJobError:  # its job has ended between
            return self.dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        nearer.redis_server_version = job.redis_server_version
        return nearer, queue

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a task in this process."""
        self._on_task(self.name)
        busy = nullcontext() if self._status is None else self._status.busy()
        with about(job=prefix_of(job.id)[:JOB_ID_CHARS]), busy:
            self._perform(job, queue)

    def _perform(self, job: Job, queue: Queue) -> None:
        """Run a task, and tell RQ of it only if it raises: of others RQ keeps nothing, for some sixty commands each.

        Who runs what, and whether it still lives, is told by leases. So the entry goes before the task begins, and a
        worker that dies leaves none behind.
        """
        limit_s = int(job.timeout or self._jobs.settings.job_timeout_s)
        self.connection.delete(job.key)
        job.started_at = now()
        self._is_at_task = True
        try:
            with self.death_penalty_class(limit_s, JobTimeoutException, job_id=job.id):
                job.perform()
        except:  # noqa: E722 (RQ's own: whatever a task raises is told, and tried again)
            raised = sys.exc_info()  # what RQ does with it writes the entry anew
            self._finalize_failure(job, queue, self.prepare_execution(job), raised)
        finally:
            self._is_at_task = False

    def get_state(self) -> State:
        """Return whether a task is at hand: RQ asks when a signal comes, and ends at once a worker that has none."""
        return State.BUSY if self._is_at_task else State.IDLE

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Renew what RQ keeps of this worker, every `RECORD_S`; it is kept for longer than any task takes."""
        if time.monotonic() - self._renewed_at >= RECORD_S:
            super().heartbeat(max(timeout or 0, self._jobs.settings.job_timeout_s + WORKER_TTL_S), pipeline)
            self._renewed_at = time.monotonic()

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Tell RQ how this worker is, if that is news."""
        if state != self._told_state:
            super().set_state(state, pipeline)
            self._told_state = state

    def check_for_suspension(self, burst: bool) -> None:
        """Go on: nothing in Redis suspends a worker."""

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
