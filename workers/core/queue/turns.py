"""Whose turn it is: plans and regions wait with their job, and few of them at a time are put into the queue.

The queue stays as short as workers need, however many regions a slide has: so whoever comes late waits for what runs
and not for what was asked before, a job is ended in milliseconds, and a sweep looks at what is out.

Within a priority, tenants take turns, and within a tenant its jobs; a turn is `TURN_REGIONS` regions of one job, so
that two models do not drive each other out of memory with each region. New ones are next. Plans alternate with turns:
forty of them do not hold up the regions of the first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rq import Queue

from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.heartbeat import hosts, memory_of_workers
from workers.core.queue.keys import TASK_SECONDS, TURN, TURN_BEFORE, JobKeys, Task, at_host, prefix_of, turns_key
from workers.core.queue.records import change, host_in
from workers.core.schemas import FINAL_STATES
from workers.core.waiting import Waiting

PLANS = "plan"
"""Where plans wait, for whichever host; regions wait for that of their job, see `regions_of`."""

QUEUED_SPARE = 2
"""Regions in the queue beyond one for each worker: what is taken until more are handed out."""

PLANS_QUEUED = 1
TURN_REGIONS = 4
SECONDS_WEIGHT = 0.1
PLAN = b"plan"
PRIORITIES = ("interactive", "batch")


def regions_of(host: str) -> str:
    """Return where the regions wait that a host has; empty: all hosts."""
    return at_host("region", host)


class Turns:
    """What waits to be put into the queues.

    Args:
        redis: The client.
        queues: Returns for a priority and a host the queue of plans, then that of regions.
        enqueue: Puts a task into its queue as part of a transaction.
        has_hosts: Whether regions lie with the host that planned them, and not with all.
    """

    def __init__(
        self,
        redis: Any,
        queues: Callable[[str, str], tuple[Queue, Queue]],
        enqueue: Callable[[Transaction, Task, str, str], None],
        *,
        has_hosts: bool = False,
    ) -> None:
        self._redis = redis
        self._has_hosts = has_hosts
        self._queues = queues
        self._enqueue = enqueue

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane = PLANS if todo is None else regions_of(host_in(record))
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def feed(self, host: str = "") -> None:
        """Put into the queues what is next, as much as workers need: those of one host, or of all.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            fed = [host] if host else self._hosts()
            rooms = {each: len(memory_of_workers(self._redis, each)) + QUEUED_SPARE for each in fed}
        for priority in PRIORITIES:
            for each, room in rooms.items():
                while self._hand_out(priority, each, room):
                    pass

    def took(self, kind: str, seconds: float) -> None:
        """Take a task into the running mean of what its kind takes."""
        with answering():
            before = self._redis.hget(TASK_SECONDS, kind)
            mean = seconds if before is None else float(before) + SECONDS_WEIGHT * (seconds - float(before))
            self._redis.hset(TASK_SECONDS, kind, mean)

    def ahead(self, job_id: str, record: Mapping[str, str]) -> Waiting | None:
        """Return the place of a job that waits for its turn, and when that is likely to come; None if it has it."""
        priority, tenant = _owner(record)
        with answering():
            lane = regions_of(host_in(record)) if "regions_total" in record else PLANS
            turn = self._redis.zrank(turns_key(priority, lane, tenant), job_id)
            if turn is None:
                return None
            tenants = self._redis.zrange(turns_key(priority, lane), 0, -1)
            sizes = {each: int(self._redis.zcard(turns_key(priority, lane, each.decode()))) for each in tenants}
            place = 1 + sum(min(size, turn + (each < tenant.encode())) for each, size in sizes.items())
            place += self._interactive() if priority == "batch" else 0
            seconds = {name: float(value) for name, value in decode(self._redis.hgetall(TASK_SECONDS)).items()}
            workers = len(memory_of_workers(self._redis, "" if lane == PLANS else host_in(record)))
        if not workers or "plan" not in seconds:
            return Waiting(place=place)
        each_s = seconds.get("region", 0.0) * TURN_REGIONS + (seconds["plan"] if lane == PLANS else 0.0)
        return Waiting(place=place, starts_in_s=round(place * each_s / workers, 1))

    def _interactive(self) -> int:
        """Jobs that wait and go before every batch."""
        lanes = (PLANS, *map(regions_of, self._hosts()))
        return sum(
            int(self._redis.zcard(turns_key("interactive", lane, tenant.decode())))
            for lane in lanes
            for tenant in self._redis.zrange(turns_key("interactive", lane), 0, -1)
        )

    def _hosts(self) -> list[str]:
        return (hosts(self._redis) if self._has_hosts else []) or [""]

    def _hand_out(self, priority: str, host: str, room: int) -> bool:
        """Put one task into its queue, or take one away that waits no more; False if there is nothing to do."""

        def write(pipe: Transaction) -> bool:
            lane = self._lane(pipe, priority, host, room)
            if lane is None:
                return False
            tenants = pipe.zrange(turns_key(priority, lane), 0, 0)
            if not tenants:  # another took the last one since `_lane` looked
                return True
            tenant = tenants[0].decode()
            first = pipe.zrange(turns_key(priority, lane, tenant), 0, 0)
            if not first:
                pipe.multi()
                pipe.incr(TURN)
                pipe.zrem(turns_key(priority, lane), tenant)
            else:
                self._take(pipe, (priority, host), lane, tenant, first[0].decode())
            return True

        return transact(self._redis, write, TURN, *(turns_key(priority, lane) for lane in (PLANS, regions_of(host))))

    def _lane(self, pipe: Transaction, priority: str, host: str, room: int) -> str | None:
        (control, _), (_, regions) = self._queues(priority, ""), self._queues(priority, host)
        region_lane = regions_of(host)
        plan_waits, region_waits = (bool(pipe.zcard(turns_key(priority, lane))) for lane in (PLANS, region_lane))
        if plan_waits and (not region_waits or pipe.hget(TURN_BEFORE, at_host(priority, host)) != PLAN):
            queued = pipe.lrange(control.key, 0, -1)
            if sum(prefix_of(entry.decode()).endswith("-plan") for entry in queued) < PLANS_QUEUED:
                return PLANS
        return region_lane if region_waits and pipe.llen(regions.key) < room else None

    def _take(self, pipe: Transaction, whose: tuple[str, str], lane: str, tenant: str, job_id: str) -> None:
        """Take the next task of a job; `whose` is the priority and the host."""
        priority, host = whose
        keys = JobKeys(job_id)
        pipe.watch(keys.record, keys.waiting)
        item, left = pipe.lindex(keys.waiting, 0), pipe.llen(keys.waiting) - 1
        record, todo = decode(pipe.hgetall(keys.record)), pipe.scard(keys.todo)
        turn = int(pipe.get(TURN) or 0) + 1
        is_dead = item is None or (item == PLAN) != (lane == PLANS) or record.get("state", "failed") in FINAL_STATES
        is_dead |= lane != PLANS and host_in(record) != host  # it was planned again elsewhere
        is_last = is_dead or left == 0
        is_over = is_last or left % TURN_REGIONS == 0
        pipe.multi()
        pipe.incr(TURN)
        if is_last:
            pipe.zrem(turns_key(priority, lane, tenant), job_id)
        elif is_over:
            pipe.zadd(turns_key(priority, lane, tenant), {job_id: turn})
        if is_dead:
            return
        if is_over:
            pipe.zadd(turns_key(priority, lane), {tenant: turn})
            pipe.hset(TURN_BEFORE, at_host(priority, host), lane)
        pipe.lpop(keys.waiting)
        task = Task(job_id, "plan") if lane == PLANS else Task(job_id, "region", int(item))
        self._enqueue(pipe, task, priority, host)
        if lane != PLANS and "has_turn" not in record:
            change(pipe, keys, record, {"has_turn": "1"}, todo)


def _owner(record: Mapping[str, str]) -> tuple[str, str]:
    """Return the priority and the tenant of a job."""
    return record.get("priority", "interactive"), record.get("tenant", "")
