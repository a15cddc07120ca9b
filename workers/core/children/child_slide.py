"""A slide that a confined child has open: to the pipeline a slide as any other."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

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
        self.content, self.warnings, self.exact = opened.content, opened.warnings, frozenset(opened.exact)

    def close(self) -> None:
        """Let go of the child, which keeps the slide open for a while."""
        self._held.release()

    def _expect(self, places: Iterable[tuple[int, int, int, int, int]]) -> None:
        self._held.ahead(Place(*each) for each in places)

    def _fill(self, out: Pixels, level: int, lv_x: int, lv_y: int) -> None:
        height, width = out.shape[:2]
        place = Place(level, lv_x, lv_y, width, height)
        if place.nbytes <= BUFFER_BYTES:
            self._held.do(lambda child: child.read(place, out), place)
            return
        if width > height:
            self._fill(out[:, : width // 2], level, lv_x, lv_y)
            self._fill(out[:, width // 2 :], level, lv_x + width // 2, lv_y)
        else:
            self._fill(out[: height // 2], level, lv_x, lv_y)
            self._fill(out[height // 2 :], level, lv_x, lv_y + height // 2)
