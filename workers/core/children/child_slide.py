"""A slide that a confined child has open: to the pipeline a slide as any other."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numpy as np

from workers.core.children.reading import BUFFER_BYTES, Place
from workers.core.children.reading_process import ReadingProcess
from workers.core.errors.base import LDiffusionError
from workers.core.slides.slide import Pixels, Slide

T = TypeVar("T")


class Held(Protocol):
    """The child that reads one slide, whichever process it is."""

    def do(self, work: Callable[[ReadingProcess], T | LDiffusionError], what: object) -> T:
        """Return what the work makes of the child; raise the error that it returns."""

    def ahead(self, places: Iterable[Place]) -> None:
        """Have places read ahead, as far as there is room."""

    def release(self) -> None:
        """Let another have the child."""


class ChildSlide(Slide):
    """A slide whose pixels come from a child. It recovers: after a tile that cannot be decoded, all others still can.

    Args:
        held: The child.
    """

    recovers = True

    def __init__(self, held: Held) -> None:
        self._held = held
        opened = held.do(lambda child: child.opened, "opening it")
        self.backend = opened.backend  # type: ignore[misc] # the reader's, not the class's
        self.vendor = opened.vendor
        self.geometry = opened.geometry
        self.content, self.warnings = opened.content, opened.warnings

    def close(self) -> None:
        """Let go of the child, which keeps the slide open for a while."""
        self._held.release()

    def _expect(self, places: Iterable[tuple[int, int, int, int, int]]) -> None:
        self._held.ahead(Place(*each) for each in places)

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        place = Place(level, lv_x, lv_y, width, height)
        if place.nbytes <= BUFFER_BYTES:
            return self._held.do(lambda child: child.read(place), place)
        half_width, half_height = (width // 2, height) if width > height else (width, height // 2)
        right, below = (half_width, 0) if width > height else (0, half_height)
        first = self._read(level, lv_x, lv_y, half_width, half_height)
        second = self._read(level, lv_x + right, lv_y + below, width - right, height - below)
        return np.concatenate((first, second), axis=1 if right else 0)
