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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from rq import Queue
from rq.job import Job

from workers.core.queue.events import add_event
from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.heartbeat import hosts, memory_of_workers
from workers.core.queue.keys import (
    OUT,
    PLAN_SLIDE,
    SEGMENT_REGION,
    TASK_SECONDS,
    TURN,
    TURN_BEFORE,
    JobKeys,
    at_host,
    turns_key,
    worker_key,
    workers_key,
)
from workers.core.queue.progress import progress_of
from workers.core.queue.records import host_in
from workers.core.queue.scripts.hand_out import HAND_OUT
from workers.core.schemas import FINAL_STATES
from workers.core.waiting import Waiting

Lane = Literal["plan", "region"]
PRIORITIES = ("interactive", "batch")

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
        queues: Returns for a priority and a host the queue of plans, then that of regions.
        entry: Returns the fields of an entry of a queue that calls a function, but for those that say which task it is.
        has_hosts: Whether regions lie with the host that planned them, and not with all.
    """

    def __init__(
        self,
        redis: Any,
        queues: Callable[[str, str], tuple[Queue, Queue]],
        entry: Callable[[Queue, str], Mapping[str, str]],
        *,
        has_hosts: bool = False,
    ) -> None:
        self._redis = redis
        self._has_hosts = has_hosts
        self._queues = queues
        self._entry = entry
        self._hand_out = redis.register_script(HAND_OUT)
        self._looks: dict[str, tuple[int, float]] = {}  # host → how many regions are to be queued, seen when

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane = at_host("region", host_in(record)) if todo is not None else "plan"
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def top_up(self, queued: int, priority: str, host: str = "") -> None:
        """Put into the queues of a priority what is next, if so few regions of a host are queued that more are wanted.

        How many that is was told by the last look at its workers; a worker that has come since has looked itself. One
        older than `LOOK_S` is taken anew with the next turn.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        room, looked_at = self._looks.get(host, (None, 0.0))
        if room is not None and queued >= room:
            return
        if room is None or time.monotonic() - looked_at >= LOOK_S:
            self.feed(host)
        else:
            self._feed([{**self._lanes(priority, host), "room": room}])

    def feed(self, host: str = "") -> None:
        """Put into the queues what is next, as much as workers need: those of one host, or of all.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        looked_at = time.monotonic()
        fed = [host] if host else self._hosts()
        rooms = self._feed([self._lanes(priority, each) for priority in PRIORITIES for each in fed])
        self._looks |= {each: (room, looked_at) for each, room in zip(fed, rooms, strict=False)}  # in each priority

    def _feed(self, lanes: Sequence[Mapping[str, object]]) -> Sequence[int]:
        """Put into the queues what is next in lanes, and return how many regions are to be queued in each of them."""
        told = {
            "lanes": lanes,
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
            rooms, fresh = self._hand_out(keys=[TURN, TURN_BEFORE, OUT], args=[json.dumps(told)])
        for job_id in fresh:
            self._tell(job_id.decode())
        return [int(room) for room in rooms]

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
            host = host_in(record) if "regions_total" in record else ""
            lane = at_host("region", host) if "regions_total" in record else "plan"
            turn = self._redis.zrank(turns_key(priority, lane, tenant), job_id)
            if turn is None:
                return None
            tenants = self._redis.zrange(turns_key(priority, lane), 0, -1)
            sizes = {each: int(self._redis.zcard(turns_key(priority, lane, each.decode()))) for each in tenants}
            place = 1 + sum(min(size, turn + (each < tenant.encode())) for each, size in sizes.items())
            place += self._interactive() if priority == "batch" else 0
            seconds = {name: float(value) for name, value in decode(self._redis.hgetall(TASK_SECONDS)).items()}
            workers = len(memory_of_workers(self._redis, host))
        if not workers or "plan" not in seconds:
            return Waiting(place=place)
        each_s = seconds.get("region", 0.0) * TURN_REGIONS + (seconds["plan"] if lane == "plan" else 0.0)
        return Waiting(place=place, starts_in_s=round(place * each_s / workers, 1))

    def _interactive(self) -> int:
        """Jobs that wait and go before every batch."""
        lanes = ("plan", *(at_host("region", host) for host in self._hosts()))
        return sum(
            int(self._redis.zcard(turns_key("interactive", lane, tenant.decode())))
            for lane in lanes
            for tenant in self._redis.zrange(turns_key("interactive", lane), 0, -1)
        )

    def _hosts(self) -> list[str]:
        """Return the hosts that have regions of their own, after what is for all."""
        with answering():
            return ["", *(hosts(self._redis) if self._has_hosts else ())]

    def _lanes(self, priority: str, host: str) -> dict[str, object]:
        """Return what the script has to know of a priority: of plans, which are for all, and of a host's regions.

        With `room`, how many of these are to be queued, it need not look how many workers of the host live.
        """
        control, regions = self._queues(priority, "")[0], self._queues(priority, host)[1]
        told = {"name": at_host(priority, host), "host": host, "workers": workers_key(host)}
        return told | {
            "plan": self._lane(control, PLAN_SLIDE, turns_key(priority, "plan")),
            "region": self._lane(regions, SEGMENT_REGION, turns_key(priority, at_host("region", host))),
        }

    def _lane(self, queue: Queue, function: str, turns: str) -> Mapping[str, object]:
        return {"turns": turns, "queue": queue.key, "calls": function, "entry": self._entry(queue, function)}

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
