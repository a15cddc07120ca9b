"""How this project talks to Redis: one error when it does not answer, transactions, hashes as text."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import redis

from workers.core.errors.base import QueueUnavailable

Transaction = Any
"""A redis pipeline. Its stubs call every reply bytes or text; ours are bytes, always."""

T = TypeVar("T")


@contextmanager
def answering() -> Iterator[None]:
    """Turn any refusal of Redis into one error of ours.

    Raises:
        QueueUnavailable: Redis does not answer, or cannot write.
    """
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise QueueUnavailable(f"The queue does not answer ({type(error).__name__}).") from error


def transact(client: Any, body: Callable[[Transaction], T], *watched: str) -> T:
    """Run `body`, which reads, calls `multi` and writes, until no one else changed a watched key meanwhile.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    with answering():
        result: T = client.transaction(body, *watched, value_from_callable=True)
        return result


def decode(record: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a Redis hash as text."""
    return {key.decode(): value.decode() for key, value in record.items()}
