"""What the watchdog asks: for how long a read of a slide stands still.

The decoders are C code, and one that never returns raises nothing.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_signs: dict[int, list[float]] = {}
"""Thread → the last sign of life of each read under way in it, the outermost first."""


@contextmanager
def reading() -> Iterator[None]:
    """Count what happens inside as a read of a slide that is under way. The end of an inner one is a sign of life."""
    signs = _signs.setdefault(threading.get_ident(), [])
    signs.append(time.monotonic())
    try:
        yield
    finally:
        signs.pop()
        if signs:
            signs[-1] = time.monotonic()
        else:
            del _signs[threading.get_ident()]


def still_reading() -> None:
    """Give a sign of life of the read that is under way in this thread: who waits for a reader, and not for ever."""
    signs = _signs.get(threading.get_ident())
    if signs:
        signs[-1] = time.monotonic()


def stalled_read_s() -> float:
    """Return the seconds since the last sign of life of the read that is silent longest; 0 if none is under way."""
    last = [sign for signs in list(_signs.values()) for sign in signs[-1:]]
    return time.monotonic() - min(last) if last else 0.0
