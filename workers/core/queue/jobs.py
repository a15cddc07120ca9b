"""Jobs in Redis, as the gateway sees them: submit, follow, cancel, forget.

Only the modules of this folder give work to Redis and RQ. What is queued or running is true here; what was asked and
what came out is true on disk, and a job that Redis lost is shown from there.

    queued ──► planning ──► running ──► finishing ──► succeeded
       └───────────┴───────────┴────────────┴──► failed, canceled      (final, none of them ever changes)

Every change is one Redis transaction together with the tasks it queues, so a process that dies leaves either
the state before it or the state after it.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from rq import Queue

from workers.core.errors.base import LDiffusionError, ResultNotReady
from workers.core.frozen import LOCAL_TENANT
from workers.core.job_files import Ending, take_back_ending, view_from_disk, with_labels, with_warnings
from workers.core.queue.ends import Ends
from workers.core.queue.events import add_event, events_key
from workers.core.queue.exchange import Transaction, answering, connect, decode, transact
from workers.core.queue.heartbeat import hosts, memory_of_workers, signs_of_workers
from workers.core.queue.keys import (
    ACTIVE,
    GOING,
    JOBS,
    OUT,
    UNWRITTEN,
    WEBHOOKS,
    JobKeys,
    Task,
)
from workers.core.queue.progress import progress_of, view_of
from workers.core.queue.rates import s_per_tile
from workers.core.queue.scripts.dequeue import dequeue
from workers.core.queue.task_job import Lane, Queues, entry_of, options_of
from workers.core.queue.turns import Turns
from workers.core.schemas import FINAL_STATES, ErrorBody, JobRequest, JobView, Preflight
from workers.core.settings import Settings
from workers.core.storage.opening import open_storage
from workers.core.store import Store
from workers.core.stored.jobs import host_of

T = TypeVar("T")


class Jobs:
    """All jobs of one queue and one data folder.

    Args:
        redis_url: Address, see `workers.core.queue.exchange`.
        settings: Data folder, retries, times.
    """

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self.settings = settings
        self.redis: Any = connect(redis_url, settings)
        self.store = Store(settings.data_dir, open_storage(settings), settings.slide_cache)
        self.host = host_of(self.store)
        self._queues = Queues(self.redis)
        self.control, self.regions, _ = self.lane("interactive", "")
        self.batch_control, self.batch_regions, _ = self.lane("batch", "")
        cap, entry = settings.regions_per_tenant, partial(entry_of, settings)
        self.turns = Turns(self.redis, self.lane, entry, has_hosts=bool(self.host), cap=cap)
        self.ends = Ends(self.redis, self.store, self.all_queues)

    def close(self) -> None:
        """Let go of the connections to Redis; a later call opens new ones."""
        self.redis.close()

    @property
    def queues(self) -> tuple[Queue, ...]:
        """The queues of this host, in the order in which a worker with a GPU looks at them."""
        return self.served(has_gpu=True)

    def served(self, *, has_gpu: bool) -> tuple[Queue, ...]:
        """Return the queues that a worker of this host looks at, in this order."""
        return self._queues.served(self.host, has_gpu=has_gpu)

    def all_queues(self) -> tuple[Queue, ...]:
        """Return the queues of all hosts, those for every host first."""
        return self._queues.of_all(["", *hosts(self.redis)] if self.host else [""])

    def lane(self, priority: str, host: str) -> Lane:
        """Return the queues of a priority and a host; no host: those for all."""
        return self._queues.lane(priority, host)

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
            return len(memory_of_workers(self.redis))

    def memory_bytes(self) -> int | None:
        """Return the memory of the smallest worker alive; None if none is."""
        with answering():
            return min(memory_of_workers(self.redis), default=None)

    def workers_with_gpu(self, host: str = "") -> int:
        """Return the number of workers alive whose models run on a GPU, of one host or of all."""
        with answering():
            return sum(sign.has_gpu for sign in signs_of_workers(self.redis, host))

    def s_per_tile(self, pace: str) -> float | None:
        """Return the seconds of one forward pass as measured of late, see `rates`; None before its first region."""
        return s_per_tile(self.redis, pace)

    def submit(
        self,
        job_id: str,
        request: JobRequest,
        created_at: datetime | None = None,
        estimate: Preflight | None = None,
        tenant: str = LOCAL_TENANT,
    ) -> None:
        """Queue a job whose `job.json` is on disk. A job that is known already stays as it is.

        Raises:
            QueueUnavailable: Redis does not answer; the job may or may not be queued.
        """
        keys = JobKeys(job_id)
        created_at = created_at or datetime.now(UTC)
        fields = {
            "state": "queued",
            "request": request.model_dump_json(),
            "priority": request.priority,
            "tenant": tenant,
            "created_at": created_at.isoformat(),
        } | ({} if estimate is None else {"preflight": estimate.model_dump_json()})

        def write(pipe: Transaction) -> None:
            if pipe.exists(keys.record):
                return
            pipe.multi()
            pipe.hset(keys.record, mapping=fields)
            pipe.zadd(JOBS, {job_id: created_at.timestamp()})
            pipe.sadd(ACTIVE, job_id)
            add_event(pipe, job_id, "state", progress_of(fields, 0))
            self.turns.wait(pipe, job_id, fields, None)

        self.transact(write, keys.record)
        self.turns.feed()

    def view(self, job_id: str) -> JobView:
        """Return what a client may see of a job.

        Raises:
            JobNotFound: Neither Redis nor the disk knows it.
            QueueUnavailable: Redis does not answer.
        """
        view = self.views([job_id])[0]
        if view is not None and view.state in FINAL_STATES:
            self.ends.learn(job_id)
        view = view_from_disk(self.store, job_id) if view is None else with_labels(self.store, view)
        view = with_warnings(self.store, view)
        if view.state != "queued":
            return view
        with answering():
            record = decode(self.redis.hgetall(JobKeys(job_id).record))
        return view.model_copy(update={"waiting": self.turns.ahead(job_id, record)})

    def active(self) -> tuple[JobView, ...]:
        """Return the jobs that have not ended."""
        with answering():
            ids = sorted(member.decode() for member in self.redis.smembers(ACTIVE))
        return tuple(view for view in self.views(ids) if view is not None)

    def cancel(self, job_id: str) -> JobView:
        """End a job for good and remove what it made so far; one that ended already stays as it is.

        Tasks that run see it between two tiles, tasks that wait are taken out of the queue. Errors as for `view`.
        """
        view = self.view(job_id)
        if view.state not in FINAL_STATES:
            # If Redis lost it: so that its end is told there too.
            self.submit(job_id, view.request, view.created_at, tenant=view.tenant)
            self.ends.end(job_id, Ending(state="canceled", finished_at=datetime.now(UTC)))
            self.turns.feed()
        return self.view(job_id)

    def fail(self, job_id: str, error: LDiffusionError) -> None:
        """End a job with an error and remove what it made so far; one that ended already stays as it is."""
        body = ErrorBody.model_validate(error.as_dict())
        self.ends.end(job_id, Ending(state="failed", error=body, finished_at=datetime.now(UTC)))
        self.turns.feed()

    def resume(self, job_id: str) -> JobView:
        """Queue a failed job again; regions that were kept of it are not computed again.

        Raises:
            JobNotFound: Neither Redis nor the disk knows it.
            ResultNotReady: It has not failed.
            QueueUnavailable: Redis does not answer; the job may be on its way again.
        """
        view = self.view(job_id)
        if view.state != "failed":
            raise ResultNotReady("Only a job that failed can be resumed.", value=view.state, accepted="failed")
        take_back_ending(self.store, job_id)
        self.forget(job_id)
        self.submit(job_id, view.request, view.created_at, view.preflight, view.tenant)
        return self.view(job_id)

    def settle(self, job_id: str) -> bool:
        """Make disk and Redis agree on the end of a job; say whether one of them had to learn of it."""
        return self.ends.settle(job_id)

    def is_going(self, job_id: str) -> None:
        """Say that a job is about to be deleted: who cannot write that into Redis had better not begin.

        Raises:
            QueueUnavailable: Redis does not answer, or cannot write.
        """
        with answering():
            self.redis.sadd(GOING, job_id)

    def forget(self, job_id: str) -> None:
        """Remove a job from Redis; its folder is the caller's. Tasks that still run stop at their next check."""
        keys = JobKeys(job_id)
        with answering(), self.redis.pipeline() as pipe:
            pipe.delete(keys.record, events_key(job_id), *keys.working)
            for members in (JOBS, WEBHOOKS):
                pipe.zrem(members, job_id)
            for members in (ACTIVE, UNWRITTEN, GOING):
                pipe.srem(members, job_id)
            pipe.execute()
            dequeue(self.redis, self.all_queues()[::3], job_id)  # the queues of plans and finishes

    def tidy(self, job_id: str) -> None:
        """Remove what a task wrote after its job had failed or was canceled."""
        with answering():
            state, keeps = self.redis.hmget(JobKeys(job_id).record, "state", "keeps_regions")
        if state in (b"failed", b"canceled"):
            self.ends.clear(job_id, keeps_regions=keeps is not None)

    def enqueue(
        self,
        pipe: Transaction,
        task: Task,
        priority: str,
        host: str = "",
        *,
        is_heavy: bool = False,
        front: bool = False,
    ) -> None:
        """Queue a task in a transaction, for the workers of a host; a plan, for all. The queue carries ids, as JSON."""
        lane = self.lane(priority, "" if task.kind == "plan" else host)
        if task.kind != "product":
            pipe.hset(OUT, task.out, "")
        regions = lane.heavy if is_heavy else lane.regions  # where nobody serves that one, the next feed moves it
        queue = regions if task.kind == "region" else lane.control
        queue.enqueue_call(
            task.function,
            args=task.args,
            description=task.name,
            job_id=task.fresh_queue_id(),
            at_front=front,
            pipeline=pipe,
            **options_of(self.settings, task.function),
        )

    def transact(self, body: Callable[[Transaction], T], *watched: str) -> T:
        """Run `body`, which reads, calls `multi` and writes, until no one else changed a watched key meanwhile.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        return transact(self.redis, body, *watched)

    def views(self, job_ids: Sequence[str]) -> Sequence[JobView | None]:
        """Return what a client may see of jobs; None for those that Redis does not know.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering(), self.redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hgetall(JobKeys(job_id).record)
                pipe.scard(JobKeys(job_id).todo)
            answers = pipe.execute()
        return [
            view_of(job_id, decode(record), left) if record else None
            for job_id, record, left in zip(job_ids, answers[::2], answers[1::2], strict=True)
        ]
