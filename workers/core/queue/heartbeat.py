"""Signs of life of workers in Redis, found by their set: a queue may hold the records of very many jobs.

A worker that knows how it is tells that as well, and what it counted: sums in Redis, which outlive it.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from workers.core.queue.keys import HOSTS, WORKERS, worker_key, workers_key
from workers.core.queue.keys import TALLIES as SUMS
from workers.core.telemetry.status import WorkerStatus
from workers.core.telemetry.tallies import ENDS, TALLIES, field_of

GPU = "gpu"
"""Follows the memory in the sign of life of a worker whose model runs on a GPU."""

FORGOTTEN_S = 24 * 3600.0
"""Silence after which a worker that did not say that it goes is taken out of the set."""


def beat(
    redis: Any, worker_id: str, memory_bytes: int, lease_s: float, status: WorkerStatus | None = None, host: str = ""
) -> None:
    """Show that a worker is alive, for `lease_s`, the memory that it has, in bytes, and how it is, if it knows that."""
    now, life_ms = time.time(), round(lease_s * 1000)
    sign = f"{memory_bytes} {GPU}" if status is not None and status.has_gpu else str(memory_bytes)
    with redis.pipeline() as pipe:
        pipe.set(worker_key(worker_id), sign, px=life_ms)
        if status is not None:
            pipe.set(state_key(worker_id), status.view(memory_bytes).model_dump_json(), px=life_ms)
        pipe.zadd(WORKERS, {worker_id: now})
        pipe.zremrangebyscore(WORKERS, "-inf", now - FORGOTTEN_S)
        if host:
            pipe.zadd(workers_key(host), {worker_id: now})
            pipe.zremrangebyscore(workers_key(host), "-inf", now - FORGOTTEN_S)
            pipe.zadd(HOSTS, {host: now})
        pipe.execute()
    if status is not None and TALLIES.due():
        tell_tallies(redis, status)


def tell_tallies(redis: Any, status: WorkerStatus) -> None:
    """Add what this process has counted to what all have. What cannot be told is told another time."""
    status.count_time()
    taken = TALLIES.take()
    try:
        with redis.pipeline() as pipe:
            for field, value in taken.items():
                pipe.hincrbyfloat(SUMS, field, value)
            pipe.execute()
    except RedisError:
        TALLIES.put_back(taken)
        raise


def retire(redis: Any, worker_id: str) -> None:
    """Say that a worker is gone."""
    with redis.pipeline() as pipe:
        pipe.delete(worker_key(worker_id), state_key(worker_id))
        pipe.zrem(WORKERS, worker_id)
        pipe.execute()


def hosts(redis: Any) -> list[str]:
    """Return the hosts that have had workers and are not given up."""
    return [member.decode() for member in redis.zrange(HOSTS, 0, -1)]


def silent_hosts(redis: Any, silent_s: float) -> list[str]:
    """Return those of the hosts of which no worker has given a sign of life for so long."""
    found = [member.decode() for member in redis.zrangebyscore(HOSTS, "-inf", time.time() - silent_s)]
    return [host for host in found if not memory_of_workers(redis, host)]


class Sign(NamedTuple):
    """What a sign of life says: the memory of a worker, in bytes, and whether its model runs on a GPU."""

    memory_bytes: int
    has_gpu: bool


def signs_of_workers(redis: Any, host: str = "") -> Sequence[Sign]:
    """Return what each worker says that is alive, of one host or of all."""
    keys = [worker_key(member.decode()) for member in redis.zrange(workers_key(host), 0, -1)]
    told = [value.decode().split() for value in (redis.mget(keys) if keys else []) if value is not None]
    return [Sign(int(memory_bytes), GPU in more) for memory_bytes, *more in told]


def memory_of_workers(redis: Any, host: str = "") -> Sequence[int]:
    """Return the memory of each worker that is alive, of one host or of all, in bytes."""
    return [sign.memory_bytes for sign in signs_of_workers(redis, host)]


def note_end(redis: Any, worker_id: str, signal_name: str) -> None:
    """Write down by which signal a worker was ended, for who gives away what it was at."""
    redis.set(_end_key(worker_id), signal_name, ex=round(FORGOTTEN_S))
    redis.hincrbyfloat(SUMS, field_of(ENDS, (signal_name,)), 1)


def end_of(redis: Any, worker_id: str) -> str | None:
    """Return the signal by which a worker was ended, as far as its supervisor wrote it down."""
    told = redis.get(_end_key(worker_id))
    return None if told is None else told.decode()


def state_key(worker_id: str) -> str:
    """Return the key that says how a worker is, as JSON; it lives as long as `worker_key`."""
    return f"{worker_key(worker_id)}:state"


def _end_key(worker_id: str) -> str:
    return f"{worker_key(worker_id)}:end"
