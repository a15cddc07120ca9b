"""What every slide is to the rest, whichever reader opened it. Pixels are 8-bit RGB over white.

Frames: `l0_` level-0 px of the full plane, `lv_` px of one level.
"""

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import PLAIN, Backend, SlideContent, SlideGeometry, TrustWarning
from workers.core.slides.geometry import level_for_side
from workers.core.slides.read_watchdog import reading

WHITE = 255
BAND_PX = 2**22
"""Level px that are in memory at once while an overview is made."""

MAX_IN_32_BITS = 2048
"""Side of a block of which twice the sum of a channel has room in 32 bits."""

MAX_IN_16_BITS = 257
"""Values of a channel whose sum has room in 16 bits."""

Pixels = npt.NDArray[np.uint8]

PARSER_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    SyntaxError,  # xml.etree.ElementTree.ParseError is one
    RuntimeError,  # NotImplementedError, imagecodecs
    struct.error,
    zlib.error,
)
"""What the TIFF parsers in Python raise on a file that is not what it claims to be."""


class Slide(ABC):
    """An open slide. Not to be shared between threads; closes as a context manager.

    Attributes:
        geometry: Size, resolution, bounds and levels.
        vendor: Format as the reader names it.
        backend: The reader.
        content: What else is in the file.
        warnings: What of it cannot be trusted.
        exact: Levels whose px are the same whatever rectangle they are read in.
        recovers: Whether it is as good as new after a tile that could not be decoded; most readers may fail ever after.
    """

    recovers: ClassVar[bool] = False
    backend: ClassVar[Backend]
    geometry: SlideGeometry
    vendor: str
    content: SlideContent = PLAIN
    warnings: tuple[TrustWarning, ...] = ()
    exact: frozenset[int] = frozenset()

    def read_level(
        self, level: int, lv_x: int, lv_y: int, width: int, height: int, out: Pixels | None = None
    ) -> Pixels:
        """Read a rectangle of a level.

        Args:
            level: Index of the level, 0 is the finest.
            lv_x: Left edge in px of this level; may be negative.
            lv_y: Top edge in px of this level; may be negative.
            width: Width in px of this level.
            height: Height in px of this level.
            out: Where to lay them; new memory if there is none.

        Returns:
            uint8 (height, width, 3), white where the slide is transparent or ends. At a downsample that is no whole
            number openslide places the rectangle to within half a level-0 px, unless the level is in `exact`.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        out = np.empty((height, width, 3), np.uint8) if out is None else out
        inside = self._within(level, lv_x, lv_y, width, height)
        if inside != (lv_x, lv_y, width, height):
            out[:] = WHITE
        if inside is not None:
            left, top, columns, rows = inside
            with reading():
                self._fill(out[top - lv_y : top - lv_y + rows, left - lv_x : left - lv_x + columns], level, left, top)
        return out

    def expect(self, level: int, places: Iterable[tuple[int, int, int, int]]) -> None:
        """Say which rectangles of a level are read next, in this order: a reader that can has them ready by then.

        Args:
            level: Index of the level.
            places: x, y, width and height of each, as for `read_level`.
        """
        found = (self._within(level, *place) for place in places)
        self._expect((level, *inside) for inside in found if inside is not None)

    def reduced(self, level: int, factor: int) -> Pixels:
        """Return a whole level with blocks of `factor` x `factor` px averaged; the level is never held as a whole.

        Returns:
            uint8 (ceil(height / factor), ceil(width / factor), 3); blocks at the edge average what there is.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        size = self.geometry.levels[level]
        out = np.empty((-(-size.height // factor), -(-size.width // factor), 3), np.uint8)
        step = max(1, int(BAND_PX**0.5) // factor)
        side = step * factor
        corners = [(x, y) for y in range(0, size.height, side) for x in range(0, size.width, side)]
        pieces = [(x, y, min(side, size.width - x), min(side, size.height - y)) for x, y in corners]
        for index, place in enumerate(pieces):
            self.expect(level, pieces[index : index + 2])
            block = block_mean(self.read_level(level, *place), factor)
            row, col = place[1] // factor, place[0] // factor
            out[row : row + block.shape[0], col : col + block.shape[1]] = block
        return out

    def thumbnail(self, max_px: int) -> Pixels:
        """Return the whole slide as uint8 RGB whose longer side is at most `max_px`; small slides keep their size."""
        level = level_for_side(self.geometry, max_px)
        size = self.geometry.levels[level]
        longer = max(size.width, size.height)
        factor = max(1, longer // max_px)
        small = self.reduced(level, factor)
        if longer <= max_px:
            return small
        target = (max(1, round(size.width * max_px / longer)), max(1, round(size.height * max_px / longer)))
        box = (0, 0, size.width / factor, size.height / factor)  # the last blocks may reach beyond the slide
        return np.asarray(Image.fromarray(small).resize(target, Image.Resampling.BOX, box))

    def doubts(self) -> Iterator[TrustWarning]:
        """Yield what cannot be trusted that takes a look at more of the file than opening it; of most formats nothing.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        return iter(())

    def _within(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Return the part of a rectangle that lies within a level, as x, y, width, height; None if none does."""
        size = self.geometry.levels[level]
        left, right = max(lv_x, 0), min(lv_x + width, size.width)
        top, bottom = max(lv_y, 0), min(lv_y + height, size.height)
        return (left, top, right - left, bottom - top) if left < right and top < bottom else None

    def _expect(self, places: Iterable[tuple[int, int, int, int, int]]) -> None:  # noqa: B027 (most readers cannot)
        """Get level, x, y, width and height of rectangles that are read next; each lies within its level."""

    def _fill(self, out: Pixels, level: int, lv_x: int, lv_y: int) -> None:
        """Lay the px of a rectangle of the size of `out` that lies within the level. A reader has this, or `_read`."""
        out[:] = self._read(level, lv_x, lv_y, out.shape[1], out.shape[0])

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        """Read a rectangle that lies within the level."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def over_white(rgba: Pixels) -> Pixels:
    """Lay straight-alpha RGBA (height, width, 4) over white; RGB stays as it is."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=WHITE) == WHITE:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.uint32)
    return ((rgba[..., :3] * weight + WHITE * (WHITE - weight) + WHITE // 2) // WHITE).astype(np.uint8)


def block_mean(pixels: Pixels, factor: int) -> Pixels:
    """Average blocks of `factor` x `factor` px, rounding half up; blocks at the far edges average what there is."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    down, across = -(-height // factor), -(-width // factor)
    kind = np.uint32 if factor <= MAX_IN_32_BITS else np.int64
    columns = np.zeros((down, width, 3), np.uint16 if factor <= MAX_IN_16_BITS else kind)
    for first in range(min(factor, height)):  # every so many rows at once: a sum per block takes many times as long
        part = pixels[first::factor]
        columns[: len(part)] += part
    sums = np.zeros((down, across, 3), kind)
    for first in range(min(factor, width)):
        part = columns[:, first::factor]
        sums[:, : part.shape[1]] += part
    heights, widths = (np.minimum(factor, length - np.arange(0, length, factor)) for length in (height, width))
    counts = np.outer(heights, widths)[..., np.newaxis].astype(kind)
    return np.asarray((2 * sums + counts) // (2 * counts), np.uint8)


def undecodable(level: int, lv_x: int, lv_y: int) -> SlideUnreadable:
    """Return the error of a tile that cannot be decoded."""
    return SlideUnreadable(
        f"A tile of level {level} at ({lv_x}, {lv_y}) cannot be decoded; the file is damaged or cut off."
    )
