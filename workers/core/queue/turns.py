"""Whose turn it is: plans and regions wait with their job, and few of them at a time are put into the queue.

The queue stays as short as workers need, however many regions a slide has: so whoever comes late waits for what runs
and not for what was asked before, a job is ended in milliseconds, and a sweep looks at what is out.

Within a priority, tenants take turns, and within a tenant its jobs; a turn is `TURN_REGIONS` regions of one job, so
that two models do not drive each other out of memory with each region. It is handed out as a whole, when fewer regions
are queued than workers live. New ones are next. Plans alternate with turns: forty of them do not hold up the regions of
the first.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from rq import Queue
from rq.job import Job

from workers.core.queue.events import add_event
from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.heartbeat import memory_of_workers
from workers.core.queue.keys import (
    OUT,
    PLAN_SLIDE,
    SEGMENT_REGION,
    TASK_SECONDS,
    TURN,
    TURN_BEFORE,
    WORKERS,
    JobKeys,
    turns_key,
    worker_key,
)
from workers.core.queue.progress import progress_of
from workers.core.queue.scripts.hand_out import HAND_OUT
from workers.core.schemas import FINAL_STATES
from workers.core.waiting import Waiting

Lane = Literal["plan", "region"]

QUEUED_LEAST = 1
"""Regions in the queue below which the next turn is handed out; as many as workers live, if that is more."""

LOOK_S = 5.0
"""How long a worker that hands out turns goes by its last look at all workers."""

PLANS_QUEUED = 1
TURN_REGIONS = 4
SECONDS_WEIGHT = 0.1
PLAN = b"plan"


class Turns:
    """What waits to be put into the queues.

    Args:
        redis: The client.
        queues: For each priority the queue of plans, then that of regions.
        entry: Returns the fields of an entry of a queue that calls a function, but for those that say which task it is.
    """

    def __init__(
        self,
        redis: Any,
        queues: Mapping[str, tuple[Queue, Queue]],
        entry: Callable[[Queue, str], Mapping[str, str]],
    ) -> None:
        self._redis = redis
        self._queues = queues
        self._entry = entry
        self._hand_out = redis.register_script(HAND_OUT)
        self._room: int | None = None
        self._looked_at = float("-inf")

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane: Lane = "plan" if todo is None else "region"
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def top_up(self, queued: int, priority: str) -> None:
        """Put into the queues of a priority what is next, if so few regions are queued in it that more are wanted.

        How many that is was told by the last look at all workers; a worker that has come since has looked itself. One
        older than `LOOK_S` is taken anew with the next turn.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        if self._room is not None and queued >= self._room:
            return
        if self._room is None or time.monotonic() - self._looked_at >= LOOK_S:
            self.feed()
        else:
            self._feed([priority], self._room)

    def feed(self) -> None:
        """Put into the queues what is next, as much as workers need.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        looked_at = time.monotonic()
        self._room = self._feed(self._queues)
        self._looked_at = looked_at

    def _feed(self, priorities: Iterable[str], room: int | None = None) -> int:
        """Put into the queues of priorities what is next, and return how many regions are to be queued in each.

        Args:
            priorities: Which.
            room: How many, if that is known; else Redis looks how many workers live.
        """
        told = {
            "lanes": [self._lanes(each) for each in priorities],
            **({} if room is None else {"room": room}),
            "least": QUEUED_LEAST,
            "plans": PLANS_QUEUED,
            "turn": TURN_REGIONS,
            "final": sorted(FINAL_STATES),
            "worker": worker_key(""),
            "record": JobKeys("").record,
            "job": Job.redis_job_namespace_prefix,
            "salt": uuid.uuid4().hex[:8],
        }
        with answering():
            room, fresh = self._hand_out(keys=[WORKERS, TURN, TURN_BEFORE, OUT], args=[json.dumps(told)])
        for job_id in fresh:
            self._tell(job_id.decode())
        return int(room)

    def took(self, lane: Lane, *seconds: float) -> None:
        """Take tasks, one after the other, into the running mean of what their kind takes."""
        with answering():
            before = self._redis.hget(TASK_SECONDS, lane)
            mean = None if before is None else float(before)
            for each in seconds:
                mean = each if mean is None else mean + SECONDS_WEIGHT * (each - mean)
            if mean is not None:
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

    def _lanes(self, priority: str) -> Mapping[str, object]:
        """Return what the script has to know of a priority."""
        lanes: dict[Lane, tuple[Queue, str]] = dict(
            zip(("plan", "region"), zip(self._queues[priority], (PLAN_SLIDE, SEGMENT_REGION), strict=True), strict=True)
        )
        return {"priority": priority} | {
            lane: {
                "turns": turns_key(priority, lane),
                "queue": queue.key,
                "calls": function,
                "entry": self._entry(queue, function),
            }
            for lane, (queue, function) in lanes.items()
        }

    def _tell(self, job_id: str) -> None:
        """Tell those who follow a job that it has had its first turn."""
        keys = JobKeys(job_id)

        def write(pipe: Transaction) -> None:
            record, todo = decode(pipe.hgetall(keys.record)), pipe.scard(keys.todo)
            pipe.multi()
            if record.get("state", "failed") not in FINAL_STATES:
                add_event(pipe, job_id, "state", progress_of(record, todo))

        transact(self._redis, write, keys.record)


def _owner(record: Mapping[str, str]) -> tuple[str, str]:
    """Return the priority and the tenant of a job."""
    return record.get("priority", "interactive"), record.get("tenant", "")
