"""The child that reads one slide, as whoever reads has it: lost children are replaced, and a second try is made."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from workers.core.children.line import ChildLost, ChildSilent
from workers.core.children.reading import Place
from workers.core.children.reading_process import ChildSpent, ReadingProcess
from workers.core.errors.base import LDiffusionError
from workers.core.errors.jobs import SlideReaderFailed, SlideReadTimeout
from workers.core.settings import Settings

TRIES = 2

logger = logging.getLogger(__name__)

T = TypeVar("T")


class ReadAbandoned(OSError):
    """The child was ended because nobody wants any more what it reads for."""


class Key(NamedTuple):
    """Which slide a child has open; another file of the same name is another slide."""

    path: Path
    image: int | None
    identity: tuple[int, int, int]


class Keeper(Protocol):
    """Whoever has the children. `turn` goes up whenever nobody wants any more what is being read."""

    settings: Settings
    turn: int

    def take(self, key: Key) -> ReadingProcess:
        """Return a child that has a slide open."""

    def give_back(self, key: Key, child: ReadingProcess) -> None:
        """Keep a child for whoever reads the slide next."""

    def lose(self, child: ReadingProcess) -> None:
        """End a child that is taken."""


class HeldChild:
    """The child that reads one slide: taken when it is needed, and replaced when it is lost."""

    def __init__(self, readers: Keeper, key: Key, name: str) -> None:
        self._readers = readers
        self._key = key
        self._name = name
        self._turn = readers.turn
        self._child: ReadingProcess | None = None

    def do(self, work: Callable[[ReadingProcess], T | LDiffusionError], what: object) -> T:
        """Return what the work makes of the child; with a fresh one, once more, if it was lost.

        Raises:
            SlideReaderFailed, SlideReadTimeout: It was lost each time.
            ReadAbandoned: Nobody wants it any more.
            LDiffusionError: What the work returns, or why the slide cannot be opened.
        """
        lost: list[ChildLost] = []
        while len(lost) < TRIES:
            if self._turn != self._readers.turn:
                raise ReadAbandoned
            is_sound = False
            try:
                found = work(self._sound())
                is_sound = True
            except ChildSpent:
                continue
            except ChildLost as error:
                logger.warning("slide %s: reading %s cost a child: %s", self._name, what, error)
                lost.append(error)
                continue
            finally:
                if not is_sound:
                    self._lose()
            if isinstance(found, LDiffusionError):
                raise found
            return found
        if self._turn != self._readers.turn:
            raise ReadAbandoned from lost[-1]
        raise self._failed(what, lost[-1]) from lost[-1]

    def ahead(self, places: Iterable[Place]) -> None:
        """Have places read ahead, as far as there is room. A child that is lost over it is replaced later."""
        child, is_sound = self._child, False
        if child is None or child.is_stale:
            return
        try:
            child.expect(places)
            is_sound = True
        except ChildLost:
            pass
        finally:
            if not is_sound:
                self._lose()

    def release(self) -> None:
        """Let another have the child."""
        child, self._child = self._child, None
        if child is not None:
            self._readers.give_back(self._key, child)

    def _sound(self) -> ReadingProcess:
        if self._child is not None and self._child.is_stale:
            self._lose()
        if self._child is None:
            self._child = self._readers.take(self._key)
        return self._child

    def _lose(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._readers.lose(child)

    def _failed(self, what: object, lost: ChildLost) -> LDiffusionError:
        value = f"{self._name}: {what}"
        if isinstance(lost, ChildSilent):
            return SlideReadTimeout(
                "Reading the slide stood still; the file may be damaged, or its disk does not answer.",
                value=value,
                accepted=f"at most {self._readers.settings.read_timeout_s:g} s",
            )
        return SlideReaderFailed(
            "Reading this part of the slide crashed its reader, or took more time or memory than it may.", value=value
        )
