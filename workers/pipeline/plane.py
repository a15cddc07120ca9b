"""Pixels of the working plane. A pixel's value is a function of its coordinate alone, whatever box it is read in.

Two things make it so: where a reader may place a rectangle by a fraction of a px, level pixels come in blocks of a
fixed grid, so that the same rectangles are always asked for; and weights and sums are those of
`workers.pipeline.resampling`.

Frames: `lv_` px of the level that is read, `w_` px of the working plane.
"""

from collections import OrderedDict
from fractions import Fraction
from math import ceil, floor, prod

import numpy as np

from workers.core.sizing.memory import READER_CACHE_BYTES
from workers.core.slides.slide import WHITE, Pixels, Slide
from workers.core.slides.tolerant import GRID_PX, bad_blocks
from workers.pipeline.resampling import resample, triangle_taps
from workers.pipeline.tiling import Box, WorkingPlane, level_downsample

BLOCK_PX = GRID_PX
CACHED_BLOCKS = READER_CACHE_BYTES // (3 * BLOCK_PX**2)
"""The blocks that neighbouring regions share."""

READ_PX = 256
"""Rows of the plane for which the level is read at once, if it is resampled: bounds the memory, at any scale."""

Window = tuple[int, int, int, int]
"""Left, top, right and bottom of a rectangle of the level, half-open."""


class PlaneReader:
    """Reads boxes of the working plane from one level of a slide. Not to be shared between threads.

    Args:
        slide: An open slide; stays the caller's to close.
        plane: The working plane laid over it.
        level: The level to read, see `workers.pipeline.tiling.best_level`.
    """

    def __init__(self, slide: Slide, plane: WorkingPlane, level: int) -> None:
        self.slide = slide
        self.plane = plane
        self.level = level
        ds_x, ds_y = level_downsample(slide.geometry, level)
        self.lv_scale_x = plane.scale_x / ds_x
        self.lv_scale_y = plane.scale_y / ds_y
        self._size = slide.geometry.levels[level]
        self._blocks: OrderedDict[tuple[int, int], Pixels] = OrderedDict()
        self._memory: Pixels = np.empty(0, np.uint8)

    def read(self, w_x: int, w_y: int, width: int, height: int) -> Pixels:
        """Read a box that may reach outside the plane.

        Returns:
            uint8 (height, width, 3), white outside the plane.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        out = np.empty((height, width, 3), np.uint8)
        left, right = max(w_x, 0), min(w_x + width, self.plane.w_width)
        top, bottom = max(w_y, 0), min(w_y + height, self.plane.w_height)
        if (left, right, top, bottom) != (w_x, w_x + width, w_y, w_y + height):
            out[:] = WHITE
        if left >= right or top >= bottom:
            return out
        inside = out[top - w_y : bottom - w_y, left - w_x : right - w_x]
        if self.lv_scale_x == self.lv_scale_y == 1:
            self._window((left, top, right, bottom), inside)
        else:
            self._resample(left, top, inside)
        return out

    def holes(self, box: Box) -> tuple[Box, ...]:
        """Return the parts of the plane that touch a box and whose pixels depend on a block that could not be read."""
        found = []
        for row, col in sorted(bad_blocks(self.slide, self.level)):
            w_x0, w_x1 = touched(self.lv_scale_x, col * BLOCK_PX, (col + 1) * BLOCK_PX)
            w_y0, w_y1 = touched(self.lv_scale_y, row * BLOCK_PX, (row + 1) * BLOCK_PX)
            if w_x0 < box.w_x + box.width and w_x1 > box.w_x and w_y0 < box.w_y + box.height and w_y1 > box.w_y:
                found.append(Box(w_x0, w_y0, w_x1 - w_x0, w_y1 - w_y0))
        return tuple(found)

    def _resample(self, w_x: int, w_y: int, out: Pixels) -> None:
        """Lay a box of the plane: of the level only the rows that make some rows of it are in memory at once."""
        height, width = out.shape[:2]
        across = triangle_taps(self.lv_scale_x, w_x, w_x + width, self._size.width)
        down = triangle_taps(self.lv_scale_y, w_y, w_y + height, self._size.height)
        lv_x0, lv_x1 = across.extent(self._size.width)
        rows = [down.part(start, start + READ_PX) for start in range(0, height, READ_PX)]
        windows = [(lv_x0, lv_y0, lv_x1, lv_y1) for lv_y0, lv_y1 in (each.extent(self._size.height) for each in rows)]
        for number, (taps, window) in enumerate(zip(rows, windows, strict=True)):
            if self.level in self.slide.exact:
                self.slide.expect(self.level, [_rectangle(each) for each in windows[number : number + 2]])
            pixels = self._scratch(window)
            self._window(window, pixels)
            start = number * READ_PX
            resample(pixels, window[:2], across, taps, out[start : start + READ_PX])

    def _scratch(self, window: Window) -> Pixels:
        """Return memory for a window, always the same: that of the kernel costs as much as decoding into it."""
        shape = window[3] - window[1], window[2] - window[0], 3
        if prod(shape) > self._memory.size:
            self._memory = np.empty(prod(shape), np.uint8)
        return self._memory[: prod(shape)].reshape(shape)

    def _window(self, lv_window: Window, out: Pixels) -> None:
        """Lay a rectangle of the level: at once if it is exact, else from blocks of the fixed grid; white outside."""
        lv_x0, lv_y0, lv_x1, lv_y1 = lv_window
        if self.level in self.slide.exact:
            self.slide.read_level(self.level, *_rectangle(lv_window), out)
            return
        if lv_x1 > self._size.width or lv_y1 > self._size.height:
            out[:] = WHITE
        rows = range(lv_y0 // BLOCK_PX, -(-min(lv_y1, self._size.height) // BLOCK_PX))
        columns = range(lv_x0 // BLOCK_PX, -(-min(lv_x1, self._size.width) // BLOCK_PX))
        keys = [(row, col) for row in rows for col in columns]
        self.slide.expect(self.level, [_place(*key) for key in keys if key not in self._blocks])
        for row, col in keys:
            block = self._block(row, col)
            top, left = row * BLOCK_PX, col * BLOCK_PX
            y0, y1 = max(top, lv_y0), min(top + BLOCK_PX, lv_y1)
            x0, x1 = max(left, lv_x0), min(left + BLOCK_PX, lv_x1)
            out[y0 - lv_y0 : y1 - lv_y0, x0 - lv_x0 : x1 - lv_x0] = block[y0 - top : y1 - top, x0 - left : x1 - left]

    def _block(self, row: int, col: int) -> Pixels:
        key = (row, col)
        block = self._blocks.pop(key, None)
        if block is None:
            block = self.slide.read_level(self.level, *_place(row, col))
        self._blocks[key] = block
        if len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return block


def _rectangle(window: Window) -> tuple[int, int, int, int]:
    """Return a window as x, y, width, height."""
    lv_x0, lv_y0, lv_x1, lv_y1 = window
    return lv_x0, lv_y0, lv_x1 - lv_x0, lv_y1 - lv_y0


def _place(row: int, col: int) -> tuple[int, int, int, int]:
    """Return a block of the grid as x, y, width, height in level px."""
    return col * BLOCK_PX, row * BLOCK_PX, BLOCK_PX, BLOCK_PX


def touched(scale: Fraction, lv_start: int, lv_stop: int) -> tuple[int, int]:
    """Return the working px, half-open, with a weight on any level px of `[lv_start, lv_stop)`; see `triangle_taps`."""
    support, half = max(Fraction(1), scale), Fraction(1, 2)
    # the centre (w + 1/2) * scale - 1/2 must be less than `support` away from the nearest px of the range
    first = floor((lv_start - support + half) / scale - half) + 1
    return max(0, first), ceil((lv_stop - 1 + support + half) / scale - half)
