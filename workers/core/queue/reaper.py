"""Finds what workers left behind when they died, and gives it to the queue again.

Swept by whichever worker holds the lock of the moment, so the work goes on as long as one worker lives:
- a task whose worker gave no sign of life for `lease_s` is queued again at once;
- a task that is due but neither queued nor leased (its worker died between taking it and saying so) is queued
  again when that is still so after `lease_s`;
- a job that is on disk and unknown to Redis is submitted again;
- a task that was begun too often ends its job, so that a poisonous region does not kill workers forever.
"""

import logging
import os
import signal
import threading
from types import TracebackType
from typing import Self

from rq.registry import StartedJobRegistry

from workers.core.errors.base import QueueUnavailable
from workers.core.job_files import stored_view
from workers.core.queue.attempts import attempts_max, attempts_of, lost
from workers.core.queue.exchange import Transaction, answering, decode
from workers.core.queue.heartbeat import end_of, retire
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import ACTIVE, GOING, JOBS, REAPER_LOCK, JobKeys, Task, prefix_of, worker_key
from workers.core.queue.leases import Leases, holder_of
from workers.core.queue.records import priority_in
from workers.core.queue.task_job import TaskJob
from workers.core.schemas import FINAL_STATES

logger = logging.getLogger(__name__)


class Reaper:
    """Sweeps a queue.

    Args:
        jobs: The queue.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.redis = jobs.redis
        self.settings = jobs.settings

    def take_over(self, worker_id: str) -> None:
        """Give away at once what a worker held that is known to be dead: by its supervisor, which saw it end.

        Raises:
            QueueUnavailable: Redis does not answer; the next sweep after `lease_s` does the same.
        """
        with answering():
            retire(self.redis, worker_id)
            self._sweep()

    def sweep(self) -> bool:
        """Sweep once, unless another worker did so within `heartbeat_s`; say whether.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            lock_ms = max(1, round(self.settings.heartbeat_s * 1000))
            if not self.redis.set(REAPER_LOCK, os.getpid(), nx=True, px=lock_ms):
                return False
            self._sweep()
        return True

    def _sweep(self) -> None:
        queued = {prefix_of(queue_id) for queue in self.jobs.queues for queue_id in queue.get_job_ids()}
        for job_id in sorted(self.redis.smembers(ACTIVE)):
            self._tend(job_id.decode(), queued)
        self.jobs.ends.write_late()
        self._forget()
        self._adopt()
        for queue in self.jobs.queues:
            StartedJobRegistry(queue=queue, job_class=TaskJob).cleanup()

    def _tend(self, job_id: str, queued: set[str]) -> None:
        keys = JobKeys(job_id)
        if self.jobs.settle(job_id):
            return
        tasks = self._due(job_id)
        leases = decode(self.redis.hgetall(keys.leases))
        missing = decode(self.redis.hgetall(keys.missing))
        alive = {holder: bool(self.redis.exists(worker_key(holder))) for holder in map(holder_of, leases.values())}
        seconds, microseconds = self.redis.time()  # one clock for all machines
        now = seconds + microseconds / 1e6
        for task in tasks:
            lease = leases.get(task.name)
            if lease is not None:
                if not alive[holder_of(lease)]:
                    self._requeue(task, lease, "its worker is gone")
            elif task.queue_prefix in queued:
                if task.name in missing:
                    self.redis.hdel(keys.missing, task.name)
            elif task.name not in missing:
                self.redis.hset(keys.missing, task.name, now)
            elif now - float(missing[task.name]) > self.settings.lease_s:
                self._requeue(task, None, "it was nowhere")

    def _due(self, job_id: str) -> list[Task]:
        """Return the tasks that must be queued or leased for the job to go on."""
        keys = JobKeys(job_id)
        state = (self.redis.hget(keys.record, "state") or b"").decode()
        if not state or state in FINAL_STATES:
            self.redis.srem(ACTIVE, job_id)
            return []
        if state == "running":
            todo = sorted(int(index) for index in self.redis.smembers(keys.todo))
            if todo:
                return [Task(job_id, "region", index) for index in todo]
            state = self._to_finishing(keys)
        return [Task(job_id, "finish" if state == "finishing" else "plan")]

    def _to_finishing(self, keys: JobKeys) -> str:
        # Landing the last region does this itself; a Redis restored from an older file may show the state between.
        def write(pipe: Transaction) -> None:
            if pipe.hget(keys.record, "state") == b"running" and not pipe.scard(keys.todo):
                pipe.multi()
                pipe.hset(keys.record, "state", "finishing")

        self.jobs.transact(write, keys.record, keys.todo)
        return "finishing"

    def _requeue(self, task: Task, lease: str | None, reason: str) -> None:
        """Queue a task again, if its lease is still the one that was seen; end the job if that was its last try."""
        keys = JobKeys(task.job_id)
        most = attempts_max(self.settings)

        def write(pipe: Transaction) -> bool:
            now = pipe.hget(keys.leases, task.name)
            if (None if now is None else now.decode()) != lease or not pipe.sismember(ACTIVE, task.job_id):
                return True
            if attempts_of(pipe, task) >= most:
                return False
            priority = priority_in(decode(pipe.hgetall(keys.record)))
            pipe.multi()
            pipe.hdel(keys.leases, task.name)
            pipe.hdel(keys.missing, task.name)
            self.jobs.enqueue(pipe, task, priority, at_front=True)
            return True

        logger.warning("%s of job %s goes back to the queue: %s", task.name, task.job_id, reason)
        if not self.jobs.transact(write, keys.record, keys.leases, keys.attempts):
            self.jobs.fail(task.job_id, lost(task, most, self._signal_of(lease)))

    def _signal_of(self, lease: str | None) -> str | None:
        return None if lease is None else end_of(self.redis, holder_of(lease))

    def _forget(self) -> None:
        """Forget jobs whose deletion was cut short after their folder was gone."""
        for job_id in (member.decode() for member in self.redis.smembers(GOING)):
            if not self.jobs.store.job_dir(job_id).exists():
                self.jobs.forget(job_id)

    def _adopt(self) -> None:
        """Submit jobs that are on disk and that Redis does not know; list those that ended."""
        on_disk = self.jobs.store.list_jobs()
        scores = self.redis.zmscore(JOBS, on_disk) if on_disk else []
        for job_id in (job_id for job_id, score in zip(on_disk, scores, strict=True) if score is None):
            view = stored_view(self.jobs.store, job_id)
            if view is None:
                continue
            if view.state in FINAL_STATES:
                self.redis.zadd(JOBS, {job_id: view.created_at.timestamp()}, nx=True)
            else:
                logger.warning("job %s was on disk but not in the queue: submitted again", job_id)
                self.jobs.submit(job_id, view.request, view.created_at, tenant=view.tenant)


class Heartbeat(threading.Thread):
    """Shows signs of life for a worker and sweeps, every `heartbeat_s`, until the context ends.

    Args:
        leases: The worker's.
    """

    def __init__(self, leases: Leases) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._leases = leases
        self._reaper = Reaper(leases.jobs)
        self._ended = threading.Event()

    def run(self) -> None:
        """Beat until told to end. A fault of ours here asks the process to stop: a worker without a pulse is dead."""
        try:
            while not self._ended.wait(self._leases.jobs.settings.heartbeat_s):
                self._beat()
        finally:
            if not self._ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        try:
            self._leases.beat()
            self._reaper.sweep()
        except (QueueUnavailable, OSError) as error:
            logger.warning("no sign of life this time: %s", error)

    def __enter__(self) -> Self:
        self._leases.beat()
        self._reaper.sweep()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join()
        self._leases.retire()
