"""A slide of which some tiles cannot be decoded, read all the same: what is lost is white, and is noted."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.errors.jobs import SlideReaderFailed, SlideReadTimeout
from workers.core.schemas import BadTile
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import WHITE, Pixels, Slide

GRID_PX = 256
"""Side of the blocks, on a fixed grid of a level, by which it is said what is lost."""

COSTLY_MAX = 6
"""Reads that may each cost a reader before a slide is given up: a block that does is tried twice."""

BadBlock = tuple[int, int, int]
"""(level, row, column) on the grid."""


class TolerantSlide(Slide):
    """Reads what there is. A reader that failed may fail for ever after, so the file is opened anew each time.

    Args:
        path: The slide.
        image: The number of the image to read, where the file holds several.
        open_it: Opens it.

    Attributes:
        bad: Blocks that could not be read so far.

    Raises:
        SlideUnreadable: No reader opens it.
    """

    def __init__(
        self, path: Path, image: int | None = None, open_it: Callable[[Path, int | None], Slide] = open_slide
    ) -> None:
        self._path = path
        self._image = image
        self._open_it = open_it
        self._slide = open_it(path, image)
        self.backend = self._slide.backend  # type: ignore[misc] # the reader's, not the class's
        self.geometry = self._slide.geometry
        self.vendor = self._slide.vendor
        self.content, self.warnings, self.exact = self._slide.content, self._slide.warnings, self._slide.exact
        self.bad: set[BadBlock] = set()
        self._costly = 0

    def close(self) -> None:
        """Release the file."""
        self._slide.close()

    def _expect(self, places: Iterable[tuple[int, int, int, int, int]]) -> None:
        for level, *place in places:
            self._slide.expect(level, [(place[0], place[1], place[2], place[3])])

    def _fill(self, out: Pixels, level: int, lv_x: int, lv_y: int) -> None:
        if self._attempt(out, level, lv_x, lv_y):
            return
        height, width = out.shape[:2]
        size = self.geometry.levels[level]
        for row, top, rows in _spans(lv_y, height):
            for col, left, columns in _spans(lv_x, width):
                x, y = col * GRID_PX, row * GRID_PX
                # the block as a whole, whatever was asked for: what is lost must not depend on that
                block = np.empty((min(GRID_PX, size.height - y), min(GRID_PX, size.width - x), 3), np.uint8)
                if (level, row, col) in self.bad or not self._attempt(block, level, x, y):
                    block[:] = WHITE
                    self.bad.add((level, row, col))
                found = block[top - y : top - y + rows, left - x : left - x + columns]
                out[top - lv_y : top - lv_y + rows, left - lv_x : left - lv_x + columns] = found

    def _attempt(self, out: Pixels, level: int, lv_x: int, lv_y: int) -> bool:
        try:
            self._slide.read_level(level, lv_x, lv_y, out.shape[1], out.shape[0], out)
        except (SlideUnreadable, SlideReaderFailed, SlideReadTimeout) as error:
            self._count(error)
            if not self._slide.recovers:
                self._slide.close()
                self._slide = self._open_it(self._path, self._image)
            return False
        return True

    def _count(self, error: LDiffusionError) -> None:
        """Raise an error if it is one of too many that each cost a reader."""
        self._costly += not isinstance(error, SlideUnreadable)
        if self._costly > COSTLY_MAX:
            raise error


def open_for(path: Path, on_bad_tile: str, image: int | None = None) -> Slide:
    """Open a slide as a job wants it: a bad tile is an error, or it is white and noted.

    Raises:
        SlideUnreadable: No reader opens it.
    """
    return open_slide(path, image) if on_bad_tile == "fail" else TolerantSlide(path, image)


def bad_blocks(slide: Slide, level: int) -> frozenset[tuple[int, int]]:
    """Return (row, column) of the blocks of a level that could not be read so far."""
    found = slide.bad if isinstance(slide, TolerantSlide) else ()
    return frozenset((row, col) for bad_level, row, col in found if bad_level == level)


def bad_tile(slide: Slide, level: int, row: int, col: int) -> BadTile:
    """Return a block as the client is told of it, in level-0 px."""
    size = slide.geometry.levels[level]
    x0, x1 = (min(edge, size.width) for edge in (col * GRID_PX, (col + 1) * GRID_PX))
    y0, y1 = (min(edge, size.height) for edge in (row * GRID_PX, (row + 1) * GRID_PX))
    l0_x, l0_y = round(x0 * size.downsample), round(y0 * size.downsample)
    return BadTile(
        level=level,
        l0_x=l0_x,
        l0_y=l0_y,
        l0_width=round(x1 * size.downsample) - l0_x,
        l0_height=round(y1 * size.downsample) - l0_y,
    )


def _spans(start: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Cut `[start, start + length)` along the grid: (index on the grid, start, length)."""
    stop = start + length
    while start < stop:
        index = start // GRID_PX
        end = min(stop, (index + 1) * GRID_PX)
        yield index, start, end - start
        start = end
