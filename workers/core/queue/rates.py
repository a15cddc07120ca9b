"""How quick models are, as measured of late: seconds of one whole tile, in the mean and of the slowest region.

A pace is a model with tiles of one side. A worker tells what it measured every `TELL_S`, and looks as often what all
have measured: where regions take less, not each of them asks.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from workers.core.queue.exchange import answering
from workers.core.queue.keys import RATES

RATE_WEIGHT = 0.1
"""How much one region counts in the running mean of a model's rate."""

TELL_S = 30.0
"""How often a worker tells what it measured; what it has not told when it ends is missing in a mean, no more."""

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


class Sample(NamedTuple):
    """A region: its seconds, and what it was worth in forward passes of whole tiles."""

    seconds: float
    tiles: float


class Paces:
    """The rates as one worker measures them and sees them.

    Args:
        redis: The client.
        clock: Seconds, never going back.
    """

    def __init__(self, redis: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._told_at = float("-inf")
        self._untold: list[tuple[str, Sample]] = []
        self._seen: dict[str, tuple[float, float]] = {}

    def note(self, pace: str, seconds: float, tiles: float) -> None:
        """Remember a region until it is told."""
        self._untold.append((pace, Sample(seconds, tiles)))

    def tell(self) -> Sequence[float] | None:
        """Tell what is untold, and return the seconds of each region of it; None if it is too soon for that.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        if self._clock() - self._told_at < TELL_S:
            return None
        self._told_at, untold, self._untold = self._clock(), self._untold, []
        for pace in dict.fromkeys(pace for pace, _ in untold):
            note_regions(self._redis, pace, [sample for its_pace, sample in untold if its_pace == pace])
        return [sample.seconds for _, sample in untold]

    def slowest(self, pace: str) -> float | None:
        """Return the seconds of a whole tile in the slowest region of late, as `slowest_s_per_tile`."""
        value, until = self._seen.get(pace, (0.0, 0.0))
        if self._clock() < until:
            return value
        found = slowest_s_per_tile(self._redis, pace)
        if found is not None:
            self._seen = {pace: (found, self._clock() + TELL_S)}
        return found


def note_regions(redis: Any, pace: str, samples: Sequence[Sample]) -> None:
    """Take regions, one after the other, into the rates of their model.

    Of two workers at once one's are not counted: no harm to a mean.
    """
    nows = [sample.seconds / sample.tiles for sample in samples if sample.tiles]
    if not nows:
        return
    mean, slowest = _read(redis, pace, _slowest(pace))
    for now in nows:
        mean = now if mean is None else mean + RATE_WEIGHT * (now - mean)
        slowest = max(now, (slowest or 0.0) * FORGET)
    with answering():
        redis.hset(RATES, mapping={pace: mean, _slowest(pace): slowest})


def _slowest(pace: str) -> str:
    return f"{pace}:slowest"


def _read(redis: Any, *fields: str) -> list[float | None]:
    with answering():
        measured = redis.hmget(RATES, fields)
    return [None if value is None else float(value) for value in measured]
