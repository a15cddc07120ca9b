"""Whose turn it is: plans and regions wait with their job, and few of them at a time are put into the queue.

The queue stays as short as workers need, however many regions a slide has: so whoever comes late waits for what runs
and not for what was asked before, a job is ended in milliseconds, and a sweep looks at what is out.

Within a priority, tenants take turns, and within a tenant its jobs; a turn is `TURN_REGIONS` regions of one job, so
that two models do not drive each other out of memory with each region. New ones are next. Plans alternate with turns:
forty of them do not hold up the regions of the first.
"""

import json
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
from workers.core.schemas import FINAL_STATES
from workers.core.waiting import Waiting

Lane = Literal["plan", "region"]
PRIORITIES = ("interactive", "batch")

QUEUED_SPARE = 2
"""Regions in the queue beyond one for each worker: what is taken until more are handed out."""

PLANS_QUEUED = 1
TURN_REGIONS = 4
SECONDS_WEIGHT = 0.1
PLAN = b"plan"

SCRIPT = """
local told = cjson.decode(ARGV[1])
local final, fresh, number = {}, {}, 0
for _, state in ipairs(told.final) do final[state] = true end

local room

local function room_of(workers)
    local alive = redis.call('ZRANGE', workers, 0, -1)
    for place, id in ipairs(alive) do alive[place] = told.worker .. id end
    return told.spare + (#alive > 0 and redis.call('EXISTS', unpack(alive)) or 0)
end

local function next_lane(lanes)
    local plan = redis.call('EXISTS', lanes.plan.turns) > 0
    local region = redis.call('EXISTS', lanes.region.turns) > 0
    if plan and not (region and redis.call('HGET', KEYS[2], lanes.name) == 'plan') then
        local queued = 0
        for _, entry in ipairs(redis.call('LRANGE', lanes.plan.queue, 0, -1)) do
            if string.find(entry, '%-plan%-%x+$') then queued = queued + 1 end
        end
        if queued < told.plans then return 'plan' end
    end
    if region and redis.call('LLEN', lanes.region.queue) < room then return 'region' end
end

local function enqueue(lane, name, job, item)
    local task = name == 'plan' and 'plan' or 'region-' .. item
    local args = name == 'plan' and '"' .. job .. '"' or '"' .. job .. '", ' .. item
    local fields = {'data', '["' .. lane.calls .. '", null, [' .. args .. '], {}]', 'description', task}
    for field, value in pairs(lane.entry) do
        fields[#fields + 1] = field
        fields[#fields + 1] = value
    end
    number = number + 1
    local id = string.format('%s-%s-%s%04x', job, task, told.salt, number)
    redis.call('HSET', KEYS[3], job .. ' ' .. task, '')
    redis.call('HSET', told.job .. id, unpack(fields))
    return redis.call('RPUSH', lane.queue, id)
end

local function hand_out(lanes, name)
    local lane = lanes[name]
    local tenant = redis.call('ZRANGE', lane.turns, 0, 0)[1]
    local jobs = lane.turns .. ':' .. tenant
    local job = redis.call('ZRANGE', jobs, 0, 0)[1]
    if not job then
        redis.call('ZREM', lane.turns, tenant)
        return
    end
    local waiting = told.record .. job .. ':waiting'
    local record = redis.call('HMGET', told.record .. job, 'state', 'has_turn', 'host')
    local item = redis.call('LPOP', waiting)
    local elsewhere = name == 'region' and (record[3] or '') ~= lanes.host
    if not item or (item == 'plan') ~= (name == 'plan') or elsewhere or not record[1] or final[record[1]] then
        if item then redis.call('LPUSH', waiting, item) end
        redis.call('ZREM', jobs, job)
        return
    end
    local left = redis.call('LLEN', waiting)
    if left % told.turn == 0 then
        local turn = redis.call('INCR', KEYS[1])
        if left == 0 then redis.call('ZREM', jobs, job) else redis.call('ZADD', jobs, turn, job) end
        redis.call('ZADD', lane.turns, turn, tenant)
        redis.call('HSET', KEYS[2], lanes.name, name)
    end
    local queued = enqueue(lane, name, job, item)
    if name == 'region' and not record[2] then
        redis.call('HSET', told.record .. job, 'has_turn', '1')
        fresh[#fresh + 1] = job
    end
    return queued
end

for _, lanes in ipairs(told.lanes) do
    room = room_of(lanes.workers)
    local name = next_lane(lanes)
    while name do
        local queued = hand_out(lanes, name)
        local is_full = name == 'region' and queued and queued >= room
        name = not (is_full and redis.call('EXISTS', lanes.plan.turns) == 0) and next_lane(lanes)
    end
end
return fresh
"""
"""Puts into the queues what is next, as one step that nobody can come between; returns jobs that had no turn before.

In Redis, because every worker does it for each region: of several transactions at once all but one would begin again.
"""


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
        self._script = redis.register_script(SCRIPT)

    def wait(self, pipe: Transaction, job_id: str, record: Mapping[str, str], todo: Sequence[int] | None) -> None:
        """Have a job wait for its turn, as part of a transaction: with regions, or with its plan (None)."""
        priority, tenant = _owner(record)
        lane = at_host("region", host_in(record)) if todo is not None else "plan"
        pipe.delete(JobKeys(job_id).waiting)
        pipe.rpush(JobKeys(job_id).waiting, *([PLAN] if todo is None else todo))
        pipe.zadd(turns_key(priority, lane, tenant), {job_id: 0}, nx=True)
        pipe.zadd(turns_key(priority, lane), {tenant: 0}, nx=True)

    def feed(self, host: str = "") -> None:
        """Put into the queues what is next, as much as workers need: those of one host, or of all.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        fed = [host] if host else self._hosts()
        told = {
            "lanes": [self._lanes(priority, each) for priority in PRIORITIES for each in fed],
            "spare": QUEUED_SPARE,
            "plans": PLANS_QUEUED,
            "turn": TURN_REGIONS,
            "final": sorted(FINAL_STATES),
            "worker": worker_key(""),
            "record": JobKeys("").record,
            "job": Job.redis_job_namespace_prefix,
            "salt": uuid.uuid4().hex[:8],
        }
        with answering():
            fresh = self._script(keys=[TURN, TURN_BEFORE, OUT], args=[json.dumps(told)])
        for job_id in fresh:
            self._tell(job_id.decode())

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

    def _lanes(self, priority: str, host: str) -> Mapping[str, object]:
        """Return what the script has to know of a priority: of plans, which are for all, and of a host's regions."""
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
