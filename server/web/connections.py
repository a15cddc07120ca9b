"""How many connections may be open, in all and of one address; who makes room; one line in the log when a limit bites.

A connection that waits for a request, or in the middle of one, costs whoever opened it nothing. So where there is no
room, the one that has waited for a request the longest is closed, or else the one whose body has been silent the
longest, and the new one is let in: who asks for something gets an answer, however many sit there in silence.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from workers.core.errors.base import LDiffusionError
from workers.core.errors.door import ConnectionsExceeded, ConnectionsExhausted

TELL_EVERY_S = 10.0
RETRY_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, and all of them, may cost.

    Attributes:
        head_bytes: Longest head of a request.
        head_lines: Most header lines.
        line_bytes: Longest request target, or name and value of one header.
        head_s: Seconds until a head is whole.
        body_idle_s: Longest silence while a body comes.
        upload_idle_s: The same for uploads, whose routes watch it themselves; they are given time to say so first.
        connections: Open at once.
        per_address: Open at once of one address; 0: no limit.
    """

    head_bytes: int
    head_lines: int
    line_bytes: int
    head_s: float
    body_idle_s: float
    upload_idle_s: float
    connections: int
    per_address: int


class Guest(Protocol):
    """A connection, as the door sees it."""

    @property
    def is_held(self) -> bool:
        """Whether it is we who do not take its bytes."""

    def make_room(self) -> None:
        """Close: nothing was asked, or not to the end, and somebody else wants to."""


class Door:
    """Counts the connections of a server. Of one event loop.

    Args:
        limits: How many there may be.
        counted_as: What an address is counted as; None: not at all, as it speaks for many others.
    """

    def __init__(self, limits: Limits, counted_as: Callable[[str], str | None]) -> None:
        self.limits = limits
        self.notices = Notices()
        self._counted_as = counted_as
        self._guests: dict[Guest, str | None] = {}
        self._of_address: Counter[str] = Counter()
        self._waiting: dict[Guest, None] = {}
        """In the order in which they began to wait."""

        self._reading: dict[Guest, None] = {}
        """Whose body is not whole, in the order of the last byte."""

    def enter(self, guest: Guest, address: str) -> LDiffusionError | None:
        """Count a connection; it waits for its first request.

        Returns:
            Why there is no room for it, and none can be made; then it is not counted.
        """
        name = self._counted_as(address)
        error = self._room_for(name, address) or self._room(address)
        if error is not None:
            return error
        self._guests[guest] = name
        if name is not None:
            self._of_address[name] += 1
        self.wait(guest)
        return None

    def wait(self, guest: Guest) -> None:
        """Note that a connection waits for a request; one that was waiting goes on to."""
        if guest in self._guests:
            self._reading.pop(guest, None)
            self._waiting.setdefault(guest)

    def read(self, guest: Guest) -> None:
        """Note that the head of a request came, or a piece of its body."""
        if guest in self._guests:
            self._waiting.pop(guest, None)
            self._reading.pop(guest, None)
            self._reading[guest] = None

    def work(self, guest: Guest) -> None:
        """Note that a request is whole: it is answered, however many want to come in."""
        self._waiting.pop(guest, None)
        self._reading.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        """Forget a connection; it may have gone before."""
        self.work(guest)
        name = self._guests.pop(guest, None)
        if name is not None:
            self._of_address[name] -= 1
            if not self._of_address[name]:
                del self._of_address[name]

    def _room_for(self, name: str | None, address: str) -> LDiffusionError | None:
        most = self.limits.per_address
        if name is None or not most or self._of_address[name] < most:
            return None
        self.notices.tell(ConnectionsExceeded.code, address)
        if self._make_room(lambda guest: self._guests[guest] == name):
            return None
        return ConnectionsExceeded(
            "This address has too many connections open.", accepted=f"at most {most} at once", retry_after_s=RETRY_S
        )

    def _room(self, address: str) -> LDiffusionError | None:
        if len(self._guests) < self.limits.connections:
            return None
        self.notices.tell(ConnectionsExhausted.code, address)
        if self._make_room(lambda _guest: True):
            return None
        return ConnectionsExhausted(
            "The server has too many connections open.", accepted=f"at most {self.limits.connections} at once"
        )

    def _make_room(self, may: Callable[[Guest], bool]) -> bool:
        silent = (guest for guest in self._reading if not guest.is_held)
        guest = next(filter(may, chain(self._waiting, silent)), None)
        if guest is None:
            return False
        self.leave(guest)
        guest.make_room()
        return True


class Notices:
    """Tells the log that a limit bit: at once, and then how often, at most every `TELL_EVERY_S` for each kind."""

    def __init__(self) -> None:
        self._told_at: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def tell(self, code: str, address: str) -> None:
        """Note one more case.

        Args:
            code: Of the error; there are few of them.
            address: Whose connection it is.
        """
        self._untold[code] += 1
        now = time.monotonic()
        if now - self._told_at.get(code, -TELL_EVERY_S) < TELL_EVERY_S:
            return
        self._told_at[code] = now
        logger.warning(
            "a limit of connections bit: %s, %d times since it was last told, now from %s",
            code,
            self._untold.pop(code),
            address or "an unknown address",
        )
