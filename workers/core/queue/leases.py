"""Who runs which task: a worker takes a lease, shows signs of life, and checks that the lease is still its own.

When a worker falls silent for `lease_s`, the reaper gives its tasks away; should the worker wake up after all, its next
check tells it to stop, and what it writes in between are the same bytes as the other one's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from workers.core.errors.base import JobCanceled
from workers.core.model.schemas import ModelCard
from workers.core.queue import heartbeat
from workers.core.queue.attempts import attempts_max, attempts_of, lost
from workers.core.queue.ends import close_record
from workers.core.queue.exchange import Transaction, answering, decode
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import OUT, JobKeys, Task, worker_key
from workers.core.queue.lease import STATES_OF, Lease, Superseded, holder_of, is_held
from workers.core.queue.rates import Paces
from workers.core.queue.records import change, count_landed, host_in, next_token, priority_in, sums_with, traits_of
from workers.core.queue.scripts.regions import RegionScripts, Taken
from workers.core.sizing.memory import worker_memory_bytes
from workers.core.telemetry.status import WorkerStatus

GLANCE_S = 1.0
"""How long it is not asked again whether a lease holds that was just taken."""


class Leases:
    """Tasks as one worker sees them.

    Args:
        jobs: The queue.
        worker_id: Id of this worker, unlike any other, also of one that ran before.
        status: How it is, if it tells.
    """

    def __init__(self, jobs: Jobs, worker_id: str, status: WorkerStatus | None = None) -> None:
        self.jobs = jobs
        self.worker_id = worker_id
        self.status = status
        self.attempts_max = attempts_max(jobs.settings)
        self.memory_bytes = worker_memory_bytes(jobs.settings)
        self.paces = Paces(jobs.redis)
        self._scripts = RegionScripts(jobs.redis, jobs.lane, jobs.host)
        self._begun: tuple[Lease | None, float] = (None, 0.0)

    def beat(self) -> None:
        """Show a sign of life."""
        with answering():
            lease_s = self.jobs.settings.lease_s
            heartbeat.beat(self.jobs.redis, self.worker_id, self.memory_bytes, lease_s, self.status, self.jobs.host)

    def retire(self) -> None:
        """Say that this worker is gone; what it still held goes back to the queue with the next sweep."""
        with answering():
            heartbeat.retire(self.jobs.redis, self.worker_id)
            if self.status is not None:
                heartbeat.tell_tallies(self.jobs.redis, self.status)

    def begin(self, task: Task) -> Lease | None:
        """Take the lease of a task; None if there is nothing to do: done, canceled, or with a living worker.

        A task that was begun too often ends its job with `JobLost`.
        """
        lease, taken = self._begin_region(task) if task.kind == "region" else (self._begin_whole(task), None)
        self._begun = lease, time.monotonic()
        if lease is not None and lease.attempt > self.attempts_max:
            self.jobs.fail(task.job_id, lost(task, self.attempts_max))
            return None
        if taken is None:
            self.jobs.turns.feed(self.jobs.host)
        else:
            self.jobs.turns.top_up(taken.queued, taken.priority, taken.host, is_heavy=taken.is_heavy)  # a place is free
        return lease

    def _begin_region(self, task: Task) -> tuple[Lease | None, Taken | None]:
        """Return the lease of a region, and what was said of it."""
        with answering():
            are_mixed = self.jobs.turns.are_mixed(self.jobs.host)
            taken = self._scripts.take(task, self.worker_id, self.attempts_max, are_mixed=are_mixed)
        if taken is None:
            return None, None
        return Lease(task, self.worker_id, taken.attempt, first_region_at=taken.first_region_at), taken

    def _begin_whole(self, task: Task) -> Lease | None:
        """Return the lease of a plan or a finish."""
        keys = JobKeys(task.job_id)

        def write(pipe: Transaction) -> Lease | None:
            if not self._is_due(pipe, keys, task):
                return None
            attempt = attempts_of(pipe, task) + 1
            lease = Lease(task, self.worker_id, attempt, next_token(pipe, keys) if task.kind == "finish" else 0)
            if attempt > self.attempts_max:
                return lease
            record = decode(pipe.hgetall(keys.record))
            pipe.multi()
            pipe.hset(keys.leases, task.name, lease.value)
            pipe.hset(keys.attempts, task.name, attempt)
            if task.kind == "plan":
                change(pipe, keys, record, {"state": "planning", "host": self.jobs.host})
                pipe.hsetnx(keys.record, "started_at", datetime.now(UTC).isoformat())
            else:
                pipe.hset(keys.record, "token", lease.token)
            return lease

        lease: Lease | None = self.jobs.transact(write, keys.record, keys.leases, keys.attempts)
        return lease

    def check(self, lease: Lease) -> None:
        """Return if the work is still wanted.

        Raises:
            JobCanceled: The job was canceled.
            Superseded: The lease is another's, or the job ended otherwise.
        """
        keys = JobKeys(lease.task.job_id)
        with answering():
            if is_held(self.jobs.redis, lease):
                return
            state = self.jobs.redis.hget(keys.record, "state")
        if state == b"canceled":
            raise JobCanceled("The job was canceled.", value=lease.task.job_id)
        raise Superseded(f"{lease.task.queue_prefix} is no longer held as {lease.value}")

    def glance(self, lease: Lease) -> None:
        """Check, but the first time after a task was begun do without if that was within `GLANCE_S`.

        Raises:
            JobCanceled, Superseded: As `check`.
        """
        (begun, at), self._begun = self._begun, (None, 0.0)
        if begun != lease or time.monotonic() - at >= GLANCE_S:
            self.check(lease)

    def release(self, lease: Lease) -> None:
        """Give a lease back, if it is still ours; that the task was missed before does not count any more."""
        keys = JobKeys(lease.task.job_id)

        def write(pipe: Transaction) -> None:
            if is_held(pipe, lease):
                pipe.multi()
                pipe.hdel(keys.leases, lease.task.name)
                pipe.hdel(keys.missing, lease.task.name)

        self.jobs.transact(write, keys.leases)

    def planned(
        self, lease: Lease, todo: Sequence[int], total: int, plan_s: float, card: ModelCard | None = None
    ) -> None:
        """Record the plan and queue its regions, or the finish if none is left to do.

        Args:
            lease: Of the plan task.
            todo: Indices of the regions that have to be segmented.
            total: Number of regions of the plan.
            plan_s: Seconds the planning took.
            card: Of the model: for workers with a GPU, where there are any, if it is heavy.

        Raises:
            JobCanceled, Superseded: As `check`.
        """
        keys = JobKeys(lease.task.job_id)

        def write(pipe: Transaction) -> None:
            record = decode(pipe.hgetall(keys.record))
            pipe.multi()
            counts = {"regions_total": str(total), "regions_before": str(total - len(todo)), "plan_s": str(plan_s)}
            counts |= traits_of(card)
            change(pipe, keys, record, {**counts, "state": "running" if todo else "finishing"}, len(todo))
            pipe.hdel(keys.leases, lease.task.name)
            pipe.hdel(OUT, lease.task.out)
            if todo:
                pipe.sadd(keys.todo, *todo)
                self.jobs.turns.wait(pipe, lease.task.job_id, {**record, **counts}, todo)
            else:
                self.jobs.enqueue(pipe, Task(lease.task.job_id, "finish"), priority_in(record), host_in(record))

        self._while_held(lease, write, keys.record, keys.leases)
        self.jobs.turns.took("plan", plan_s)
        self.jobs.turns.feed()

    def region_done(self, lease: Lease, segment_s: float, tiles: float = 0.0) -> None:
        """Mark a region that is on disk. With the last one the finish is queued, in the same transaction: once.

        Args:
            lease: Of the region task.
            segment_s: Seconds the region took.
            tiles: What it was worth in forward passes of whole tiles.

        Raises:
            JobCanceled, Superseded: As `check`.
        """
        with answering():
            how = self._scripts.land(lease.task, lease.value, segment_s, tiles, lease.first_region_at)
        if how == "lost":
            self.check(lease)
        elif how == "last":
            self._land_last(lease, segment_s, tiles)
        self.jobs.turns.freed(self.jobs.host)

    def _land_last(self, lease: Lease, segment_s: float, tiles: float) -> None:
        """Mark a region that may be the last one, as `region_done`."""
        keys = JobKeys(lease.task.job_id)

        def write(pipe: Transaction) -> None:
            record = decode(pipe.hgetall(keys.record))
            is_due = bool(pipe.sismember(keys.todo, lease.task.index))
            left = pipe.scard(keys.todo) - is_due
            pipe.multi()
            pipe.srem(keys.todo, lease.task.index)
            pipe.hdel(keys.leases, lease.task.name)
            pipe.hdel(OUT, lease.task.out)
            sums = sums_with(record, segment_s, tiles)
            if left or not is_due:
                change(pipe, keys, record, sums, left, "progress")
            else:
                change(pipe, keys, record, {**sums, "state": "finishing"})
                self.jobs.enqueue(pipe, Task(lease.task.job_id, "finish"), priority_in(record), host_in(record))

        self._while_held(lease, write, keys.record, keys.leases, keys.todo)

    def measured(self, pace: str, segment_s: float, tiles: float) -> None:
        """Take a region into the running means of what regions and forward passes take, see `rates`."""
        self.paces.note(pace, segment_s, tiles)
        if (seconds := self.paces.tell()) is not None:
            self.jobs.turns.took("region", *seconds)

    def announce(self, lease: Lease, phase: str) -> None:
        """Say what a finish task is at now; errors as for `check`."""
        keys = JobKeys(lease.task.job_id)

        def write(pipe: Transaction) -> None:
            record = decode(pipe.hgetall(keys.record))
            pipe.multi()
            change(pipe, keys, record, {"phase": phase}, kind="progress")

        self._while_held(lease, write, keys.record, keys.leases)

    def landed(self, lease: Lease, name: str) -> None:
        """Say that an output of a finish is complete: a later worker goes on after it, with all its tries.

        Raises:
            JobCanceled, Superseded: As `check`.
        """
        keys = JobKeys(lease.task.job_id)
        self._while_held(lease, lambda pipe: count_landed(pipe, keys, name), keys.leases, keys.attempts)

    def finished(self, lease: Lease) -> None:
        """Mark a job whose `result.json` is on disk.

        Raises:
            JobCanceled, Superseded: As `check`.
        """
        keys = JobKeys(lease.task.job_id)

        def write(pipe: Transaction) -> None:
            record = decode(pipe.hgetall(keys.record))
            fields = {"state": "succeeded", "finished_at": datetime.now(UTC).isoformat()}
            pipe.multi()
            pipe.hdel(OUT, lease.task.out)
            close_record(pipe, lease.task.job_id, record, fields)

        self._while_held(lease, write, keys.record, keys.leases)

    def timings(self, job_id: str) -> Mapping[str, float]:
        """Return seconds of the phases so far: `plan`, and `segment` as a sum over regions."""
        with answering():
            record = decode(self.jobs.redis.hgetall(JobKeys(job_id).record))
        return {phase: round(float(record.get(f"{phase}_s", 0)), 3) for phase in ("plan", "segment")}

    def _is_due(self, pipe: Transaction, keys: JobKeys, task: Task) -> bool:
        state, host = pipe.hmget(keys.record, "state", "host")
        if state is None or state.decode() not in STATES_OF[task.kind]:
            return False
        if task.kind != "plan" and (host or b"").decode() not in ("", self.jobs.host):  # it was moved meanwhile
            return False
        value = pipe.hget(keys.leases, task.name)
        holder = None if value is None else holder_of(value.decode())
        return holder in (None, self.worker_id) or not pipe.exists(worker_key(holder))

    def _while_held(self, lease: Lease, write: Callable[[Transaction], None], *watched: str) -> None:
        """Have `write` read what it needs of watched keys, then write, all at once, if the task is still this lease's.

        Raises:
            JobCanceled, Superseded: As `check`.
        """

        def guarded(pipe: Transaction) -> bool:
            if not is_held(pipe, lease):
                return False
            write(pipe)
            return True

        if not self.jobs.transact(guarded, *watched):
            self.check(lease)
