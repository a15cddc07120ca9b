"""Finds what workers left behind when they died, and gives it to the queue again.

Swept by whichever worker holds the lock of the moment, so the work goes on as long as one worker lives:
- a task whose worker gave no sign of life for `lease_s` is queued again at once;
- a task that is due but neither queued nor leased (its worker died between taking it and saying so) is queued
  again when that is still so after `lease_s`;
- a job whose regions lie with a host that is gone is planned again elsewhere;
- a job that is on disk and unknown to Redis is submitted again;
- a task that was begun too often ends its job, so that a poisonous region does not kill workers forever.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Mapping

from rq.registry import StartedJobRegistry

from workers.core.job_files import stored_view
from workers.core.queue.attempts import attempts_max, attempts_of, lost
from workers.core.queue.exchange import Transaction, answering, decode
from workers.core.queue.heartbeat import end_of, retire, silent_hosts
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import (
    ACTIVE,
    GOING,
    HOSTS,
    JOBS,
    OUT,
    REAPER_LOCK,
    JobKeys,
    Task,
    prefix_of,
    task_out,
    worker_key,
    workers_key,
)
from workers.core.queue.lease import STATES_OF, holder_of
from workers.core.queue.records import change, host_in, is_heavy_in, priority_in
from workers.core.queue.task_job import TaskJob
from workers.core.queue.turns import PRIORITIES
from workers.core.schemas import FINAL_STATES

HOST_GONE_S = 300.0
"""Silence of all workers of a host after which what it has computed of a job that goes on is given up."""

OF_PLAN = (
    *("host", "model", "heavy", "regions_total", "regions_before", "plan_s", "has_turn", "first_region_at"),
    *("segment_s", "tiles", "phase"),
)
"""What the record of a job says since it was planned."""

AUDITED = 10
"""Jobs of which all is looked at in one sweep."""

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
        self._cursor = 0
        self._adopted: tuple[int, int] | None = None

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
        queues = self.jobs.all_queues()
        queued = {prefix_of(queue_id) for queue in queues for queue_id in queue.get_job_ids()}
        out: defaultdict[str, list[Task]] = defaultdict(list)
        for name in self.redis.hkeys(OUT):
            task = task_out(name.decode())
            out[task.job_id].append(task)
        due = {job_id: self._still_due(job_id, tasks) for job_id, tasks in out.items()}
        for job_id, tasks in due.items():
            self._tend(job_id, tasks, queued)
        self._audit(queued, {job_id: len(tasks) for job_id, tasks in due.items()})
        self._give_up_hosts()
        self.jobs.ends.write_late()
        self._forget()
        self._adopt()
        for queue in queues:
            StartedJobRegistry(queue=queue, job_class=TaskJob).cleanup()
        self.jobs.turns.feed()

    def _audit(self, queued: set[str], out: Mapping[str, int]) -> None:
        """Look at all that some jobs need, others each time: Redis may have been restored from an older state.

        Args:
            queued: What is in the queues.
            out: For each job its tasks that are out and due.
        """
        self._cursor, found = self.redis.sscan(ACTIVE, self._cursor, count=AUDITED)
        for job_id in sorted(member.decode() for member in found):
            if self.jobs.settle(job_id):
                continue
            keys = JobKeys(job_id)
            if 0 < self.redis.scard(keys.todo) <= self.redis.llen(keys.waiting) + out.get(job_id, 0):
                continue  # all that it needs waits or is out
            waiting = {item.decode() for item in self.redis.lrange(keys.waiting, 0, -1)}
            self._tend(job_id, [task for task in self._due(job_id) if task.waits_as not in waiting], queued)

    def _still_due(self, job_id: str, tasks: list[Task]) -> list[Task]:
        """Return those of the tasks of a job that are out which are not done; forget the others.

        A region that lands leaves that to the sweep, which does it for many at once.
        """
        keys = JobKeys(job_id)
        state = (self.redis.hget(keys.record, "state") or b"").decode()
        here = [task for task in tasks if state in STATES_OF[task.kind]]
        regions = [task for task in here if task.kind == "region"]
        left = self.redis.smismember(keys.todo, [task.index for task in regions]) if regions else []
        landed = {task.name for task, is_left in zip(regions, left, strict=True) if not is_left}
        due = [task for task in here if task.name not in landed]
        if done := [task.out for task in tasks if task not in due]:
            self.redis.hdel(OUT, *done)
        return due

    def _tend(self, job_id: str, tasks: list[Task], queued: set[str]) -> None:
        """Queue those of the tasks again that are with no living worker and nowhere in the queues."""
        if not tasks:
            return
        keys = JobKeys(job_id)
        leases = decode(self.redis.hgetall(keys.leases))
        missing = decode(self.redis.hgetall(keys.missing))
        alive = {holder: bool(self.redis.exists(worker_key(holder))) for holder in map(holder_of, leases.values())}
        nowhere = any(task.name not in leases and task.queue_prefix not in queued for task in tasks)
        seconds, microseconds = self.redis.time() if nowhere else (0, 0)  # one clock for all machines
        now = seconds + microseconds / 1e6
        for task in tasks:
            lease = leases.get(task.name)
            if lease is not None:
                if not alive[holder_of(lease)]:
                    self._requeue(task, lease, "its worker is gone")
                elif task.name in missing:
                    self.redis.hdel(keys.missing, task.name)
            elif task.queue_prefix in queued:
                if task.name in missing:
                    self.redis.hdel(keys.missing, task.name)
            elif task.name not in missing:
                self.redis.hset(keys.missing, task.name, now)
            elif now - float(missing[task.name]) > self.settings.lease_s:
                self._requeue(task, None, "it was nowhere")

    def _due(self, job_id: str) -> list[Task]:
        """Return the tasks that must wait, be queued or be leased for the job to go on."""
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
            record = decode(pipe.hgetall(keys.record))
            pipe.multi()
            pipe.hdel(keys.leases, task.name)
            pipe.hdel(keys.missing, task.name)
            is_heavy = is_heavy_in(record)
            self.jobs.enqueue(pipe, task, priority_in(record), host_in(record), is_heavy=is_heavy, front=True)
            return True

        logger.warning("%s of job %s goes back to the queue: %s", task.name, task.job_id, reason)
        if not self.jobs.transact(write, keys.record, keys.leases, keys.attempts):
            self.jobs.fail(task.job_id, lost(task, most, self._signal_of(lease)))

    def _signal_of(self, lease: str | None) -> str | None:
        return None if lease is None else end_of(self.redis, holder_of(lease))

    def _give_up_hosts(self) -> None:
        """Have the jobs of hosts planned again elsewhere of which no worker gave a sign of life for long."""
        for host in silent_hosts(self.redis, max(HOST_GONE_S, 2 * self.settings.lease_s)):
            for job_id in sorted(member.decode() for member in self.redis.smembers(ACTIVE)):
                self._plan_again(job_id, host)
            for priority in PRIORITIES:
                for queue in self.jobs.lane(priority, host):
                    queue.delete(delete_jobs=True)
            self.redis.zrem(HOSTS, host)
            self.redis.delete(workers_key(host))

    def _plan_again(self, job_id: str, host: str) -> None:
        """Have a job wait for another plan, if this host has its regions; who works on it there is told so."""
        keys = JobKeys(job_id)

        def write(pipe: Transaction) -> bool:
            record = decode(pipe.hgetall(keys.record))
            if host_in(record) != host or record["state"] in FINAL_STATES:
                return False
            kept = {name: value for name, value in record.items() if name not in OF_PLAN}
            pipe.multi()
            pipe.delete(*keys.working)
            pipe.hdel(keys.record, *OF_PLAN)
            change(pipe, keys, kept, {"state": "queued"})
            self.jobs.turns.wait(pipe, job_id, kept, None)
            return True

        if self.jobs.transact(write, keys.record):
            logger.warning("job %s is planned again: the host that had its regions is gone", job_id)

    def _forget(self) -> None:
        """Forget jobs whose deletion was cut short after their folder was gone."""
        for job_id in (member.decode() for member in self.redis.smembers(GOING)):
            if not self.jobs.store.job_dir(job_id).exists():
                self.jobs.forget(job_id)

    def _adopt(self) -> None:
        """Submit jobs that are on disk and that Redis does not know; list those that ended."""
        on_disk = self.jobs.store.list_jobs()
        sizes = len(on_disk), int(self.redis.zcard(JOBS))
        if sizes == self._adopted and sizes[0] == sizes[1]:  # nothing came and nothing was lost
            return
        self._adopted = sizes
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
