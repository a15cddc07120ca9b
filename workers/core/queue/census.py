"""What is in the queue and who works, at one moment: for who watches over all of it, of all tenants.

Redis counts the jobs itself, so that many of them cost this process nothing; no folder is looked at.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from rq.job import Job
from rq.utils import utcparse

from workers.core.frozen import Frozen
from workers.core.queue.exchange import answering
from workers.core.queue.heartbeat import state_key
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import ACTIVE, TALLIES, WEBHOOKS, WORKERS, JobKeys, worker_key
from workers.core.telemetry.status import WorkerState
from workers.core.telemetry.tallies import Tally, parse_field

COUNT = """
local seen = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local record = ARGV[1] .. id
    local told = redis.call('HMGET', record, 'state', 'priority', 'created_at', 'has_turn', 'first_region_at')
    if told[1] then
        local state = told[1]
        if state == 'running' and not told[4] and not told[5] then
            state = 'queued'
        end
        local name = state .. ' ' .. (told[2] or 'interactive')
        local found = seen[name] or {0, '', 0}
        seen[name] = found
        found[1] = found[1] + 1
        if told[3] and (found[2] == '' or told[3] < found[2]) then
            found[2] = told[3]
        end
        found[3] = found[3] + redis.call('LLEN', record .. ':waiting')
    end
end
local answer = {}
for name, found in pairs(seen) do
    answer[#answer + 1] = {name, found[1], found[2], found[3]}
end
return answer
"""
"""Jobs that have not ended, by state and priority: how many, the oldest, tasks of theirs that wait.

`queued` is here what it is for clients: also a job that is planned and has not had its turn.
"""


class Entries(Frozen):
    """What is in one queue: tasks that were handed out, and that no worker has taken yet."""

    queue: str
    tasks: int
    oldest_s: float


class Standing(Frozen):
    """Jobs in one state, of one priority; tasks of theirs that are not handed out yet."""

    state: str
    priority: str
    jobs: int
    oldest_s: float
    tasks: int


class Census(Frozen):
    """All of it. Times are ages in seconds."""

    queues: tuple[Entries, ...]
    standings: tuple[Standing, ...]
    workers: Mapping[str, WorkerState | None]
    """By id; None of one that tells nothing of itself yet."""

    webhooks: int


def take_census(jobs: Jobs) -> Census:
    """Return what is in the queue and who works.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    now = datetime.now(UTC)
    with answering():
        found = jobs.redis.eval(COUNT, 1, ACTIVE, JobKeys("").record)
        queues = jobs.all_queues()
        with jobs.redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue.key)
                pipe.lindex(queue.key, 0)
            pipe.zcard(WEBHOOKS)
            pipe.zrange(WORKERS, 0, -1)
            *heads, webhooks, members = pipe.execute()
        ids = [member.decode() for member in members]
        keys = [key for each in ids for key in (worker_key(each), state_key(each))]
        signs = jobs.redis.mget(keys) if keys else []
        entries = tuple(
            Entries(queue=queue.name, tasks=tasks, oldest_s=_age_of_entry(jobs.redis, head, now))
            for queue, tasks, head in zip(queues, heads[::2], heads[1::2], strict=True)
        )
    alive = zip(ids, signs[::2], signs[1::2], strict=True)
    return Census(
        queues=entries,
        standings=tuple(sorted((_standing(each, now) for each in found), key=lambda each: (each.state, each.priority))),
        workers={worker_id: _state_in(told) for worker_id, sign, told in alive if sign is not None},
        webhooks=webhooks,
    )


def read_tallies(jobs: Jobs) -> list[tuple[Tally, tuple[str, ...], float]]:
    """Return what workers have counted, all of them together: tally, labels, sum.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    with answering():
        told = jobs.redis.hgetall(TALLIES)
    parsed = ((parse_field(field.decode()), float(value)) for field, value in sorted(told.items()))
    return [(*known, value) for known, value in parsed if known is not None]


def _standing(found: list[Any], now: datetime) -> Standing:
    (state, priority), count, oldest, tasks = found[0].decode().split(" "), found[1], found[2].decode(), found[3]
    oldest_s = _age(datetime.fromisoformat(oldest), now) if oldest else 0.0
    return Standing(state=state, priority=priority, jobs=count, oldest_s=oldest_s, tasks=tasks)


def _age_of_entry(redis: Any, entry: bytes | None, now: datetime) -> float:
    """Return how long ago an entry was queued; 0 if there is none, or it was taken meanwhile."""
    told = None if entry is None else redis.hget(Job.key_for(entry.decode()), "enqueued_at")
    return 0.0 if told is None else _age(utcparse(told.decode()), now)


def _age(then: datetime, now: datetime) -> float:
    return round(max(0.0, (now - then).total_seconds()), 3)


def _state_in(told: bytes | None) -> WorkerState | None:
    try:
        return None if told is None else WorkerState.model_validate_json(told)
    except ValidationError:  # of a worker of another version
        return None
