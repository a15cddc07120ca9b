"""Jobs in Redis, as the gateway sees them: submit, follow, cancel, forget.

This module, `leases`, `janitor`, `queue_worker` and `task_job` are the only ones that talk to Redis and RQ. What is
queued or running is true here; what was asked and what came out is true on disk, and a job that Redis lost is shown
from there.

    queued ──► planning ──► running ──► finishing ──► succeeded
       └───────────┴───────────┴────────────┴──► failed, canceled      (final, none of them ever changes)

Every change is one Redis transaction together with the tasks it queues, so a process that dies leaves either
the state before it or the state after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import redis
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from workers.core.errors import JobNotFound, LDiffusionError, QueueUnavailable
from workers.core.job_files import Ending, clear_results, view_from_disk, write_ending
from workers.core.queue_names import ACTIVE, CONTROL_QUEUE, JOBS, REGION_QUEUE, WORKERS, JobKeys, Task
from workers.core.schemas import FINAL_STATES, ErrorBody, JobRequest, JobState, JobView
from workers.core.settings import Settings
from workers.core.store import Store
from workers.core.task_job import TaskJob

FAILURE_TTL_S = 24 * 3600
"""How long the queue keeps the traceback of a task that failed."""

Transaction = Any
"""A redis pipeline. Its stubs call every reply bytes or text; ours are bytes, always."""

T = TypeVar("T")


@contextmanager
def answering() -> Iterator[None]:
    """Turn any refusal of Redis into one error of ours.

    Raises:
        QueueUnavailable: Redis does not answer, or cannot write.
    """
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise QueueUnavailable(f"The queue does not answer ({type(error).__name__}).") from error


class Jobs:
    """All jobs of one queue and one data folder.

    Args:
        redis_url: `redis://`, `rediss://` or `unix://` address.
        settings: Data folder, retries, times.
    """

    def __init__(self, redis_url: str, settings: Settings) -> None:
        if not redis_url:
            raise QueueUnavailable("No queue address is set.", accepted="LDIFFUSION_REDIS_URL, or `ldiffusion serve`")
        self.settings = settings
        self.store = Store(settings.data_dir)
        self.redis: Any = redis.Redis.from_url(redis_url, socket_connect_timeout=5, socket_timeout=30)
        self.control, self.regions = (
            Queue(name, connection=self.redis, job_class=TaskJob, serializer=JSONSerializer)
            for name in (CONTROL_QUEUE, REGION_QUEUE)
        )

    def close(self) -> None:
        """Let go of the connections to Redis; a later call opens new ones."""
        self.redis.close()

    def ping(self) -> None:
        """Ask Redis for a sign of life.

        Raises:
            QueueUnavailable: None came.
        """
        with answering():
            self.redis.ping()

    def workers(self) -> int:
        """Return the number of worker processes that gave a sign of life within the lease time."""
        with answering():
            return sum(1 for _ in self.redis.scan_iter(f"{WORKERS}*", count=1000))

    def submit(self, job_id: str, request: JobRequest, created_at: datetime | None = None) -> None:
        """Queue a job whose `job.json` is on disk. A job that is known already stays as it is.

        Raises:
            QueueUnavailable: Redis does not answer; the job may or may not be queued.
        """
        keys = JobKeys(job_id)
        created_at = created_at or datetime.now(UTC)

        def write(pipe: Transaction) -> None:
            if pipe.exists(keys.record):
                return
            fields = {"state": "queued", "request": request.model_dump_json(), "created_at": created_at.isoformat()}
            pipe.multi()
            pipe.hset(keys.record, mapping=fields)
            pipe.zadd(JOBS, {job_id: created_at.timestamp()})
            pipe.sadd(ACTIVE, job_id)
            self.enqueue(pipe, Task(job_id, "plan"))

        self.transact(write, keys.record)

    def view(self, job_id: str) -> JobView:
        """Return what a client may see of a job.

        Raises:
            JobNotFound: Neither Redis nor the disk knows it.
            QueueUnavailable: Redis does not answer.
        """
        return self._views([job_id])[0] or view_from_disk(self.store, job_id)

    def list(self, limit: int) -> tuple[JobView, ...]:
        """Return the newest jobs, the newest first, also those that only the disk knows."""
        with answering():
            known = [key.decode() for key in self.redis.zrevrange(JOBS, 0, limit - 1)]
            on_disk = self.store.list_jobs()
            scores = self.redis.zmscore(JOBS, on_disk) if on_disk else []
        forgotten = [job_id for job_id, score in zip(on_disk, scores, strict=True) if score is None]
        views = [
            found
            for job_id, view in zip(known + forgotten, [*self._views(known), *(None for _ in forgotten)], strict=True)
            if (found := view or self._view_from_disk(job_id)) is not None
        ]
        return tuple(sorted(views, key=lambda view: (view.created_at, view.id), reverse=True)[:limit])

    def active_jobs_of(self, slide_id: str) -> tuple[str, ...]:
        """Return the ids of the jobs that have not ended and read this slide."""
        with answering():
            active = sorted(member.decode() for member in self.redis.smembers(ACTIVE))
        views = zip(active, self._views(active), strict=True)
        return tuple(job_id for job_id, view in views if view is not None and view.request.slide_id == slide_id)

    def cancel(self, job_id: str) -> JobView:
        """End a job for good and remove what it made so far; one that ended already stays as it is.

        Tasks that run see it between two tiles, tasks that wait return at once.

        Raises:
            JobNotFound: Neither Redis nor the disk knows it.
        """
        view = self.view(job_id)
        if view.state not in FINAL_STATES:
            self.submit(job_id, view.request, view.created_at)  # if Redis lost it: so that it is not adopted again
            self._end(job_id, Ending(state="canceled", finished_at=datetime.now(UTC)))
        return self.view(job_id)

    def fail(self, job_id: str, error: LDiffusionError) -> None:
        """End a job with an error and remove what it made so far; one that ended already stays as it is."""
        body = ErrorBody.model_validate(error.as_dict())
        self._end(job_id, Ending(state="failed", error=body, finished_at=datetime.now(UTC)))

    def forget(self, job_id: str) -> None:
        """Remove a job from Redis; its folder is the caller's. Tasks that still run stop at their next check."""
        keys = JobKeys(job_id)
        with answering(), self.redis.pipeline() as pipe:
            pipe.delete(keys.record, *keys.working)
            pipe.zrem(JOBS, job_id)
            pipe.srem(ACTIVE, job_id)
            pipe.execute()

    def tidy(self, job_id: str) -> None:
        """Remove what a task wrote after its job had failed or was canceled."""
        with answering():
            state = self.redis.hget(JobKeys(job_id).record, "state")
        if state in (b"failed", b"canceled"):
            clear_results(self.store, job_id)

    def enqueue(self, pipe: Transaction, task: Task, *, at_front: bool = False) -> None:
        """Queue a task as part of a transaction. The queue carries ids, as JSON."""
        retries = self.settings.task_retries
        queue = self.regions if task.kind == "region" else self.control
        queue.enqueue_call(
            task.function,
            args=task.args,
            timeout=self.settings.job_timeout_s,
            result_ttl=0,
            failure_ttl=FAILURE_TTL_S,
            description=task.name,
            job_id=task.fresh_queue_id(),
            at_front=at_front,
            retry=Retry(max=retries) if retries else None,
            pipeline=pipe,
        )

    def transact(self, body: Callable[[Transaction], T], *watched: str) -> T:
        """Run `body`, which reads, calls `multi` and writes, until no one else changed a watched key meanwhile.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            result: T = self.redis.transaction(body, *watched, value_from_callable=True)
            return result

    def _end(self, job_id: str, ending: Ending) -> None:
        keys = JobKeys(job_id)

        def write(pipe: Transaction) -> bool:
            record = decode(pipe.hgetall(keys.record))
            if not record or record["state"] in FINAL_STATES:
                return False
            left = pipe.scard(keys.todo)
            fields = {
                "state": ending.state,
                "finished_at": ending.finished_at.isoformat(),
                "regions_done": max(0, int(record.get("regions_total", 0)) - left),
            }
            pipe.multi()
            pipe.hset(keys.record, mapping=fields)
            if ending.error is not None:
                pipe.hset(keys.record, "error", ending.error.model_dump_json())
            pipe.delete(*keys.working)
            pipe.srem(ACTIVE, job_id)
            return True

        if self.transact(write, keys.record, keys.todo):
            write_ending(self.store, job_id, ending)

    def _views(self, job_ids: Sequence[str]) -> Sequence[JobView | None]:
        with answering(), self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(JobKeys(job_id).record)
                pipe.scard(JobKeys(job_id).todo)
            answers = pipe.execute()
        return [
            _view(job_id, decode(record), left) if record else None
            for job_id, record, left in zip(job_ids, answers[::2], answers[1::2], strict=True)
        ]

    def _view_from_disk(self, job_id: str) -> JobView | None:
        try:
            return view_from_disk(self.store, job_id)
        except JobNotFound:  # deleted meanwhile
            return None


def decode(record: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a Redis hash as text."""
    return {key.decode(): value.decode() for key, value in record.items()}


def _view(job_id: str, record: Mapping[str, str], left: int) -> JobView:
    total = int(record["regions_total"]) if "regions_total" in record else None
    done = int(record["regions_done"]) if "regions_done" in record else (total or 0) - left
    fields: dict[str, Any] = {name: record.get(name) for name in ("created_at", "started_at", "finished_at")}
    return JobView(
        id=job_id,
        state=cast("JobState", record["state"]),
        request=JobRequest.model_validate_json(record["request"]),
        regions_done=done,
        regions_total=total,
        eta_s=_eta_s(record, done, left),
        error=ErrorBody.model_validate_json(record["error"]) if "error" in record else None,
        **{name: None if text is None else datetime.fromisoformat(text) for name, text in fields.items()},
    )


def _eta_s(record: Mapping[str, str], done: int, left: int) -> float | None:
    """Seconds for the regions that are left, at the rate of those that are done; None before the first is."""
    if record["state"] != "running" or done < 1 or "first_region_at" not in record:
        return None
    since = datetime.fromisoformat(record["first_region_at"])
    elapsed_s = (datetime.now(UTC) - since).total_seconds()
    return round(elapsed_s / done * left, 1)
