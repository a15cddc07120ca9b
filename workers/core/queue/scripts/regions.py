"""How a region is begun and how it lands, each as one step in Redis: what is asked most often is asked in few commands.

A transaction would read, be told, write, and begin again wherever another worker was quicker.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from workers.core.queue.events import EVENTS_MAX, events_key
from workers.core.queue.keys import JobKeys, Task, worker_key
from workers.core.queue.progress import elapsed_s
from workers.core.queue.task_job import Lane

TAKE = """
local index, name, worker, prefix, most, now, here, are_mixed = unpack(ARGV)
local record = redis.call('HMGET', KEYS[1], 'state', 'first_region_at', 'priority', 'host', 'heavy')
local priority, host = record[3] or 'interactive', record[4] or ''
if record[1] ~= 'running' or (host ~= '' and host ~= here) then return false end
local attempt = redis.call('HINCRBY', KEYS[4], name, 1)
local function untried(answer)
    redis.call('HINCRBY', KEYS[4], name, -1)
    return answer
end
if attempt > 1 and redis.call('SISMEMBER', KEYS[2], index) == 0 then return untried(false) end
local lease = worker .. ':' .. attempt
if redis.call('HSETNX', KEYS[3], name, lease) == 0 then
    local holder = string.match(redis.call('HGET', KEYS[3], name), '^(.*):')
    if holder ~= worker and redis.call('EXISTS', prefix .. holder) == 1 then return untried(false) end
    redis.call('HSET', KEYS[3], name, lease)
end
if attempt > tonumber(most) then
    redis.call('HDEL', KEYS[3], name)
    return untried({attempt, '', 0, priority, host, 0})
end
if not record[2] then redis.call('HSET', KEYS[1], 'first_region_at', now) end
local heavy = record[5] and are_mixed == '1'
local queue = KEYS[5 + (priority == 'batch' and 1 or 0) + (host ~= '' and 2 or 0) + (heavy and 4 or 0)]
return {attempt, record[2] or now, redis.call('LLEN', queue), priority, host, heavy and 1 or 0}
"""
"""Takes the lease of a region, if it is due: one that was never begun cannot have landed, one of a job that was moved
meanwhile is another host's. Returns which try this is, since when regions of the job are computed, how many are queued
of its priority and host, these two, and whether it is those for workers with a GPU; a try too many takes nothing."""

LAND = """
local index, name, lease, seconds, tiles, elapsed, most = unpack(ARGV)
if redis.call('HGET', KEYS[3], name) ~= lease then return 'lost' end
local left = redis.call('SCARD', KEYS[2])
if left <= 1 then return 'last' end
left = left - redis.call('SREM', KEYS[2], index)
redis.call('HDEL', KEYS[3], name)

local record = redis.call('HMGET', KEYS[1], 'segment_s', 'tiles', 'regions_total', 'regions_before')
seconds, tiles = tonumber(seconds) + (record[1] or 0), tonumber(tiles) + (record[2] or 0)
redis.call('HSET', KEYS[1], 'segment_s', seconds, 'tiles', tiles)

local function rounded(number, digits)
    local scale = 10 ^ digits
    return math.floor(number * scale + 0.5) / scale
end
local done, before = (record[3] or 0) - left, tonumber(record[4] or 0)
local told = {state = 'running', phase = 'segmenting', regions_done = done}
told.regions_total = record[3] and tonumber(record[3]) or cjson.null
told.tiles_per_s, told.eta_s = cjson.null, cjson.null
elapsed = tonumber(elapsed)
if tiles > 0 and elapsed > 0 then told.tiles_per_s = rounded(tiles / elapsed, 3) end
if done > before then told.eta_s = rounded(elapsed / (done - before) * left, 1) end
redis.call('XADD', KEYS[4], 'MAXLEN', '=', most, '*', 'event', 'progress', 'data', cjson.encode(told))
return 'landed'
"""
"""Marks a region that is on disk, gives its lease back, adds to the sums, and tells those who follow the job where it
stands, as `progress_of` has it. The last region that is left has more to follow, and is not for this: nothing is done.

That the region was out is forgotten by the next sweep, for many regions at once; how often it was begun, with the job:
so whoever comes to it again knows that it was."""


class Taken(NamedTuple):
    """A region that was begun.

    Attributes:
        attempt: Which try this is; a try too many holds nothing.
        first_region_at: When the first region of the job was begun, as its record has it.
        queued: Regions in the queue of the job's priority and host.
        priority: That.
        host: The host that has the regions of the job; empty if every worker has them.
        is_heavy: Whether that queue is the one for workers with a GPU.
    """

    attempt: int
    first_region_at: str
    queued: int
    priority: str
    host: str
    is_heavy: bool


class RegionScripts:
    """Both scripts, on one server.

    Args:
        redis: The client.
        queues: Returns the queues of a priority and a host.
        host: Of this worker; empty if all workers have all regions.
    """

    def __init__(self, redis: Any, queues: Callable[[str, str], Lane], host: str) -> None:
        self._host = host
        lanes = [queues(priority, each) for each in ("", host) for priority in ("interactive", "batch")]
        self._queues = [*(lane.regions.key for lane in lanes), *(lane.heavy.key for lane in lanes)]
        self._take = redis.register_script(TAKE)
        self._land = redis.register_script(LAND)

    def take(self, task: Task, worker_id: str, most: int, *, are_mixed: bool = False) -> Taken | None:
        """Take the lease of a region for a worker, as its next try; None if there is nothing to do.

        `are_mixed`: regions of heavy models have a queue of their own now.
        """
        keys = JobKeys(task.job_id)
        names = [keys.record, keys.todo, keys.leases, keys.attempts, *self._queues]
        now = datetime.now(UTC).isoformat()
        args = [task.index, task.name, worker_id, worker_key(""), most, now, self._host, int(are_mixed)]
        told = self._take(keys=names, args=args)
        if told is None:
            return None
        attempt, first_region_at, queued, priority, host, is_heavy = told
        where = priority.decode(), host.decode(), bool(is_heavy)
        return Taken(int(attempt), first_region_at.decode(), int(queued), *where)

    def land(
        self, task: Task, lease: str, segment_s: float, tiles: float, first_region_at: str
    ) -> Literal["landed", "lost", "last"]:
        """Mark a region under a lease; say whether that was done, or the lease is another's, or it is the last one."""
        keys = JobKeys(task.job_id)
        names = [keys.record, keys.todo, keys.leases, events_key(task.job_id)]
        args = [task.index, task.name, lease, segment_s, tiles, elapsed_s(first_region_at), EVENTS_MAX]
        answer: Literal["landed", "lost", "last"] = self._land(keys=names, args=args).decode()
        return answer
