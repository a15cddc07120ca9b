"""What is remembered of slides and jobs between two pictures: made once, bounded, and fair to tenants."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from server.web.counting.counters import CACHE

REMEMBERED = 16
"""Overviews (3 MB each at most), of running jobs too, thumbnails and tables of tiles that are kept, of each kind."""

T = TypeVar("T")


class _Turn:
    """Held by who makes a thing; forgotten when nobody makes it or waits for it any more."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class _Kept(NamedTuple, Generic[T]):
    """A thing, and on whose behalf it is kept."""

    owner: str
    thing: T


class SingleFlightCache(Generic[T]):
    """The last few things that were asked for, by name. Who asks for what is being made waits for it.

    Where there are too many, whoever has the most of them loses the one that was asked for the longest ago: many slides
    of one tenant make nobody else's forgotten.

    Args:
        kind: What the metrics call them.
    """

    def __init__(self, kind: str = "other") -> None:
        self._hits, self._misses = CACHE.labels(kind, "hit"), CACHE.labels(kind, "miss")
        self._order: OrderedDict[str, _Kept[T]] = OrderedDict()
        self._making: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], T], owner: str = "") -> T:
        """Return what has this name, made for this owner if it is not known."""
        with self._lock:
            if (kept := self._asked(name)) is not None:
                self._hits.inc()
                return kept.thing
            turn = self._making.setdefault(name, _Turn())
        with turn.lock:
            with self._lock:
                kept = self._asked(name)
            (self._misses if kept is None else self._hits).inc()
            return self._put(name, _Kept(owner, make())) if kept is None else kept.thing

    def known(self, name: str) -> T | None:
        """Return what has this name, if it is known."""
        with self._lock:
            kept = self._asked(name)
        return None if kept is None else kept.thing

    def drop(self, name: str) -> None:
        """Forget what has this name, or one that begins with it and a `/`."""
        with self._lock:
            for each in [each for each in self._order if each == name or each.startswith(f"{name}/")]:
                del self._order[each]

    def _asked(self, name: str) -> _Kept[T] | None:
        if name in self._order:
            self._order.move_to_end(name)
        return self._order.get(name)

    def _put(self, name: str, made: _Kept[T]) -> T:
        with self._lock:
            self._order[name] = made
            while len(self._order) > REMEMBERED:
                owned = Counter(kept.owner for kept in self._order.values())
                most = max(owned.values())
                del self._order[next(each for each, kept in self._order.items() if owned[kept.owner] == most)]
        return made.thing
