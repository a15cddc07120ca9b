"""Signs of life of workers in Redis, found by their set: a queue may hold the records of very many jobs."""

import time
from collections.abc import Sequence
from typing import Any

from workers.core.queue.keys import WORKERS, worker_key

FORGOTTEN_S = 24 * 3600.0
"""Silence after which a worker that did not say that it goes is taken out of the set."""


def beat(redis: Any, worker_id: str, memory_bytes: int, lease_s: float) -> None:
    """Show that a worker is alive, for `lease_s`, and the memory that it has, in bytes."""
    now = time.time()
    with redis.pipeline() as pipe:
        pipe.set(worker_key(worker_id), memory_bytes, px=round(lease_s * 1000))
        pipe.zadd(WORKERS, {worker_id: now})
        pipe.zremrangebyscore(WORKERS, "-inf", now - FORGOTTEN_S)
        pipe.execute()


def retire(redis: Any, worker_id: str) -> None:
    """Say that a worker is gone."""
    with redis.pipeline() as pipe:
        pipe.delete(worker_key(worker_id))
        pipe.zrem(WORKERS, worker_id)
        pipe.execute()


def memory_of_workers(redis: Any) -> Sequence[int]:
    """Return the memory of each worker that is alive, in bytes."""
    keys = [worker_key(member.decode()) for member in redis.zrange(WORKERS, 0, -1)]
    told = redis.mget(keys) if keys else []
    return [int(value) for value in told if value is not None]


def note_end(redis: Any, worker_id: str, signal_name: str) -> None:
    """Write down by which signal a worker was ended, for who gives away what it was at."""
    redis.set(_end_key(worker_id), signal_name, ex=round(FORGOTTEN_S))


def end_of(redis: Any, worker_id: str) -> str | None:
    """Return the signal by which a worker was ended, as far as its supervisor wrote it down."""
    told = redis.get(_end_key(worker_id))
    return None if told is None else told.decode()


def _end_key(worker_id: str) -> str:
    return f"{worker_key(worker_id)}:end"
