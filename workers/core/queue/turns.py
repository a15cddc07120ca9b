"""Whose turn it is: plans and regions wait with their job, and few of them at a time are put into the queue.

The queue stays as short as workers need, however many regions a slide has: so whoever comes late waits for what runs
and not for what was asked before, a job is ended in milliseconds, and a sweep looks at what is out.

Within a priority, tenants take turns, and within a tenant its jobs; a turn is `TURN_REGIONS` regions of one job, so
that two models do not drive each other out of memory with each region. New ones are next. Plans alternate with turns:
forty of them do not hold up the regions of the first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from rq import Queue

from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.heartbeat import memory_of_workers
from workers.core.queue.keys import TASK_SECONDS, TURN, TURN_BEFORE, JobKeys, Task, prefix_of, turns_key
from workers.core.queue.records import change
from workers.core.schemas import FINAL_STATES
from workers.core.waiting import Waiting

Lane = Literal["plan", "region"]

QUEUED_SPARE = 2
"""Regions in the queue beyond one for each worker: what is taken until more are handed out."""

PLANS_QUEUED = 1
TURN_REGIONS = 4
SECONDS_WEIGHT = 0.1
PLAN = b"plan"


class Turns:
    """What waits to be put into the queues.

    Args:
        redis: The client.
        queues: For each priority the queue of plans, then that of regions.
        enqueue: Puts a task into its queue as part of a transaction.
    """

    def __init__(
        self,
        redis: Any,
        queues: Mapping[str, tuple[Queue, Queue]],
        enqueue: Callable[[Transaction, Task, str], None],
    ) -> None:
        self._redis = redis
        self._queues = queues
        self._enqueue = enqueue

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane: Lane = "plan" if todo is None else "region"
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def feed(self) -> None:
        """Put into the queues what is next, as much as workers need.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            room = len(memory_of_workers(self._redis)) + QUEUED_SPARE
        for priority in self._queues:
            while self._hand_out(priority, room):
                pass

    def took(self, lane: Lane, seconds: float) -> None:
        """Take a task into the running mean of what its kind takes."""
        with answering():
            before = self._redis.hget(TASK_SECONDS, lane)
            mean = seconds if before is None else float(before) + SECONDS_WEIGHT * (seconds - float(before))
            self._redis.hset(TASK_SECONDS, lane, mean)

    def ahead(self, job_id: str, record: Mapping[str, str]) -> Waiting | None:
        """Return the place of a job that waits for its turn, and when that is likely to come; None if it has it."""
        priority, tenant = _owner(record)
        with answering():
            lane: Lane = "region" if "regions_total" in record else "plan"
            turn = self._redis.zrank(turns_key(priority, lane, tenant), job_id)
            if turn is None:
                return None
            tenants = self._redis.zrange(turns_key(priority, lane), 0, -1)
            sizes = {each: int(self._redis.zcard(turns_key(priority, lane, each.decode()))) for each in tenants}
            place = 1 + sum(min(size, turn + (each < tenant.encode())) for each, size in sizes.items())
            place += self._interactive() if priority == "batch" else 0
            seconds = {name: float(value) for name, value in decode(self._redis.hgetall(TASK_SECONDS)).items()}
            workers = len(memory_of_workers(self._redis))
        if not workers or "plan" not in seconds:
            return Waiting(place=place)
        each_s = seconds.get("region", 0.0) * TURN_REGIONS + (seconds["plan"] if lane == "plan" else 0.0)
        return Waiting(place=place, starts_in_s=round(place * each_s / workers, 1))

    def _interactive(self) -> int:
        """Jobs that wait and go before every batch."""
        lanes: Iterable[Lane] = ("plan", "region")
        return sum(
            int(self._redis.zcard(turns_key("interactive", lane, tenant.decode())))
            for lane in lanes
            for tenant in self._redis.zrange(turns_key("interactive", lane), 0, -1)
        )

    def _hand_out(self, priority: str, room: int) -> bool:
        """Put one task into its queue, or take one away that waits no more; False if there is nothing to do."""

        def write(pipe: Transaction) -> bool:
            lane = self._lane(pipe, priority, room)
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
                self._take(pipe, priority, lane, tenant, first[0].decode())
            return True

        return transact(self._redis, write, TURN, *(turns_key(priority, lane) for lane in ("plan", "region")))

    def _lane(self, pipe: Transaction, priority: str, room: int) -> Lane | None:
        control, regions = self._queues[priority]
        plan_waits, region_waits = (bool(pipe.zcard(turns_key(priority, lane))) for lane in ("plan", "region"))
        if plan_waits and (not region_waits or pipe.hget(TURN_BEFORE, priority) != PLAN):
            queued = pipe.lrange(control.key, 0, -1)
            if sum(prefix_of(entry.decode()).endswith("-plan") for entry in queued) < PLANS_QUEUED:
                return "plan"
        return "region" if region_waits and pipe.llen(regions.key) < room else None

    def _take(self, pipe: Transaction, priority: str, lane: Lane, tenant: str, job_id: str) -> None:
        keys = JobKeys(job_id)
        pipe.watch(keys.record, keys.waiting)
        item, left = pipe.lindex(keys.waiting, 0), pipe.llen(keys.waiting) - 1
        record, todo = decode(pipe.hgetall(keys.record)), pipe.scard(keys.todo)
        turn = int(pipe.get(TURN) or 0) + 1
        is_dead = item is None or (item == PLAN) != (lane == "plan") or record.get("state", "failed") in FINAL_STATES
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
            pipe.hset(TURN_BEFORE, priority, lane)
        pipe.lpop(keys.waiting)
        self._enqueue(pipe, Task(job_id, "plan") if lane == "plan" else Task(job_id, "region", int(item)), priority)
        if lane == "region" and "has_turn" not in record:
            change(pipe, keys, record, {"has_turn": "1"}, todo)


def _owner(record: Mapping[str, str]) -> tuple[str, str]:
    """Return the priority and the tenant of a job."""
    return record.get("priority", "interactive"), record.get("tenant", "")
