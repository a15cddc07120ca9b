"""One reading child seen from its worker: several places are asked for ahead, and come in the order of the asking."""

import mmap
import select
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np

from workers.core.children.line import ChildLost, packed, receive
from workers.core.children.nursery import Child
from workers.core.children.reading import BUFFER_BYTES, Answer, Opened, Place, Request
from workers.core.children.told import told_error
from workers.core.errors.base import LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.errors.intake import ConfinementFailed
from workers.core.slides.doubts import Judged
from workers.core.slides.read_watchdog import still_reading
from workers.core.slides.slide import Pixels

TOLD = (SlideUnreadable, SlideTooLarge, ConfinementFailed)
"""What a child may say of a slide."""

ASKED_MAX = 256
"""Places that may be on their way at once."""

SIGN_S = 1.0
"""While an answer is waited for, so often a sign of life is given."""


class ChildSpent(Exception):
    """The child has worked long enough, and answers nothing more. Nothing is wrong with what it was asked."""


class _Asked(NamedTuple):
    """A place on its way: the number of the request, and where in the shared memory its pixels will lie."""

    place: Place
    number: int
    offset: int

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.offset + self.place.nbytes


class ReadingProcess:
    """A child that reads one slide. Not to be shared between threads, but for `kill`.

    Args:
        child: The process.
        shared: Memory that it sees too, `BUFFER_BYTES` long.
        timeout_s: Seconds for one answer.

    Attributes:
        opened: What the slide says of itself; there after `open`.
    """

    opened: Opened

    def __init__(self, child: Child, shared: mmap.mmap, timeout_s: float) -> None:
        self._child = child
        self._shared = shared
        self._timeout_s = timeout_s
        self._numbers = 0
        self._asked: deque[_Asked] = deque()
        self._come: dict[Place, Pixels | LDiffusionError] = {}
        self._since = time.monotonic()
        self._is_spent = False

    @property
    def is_quiet(self) -> bool:
        """Whether it is sound and owes nothing: another may go on with it."""
        return not (self._asked or self._come or self.is_stale)

    @property
    def is_stale(self) -> bool:
        """Whether it is spent, or has ended while it was asked for nothing."""
        return self._is_spent or (not self._asked and self._child.has_spoken())

    @property
    def pid(self) -> int:
        """Its number, for people."""
        return self._child.pid

    def kill(self) -> None:
        """End the process: whoever waits for it hears that it is gone. For any thread."""
        self._child.kill()

    def end(self) -> None:
        """End the process and let go of it."""
        self._child.end()
        with suppress(BufferError):  # whoever was interrupted while he copied looks at it still
            self._shared.close()

    def open(self) -> LDiffusionError | None:
        """Have the slide opened; return why it is not.

        Raises:
            ChildLost.
        """
        answer = self._exchange("open")
        if answer.error is not None:
            return told_error(answer.error, TOLD)
        if answer.opened is None or not answer.opened.is_possible:
            raise ChildLost("a slide that makes no sense")
        self.opened = answer.opened
        return None

    def judge(self) -> Judged | LDiffusionError:
        """Have the slide looked at for what cannot be trusted.

        Raises:
            ChildLost, ChildSpent.
        """
        answer = self._exchange("judge")
        if answer.error is not None:
            return told_error(answer.error, TOLD)
        if answer.judged is None:
            raise ChildLost("an answer without what was asked for")
        return answer.judged

    def expect(self, places: Iterable[Place]) -> None:
        """Ask for places ahead, as far as there is room for them.

        Raises:
            ChildLost.
        """
        said = []
        held = sum(each.place.nbytes for each in self._asked)
        for place in places:
            held += place.nbytes
            has_room = held <= BUFFER_BYTES and len(self._asked) + len(self._come) < ASKED_MAX
            if not has_room or self._is_on_its_way(place) or (offset := self._room(place.nbytes)) is None:
                break
            said.append(self._asking(place, offset))
        if said:
            self._say(b"".join(said))

    def read(self, place: Place, out: Pixels) -> Pixels | LDiffusionError:
        """Lay the pixels of a place, uint8 (height, width, 3), and return them, or why it cannot be decoded.

        Args:
            place: Of no more than `BUFFER_BYTES`.
            out: Where to.

        Raises:
            ChildLost, ChildSpent.
        """
        if not self._is_on_its_way(place):
            while (offset := self._room(place.nbytes)) is None:
                self._keep()
            self._say(self._asking(place, offset))
        while place not in self._come and self._asked[0].place != place:
            self._keep()
        found = self._come.pop(place) if place in self._come else self._taken()
        if isinstance(found, LDiffusionError):
            return found
        out[:] = found
        return out

    def _is_on_its_way(self, place: Place) -> bool:
        return place in self._come or any(each.place == place for each in self._asked)

    def _room(self, nbytes: int) -> int | None:
        """Return an offset in the shared memory where so many bytes hide nothing that is on its way; None: none yet."""
        if not self._asked:
            return 0
        first, end = self._asked[0].offset, self._asked[-1].end
        if self._asked[-1].offset < first:  # it goes round
            return end if end + nbytes <= first else None
        if end + nbytes <= BUFFER_BYTES:
            return end
        return 0 if nbytes <= first else None

    def _asking(self, place: Place, offset: int) -> bytes:
        """Return what asks for a place, and take it for asked."""
        said = self._request("read", place, offset)
        self._asked.append(_Asked(place, self._numbers, offset))
        return said

    def _taken(self) -> Pixels | LDiffusionError:
        """Receive what was asked for first; the pixels are those of the shared memory, to be copied at once."""
        asked = self._asked[0]
        answer = self._answer(asked.number)
        self._asked.popleft()
        if answer.error is not None:
            return told_error(answer.error, TOLD)
        shape = asked.place.height, asked.place.width, 3
        return np.ndarray(shape, np.uint8, buffer=self._shared, offset=asked.offset)

    def _keep(self) -> None:
        """Receive what was asked for first, for whoever reads it later."""
        place = self._asked[0].place
        found = self._taken()
        self._come[place] = found if isinstance(found, LDiffusionError) else found.copy()

    def _exchange(self, kind: Literal["open", "judge"]) -> Answer:
        while self._asked:
            self._keep()
        self._say(self._request(kind))
        return self._answer(self._numbers)

    def _request(self, kind: Literal["open", "judge", "read"], place: Place | None = None, offset: int = 0) -> bytes:
        self._numbers += 1
        if not self._asked:
            self._since = time.monotonic()
        return packed(Request(kind=kind, number=self._numbers, place=place, offset=offset))

    def _say(self, said: bytes) -> None:
        try:
            self._child.line.settimeout(self._timeout_s)
            self._child.line.sendall(said)
        except OSError as error:
            raise ChildLost("the line is broken") from error

    def _answer(self, number: int) -> Answer:
        """Receive the answer to a request."""
        if self._is_spent:
            raise ChildSpent
        deadline = self._since + self._timeout_s
        watch = select.poll()
        watch.register(self._child.line, select.POLLIN)
        still_reading()
        while not watch.poll(SIGN_S * 1000) and time.monotonic() < deadline:
            still_reading()
        answer = receive(self._child.line, Answer, deadline)
        self._since = time.monotonic()
        if answer.number != number:
            raise ChildLost("an answer to nothing that was asked")
        if answer.lacks_memory:
            raise ChildLost("it takes more memory than it may")
        self._is_spent = answer.is_last
        return answer
