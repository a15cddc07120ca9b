"""How quick models are, as measured of late: seconds of one whole tile, in the mean and of the slowest region.

A pace is a model with tiles of one side.
"""

from typing import Any

from workers.core.queue.exchange import answering
from workers.core.queue.keys import RATES

RATE_WEIGHT = 0.1
"""How much one region counts in the running mean of a model's rate."""

FORGET = 0.99
"""By how much each region lowers the slowest one: a bad day is forgotten after some hundred regions."""


def pace_of(model_digest: str, tile_px: int) -> str:
    """Return the name under which a model's rate in tiles of one side is kept: a smaller tile is sooner done."""
    return f"{model_digest}:{tile_px}"


def s_per_tile(redis: Any, pace: str) -> float | None:
    """Return the seconds of a forward pass of a whole tile; None before its first region."""
    return _read(redis, pace)[0]


def slowest_s_per_tile(redis: Any, pace: str) -> float | None:
    """Return the seconds of a whole tile in the slowest region of late, of any worker; None before the first."""
    return _read(redis, _slowest(pace))[0]


def note_region(redis: Any, pace: str, seconds: float, tiles: float) -> None:
    """Take a region into the rates of its model. Of two workers at once one is not counted: no harm to a mean."""
    if not tiles:
        return
    now = seconds / tiles
    mean, slowest = _read(redis, pace, _slowest(pace))
    rates = {
        pace: now if mean is None else mean + RATE_WEIGHT * (now - mean),
        _slowest(pace): max(now, (slowest or 0.0) * FORGET),
    }
    with answering():
        redis.hset(RATES, mapping=rates)


def _slowest(pace: str) -> str:
    return f"{pace}:slowest"


def _read(redis: Any, *fields: str) -> list[float | None]:
    with answering():
        measured = redis.hmget(RATES, fields)
    return [None if value is None else float(value) for value in measured]
