"""Whose turn it is: plans and regions wait with their job, and few of them at a time are put into the queue.

The queue stays as short as workers need, however many regions a slide has: so whoever comes late waits for what runs
and not for what was asked before, a job is ended in milliseconds, and a sweep looks at what is out.

Within a priority, tenants take turns, and within a tenant its jobs; a turn is `TURN_REGIONS` regions of one job, so
that two models do not drive each other out of memory with each region. It is handed out as a whole, when fewer regions
are queued than workers live. New ones are next. Plans alternate with turns: forty of them do not hold up the regions of
the first.

Where workers with a GPU live beside others, jobs of heavy models take turns by themselves, for those workers.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rq import Queue
from rq.job import Job

from workers.core.queue.events import add_event
from workers.core.queue.exchange import Transaction, answering, decode, transact
from workers.core.queue.heartbeat import GPU, hosts, signs_of_workers
from workers.core.queue.keys import (
    OUT,
    PLAN_SLIDE,
    SEGMENT_REGION,
    TASK_SECONDS,
    TURN,
    TURN_BEFORE,
    JobKeys,
    at_host,
    out_key,
    turns_key,
    worker_key,
    workers_key,
)
from workers.core.queue.progress import progress_of
from workers.core.queue.records import host_in, is_heavy_in
from workers.core.queue.scripts.hand_out import HAND_OUT
from workers.core.queue.task_job import Lane as Queues
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
MIXED_TURNS = 4
"""Turns of one model after which no more regions are queued than workers need: before, workers choose of their own."""

PLAN = b"plan"
HEAVY = "heavy"


class Look(NamedTuple):
    """How many regions of a host are to be queued, for all workers and for those with a GPU, seen when.

    The second is 0 where all workers are of one kind: then they are not told apart.
    """

    room: int
    heavy_room: int
    at: float


class Turns:
    """What waits to be put into the queues.

    Args:
        redis: The client.
        queues: Returns the queues of a priority and a host.
        entry: Returns the fields of an entry of a queue that calls a function, but for those that say which task it is.
        has_hosts: Whether regions lie with the host that planned them, and not with all.
        cap: Regions of one tenant that may be queued or computed at once, of all hosts; 0: no limit.
    """

    def __init__(
        self,
        redis: Any,
        queues: Callable[[str, str], Queues],
        entry: Callable[[Queue, str], Mapping[str, str]],
        *,
        has_hosts: bool = False,
        cap: int = 0,
    ) -> None:
        self._cap = cap
        self._redis = redis
        self._has_hosts = has_hosts
        self._queues = queues
        self._entry = entry
        self._hand_out = redis.register_script(HAND_OUT)
        self._looks: dict[str, Look] = {}  # by host
        self._mixed: dict[tuple[str, bool], int] = {}  # host, of heavy models → turns until its queue is short again

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane = _lane_of(record) if todo is not None else "plan"
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def freed(self, host: str = "") -> None:
        """Put into the queues what is next where a tenant was at its cap and a region of it has landed.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        if self._cap:
            self.feed(host)

    def are_mixed(self, host: str = "") -> bool:
        """Whether workers of a host with a GPU lived beside others, at the last look at them."""
        return host in self._looks and self._looks[host].heavy_room > 0

    def top_up(self, queued: int, priority: str, host: str = "", *, is_heavy: bool = False) -> None:
        """Put into the queues of a priority what is next, if so few regions of a host are queued that more are wanted.

        How many that is was told by the last look at its workers; a worker that has come since has looked itself. One
        older than `LOOK_S` is taken anew with the next turn. With `is_heavy`, those are queued that are for workers
        with a GPU.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        look = self._looks.get(host)
        if look is None:
            self.feed(host)
        elif queued < (look.heavy_room if is_heavy else look.room) + self._deeper(host, is_heavy):
            is_old = time.monotonic() - look.at >= LOOK_S
            self._feed_hosts([priority], [host], None if is_old else look)

    def feed(self, host: str = "") -> None:
        """Put into the queues what is next, as much as workers need: those of one host, or of all.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        self._feed_hosts(PRIORITIES, [host] if host else self._hosts())

    def _feed_hosts(self, priorities: Sequence[str], fed: list[str], look: Look | None = None) -> None:
        """Put into the queues of hosts what is next, by a look at their workers: the last one, or one that is new."""
        known = {} if look is None else {"room": look[:2]}
        looked_at = time.monotonic()
        rooms = self._feed([self._lanes(priority, each) | known for priority in priorities for each in fed])
        for each, (room_of_all, heavy_room, *changed) in zip(fed * len(priorities), rooms, strict=True):
            if look is None:
                self._looks[each] = Look(room_of_all, heavy_room, looked_at)
            for lane, has_changed in zip(((each, False), (each, True)), changed, strict=True):
                if has_changed >= 0:
                    self._mixed[lane] = MIXED_TURNS if has_changed else max(0, self._mixed.get(lane, 0) - 1)

    def _deeper(self, host: str, is_heavy: bool) -> int:
        """Return how many more regions of a host are queued than otherwise: where turns change between models."""
        return TURN_REGIONS if self._mixed.get((host, is_heavy)) else 0

    def _feed(self, lanes: Sequence[Mapping[str, object]]) -> Sequence[Sequence[int]]:
        """Put into the queues what is next in lanes, and return what the script tells of each of them."""
        told = {
            "lanes": lanes,
            "least": QUEUED_LEAST,
            "plans": PLANS_QUEUED,
            "turn": TURN_REGIONS,
            "final": sorted(FINAL_STATES),
            "worker": worker_key(""),
            "gpu": GPU,
            "cap": self._cap,
            "out": out_key(""),
            "record": JobKeys("").record,
            "job": Job.redis_job_namespace_prefix,
            "salt": uuid.uuid4().hex[:8],
        }
        with answering():
            rooms, fresh = self._hand_out(keys=[TURN, TURN_BEFORE, OUT], args=[json.dumps(told)])
        for job_id in fresh:
            self._tell(job_id.decode())
        return [[int(each) for each in told_of_lane] for told_of_lane in rooms]

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
            is_planned = "regions_total" in record
            host = host_in(record) if is_planned else ""
            lanes = dict.fromkeys((_lane_of(record), at_host("region", host))) if is_planned else ["plan"]
            turns = {lane: self._redis.zrank(turns_key(priority, lane, tenant), job_id) for lane in lanes}
            lane, turn = next(((lane, turn) for lane, turn in turns.items() if turn is not None), ("", None))
            if turn is None:
                return None
            tenants = self._redis.zrange(turns_key(priority, lane), 0, -1)
            sizes = {each: int(self._redis.zcard(turns_key(priority, lane, each.decode()))) for each in tenants}
            place = 1 + sum(min(size, turn + (each < tenant.encode())) for each, size in sizes.items())
            place += self._interactive() if priority == "batch" else 0
            seconds = {name: float(value) for name, value in decode(self._redis.hgetall(TASK_SECONDS)).items()}
            is_heavy = lane.startswith(HEAVY)
            workers = sum(sign.has_gpu or not is_heavy for sign in signs_of_workers(self._redis, host))
        if not workers or "plan" not in seconds:
            return Waiting(place=place)
        each_s = seconds.get("region", 0.0) * TURN_REGIONS + (seconds["plan"] if lane == "plan" else 0.0)
        return Waiting(place=place, starts_in_s=round(place * each_s / workers, 1))

    def _interactive(self) -> int:
        """Jobs that wait and go before every batch."""
        lanes = ("plan", *(at_host(name, host) for host in self._hosts() for name in ("region", HEAVY)))
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
        control, (_, regions, heavy) = self._queues(priority, "").control, self._queues(priority, host)
        apart = {"turns": turns_key(priority, at_host(HEAVY, host)), "queue": heavy.key, "origin": heavy.name}
        deeper = [{"deeper": self._deeper(host, is_heavy)} for is_heavy in (False, True)]
        told = {"name": at_host(priority, host), "host": host, "workers": workers_key(host)}
        return told | {
            "plan": self._lane(control, PLAN_SLIDE, turns_key(priority, "plan")),
            "region": self._lane(regions, SEGMENT_REGION, turns_key(priority, at_host("region", host))) | deeper[0],
            "heavy": apart | deeper[1],
        }

    def _lane(self, queue: Queue, function: str, turns: str) -> dict[str, object]:
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


def _lane_of(record: Mapping[str, str]) -> str:
    """Return where the regions of a job wait at first; where workers are of one kind, they are joined to all others."""
    return at_host(HEAVY if is_heavy_in(record) else "region", host_in(record))


def _owner(record: Mapping[str, str]) -> tuple[str, str]:
    """Return the priority and the tenant of a job."""
    return record.get("priority", "interactive"), record.get("tenant", "")
