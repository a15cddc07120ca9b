"""How quick models are, as measured of late: seconds of one whole tile, in the mean and of the slowest region."""

from typing import Any

from workers.core.queue.exchange import answering
from workers.core.queue.keys import RATES

RATE_WEIGHT = 0.1
"""How much one region counts in the running mean of a model's rate."""

FORGET = 0.99
"""By how much each region lowers the slowest one: a bad day is forgotten after some hundred regions."""


def s_per_tile(redis: Any, model_digest: str) -> float | None:
    """Return the seconds of a forward pass of a whole tile; None before its first region."""
    return _read(redis, model_digest)


def slowest_s_per_tile(redis: Any, model_digest: str) -> float | None:
    """Return the seconds of a whole tile in the slowest region of late, of any worker; None before the first."""
    return _read(redis, _slowest(model_digest))


def note_region(redis: Any, model_digest: str, seconds: float, tiles: float) -> None:
    """Take a region into the rates of its model. Of two workers at once one is not counted: no harm to a mean."""
    if not tiles:
        return
    now = seconds / tiles
    mean, slowest = s_per_tile(redis, model_digest), slowest_s_per_tile(redis, model_digest)
    rates = {
        model_digest: now if mean is None else mean + RATE_WEIGHT * (now - mean),
        _slowest(model_digest): max(now, (slowest or 0.0) * FORGET),
    }
    with answering():
        redis.hset(RATES, mapping=rates)


def _slowest(model_digest: str) -> str:
    return f"{model_digest}:slowest"


def _read(redis: Any, field: str) -> float | None:
    with answering():
        measured = redis.hget(RATES, field)
    return None if measured is None else float(measured)
