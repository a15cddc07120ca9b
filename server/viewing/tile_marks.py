"""What is remembered of tiles that went wrong, so that nobody pays for them twice. All of it bounded."""

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from workers.core.errors.base import LDiffusionError, SlideUnreadable, TileFailed

COSTLY_MAX = 3
"""Tiles of a slide that may each cost a child before the whole slide is refused for a while."""

REMEMBERED = 4096


class _Mark(NamedTuple):
    """An error, and until when it is given again."""

    until: float
    error: LDiffusionError


class Marks:
    """Bad tiles, and slides with too many of them. For any thread.

    Args:
        keep_s: Seconds for which a mark holds.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._tiles: OrderedDict[tuple[str, str], _Mark] = OrderedDict()
        self._costly: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, slide_id: str, name: str) -> None:
        """Refuse what went wrong a while ago.

        Raises:
            TileFailed: The slide has cost too many children.
            SlideUnreadable, TileFailed: As this very tile did before.
        """
        now = time.monotonic()
        with self._lock:
            costly = [until for until in self._costly.get(slide_id, {}).values() if until > now]
            mark = self._tiles.get((slide_id, name))
        if mark is not None and mark.until > now:
            raise _again(mark.error)
        if len(costly) >= COSTLY_MAX:
            raise TileFailed(
                "Too many parts of this slide cost more than a tile may; it is not decoded again for a while.",
                value=f"{len(costly)} parts",
                accepted=f"less than {COSTLY_MAX} within {self._keep_s:g} seconds",
            )

    def note(self, slide_id: str, name: str, error: LDiffusionError, *, is_costly: bool) -> None:
        """Remember what went wrong.

        Args:
            slide_id: Whose tile it is.
            name: Of the tile.
            error: What is said of it.
            is_costly: It cost a child.
        """
        now = time.monotonic()
        until = now + self._keep_s
        with self._lock:
            self._tiles[slide_id, name] = _Mark(until, error)
            self._tiles.move_to_end((slide_id, name))
            if is_costly:
                still = {key: each for key, each in self._costly.get(slide_id, {}).items() if each > now}
                self._costly[slide_id] = still | {name: until}
                self._costly.move_to_end(slide_id)
            for held in (self._tiles, self._costly):
                while len(held) > REMEMBERED:
                    held.popitem(last=False)

    def forget(self, slide_id: str) -> None:
        """Let go of what is remembered of a slide that is gone."""
        with self._lock:
            self._costly.pop(slide_id, None)
            for key in [key for key in self._tiles if key[0] == slide_id]:
                del self._tiles[key]


def _again(error: LDiffusionError) -> LDiffusionError:
    """Return an error to raise: one that was raised before has the traces of then."""
    kind = TileFailed if isinstance(error, TileFailed) else SlideUnreadable
    return kind(error.message, value=error.value, accepted=error.accepted)
