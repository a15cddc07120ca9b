"""Pixels of the working plane. A pixel's value is a function of its coordinate alone, whatever box it is read in.

Three things make it so: level pixels come in blocks of a fixed grid (a reader may place a rectangle by a fraction of a
px, so the same rectangles are always asked for), the weights come from the absolute working coordinate by rational
arithmetic, and the taps are summed in a fixed order.

Frames: `lv_` px of the level that is read, `w_` px of the working plane.
"""

from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from workers.core.preflight import READER_CACHE_BYTES
from workers.core.slides.slide import WHITE, Pixels, Slide
from workers.core.slides.tolerant import GRID_PX, bad_blocks
from workers.pipeline.tiling import Box, WorkingPlane, level_downsample

BLOCK_PX = GRID_PX
CACHED_BLOCKS = READER_CACHE_BYTES // (3 * BLOCK_PX**2)
"""The blocks that neighbouring regions share."""


@dataclass(frozen=True, slots=True)
class Taps:
    """How one axis of a box is made: output i is the sum over k of `weights[k, i]` x level px `first[i] + k`.

    `first` holds absolute level positions. Positions outside the level have weight 0; the other weights sum to 1.
    """

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def triangle_taps(scale: Fraction, w_start: int, w_stop: int, lv_length: int) -> Taps:
    """Return the taps of working px `w_start..w_stop` for an axis of `lv_length` px at `scale` level px per working px.

    The filter is a triangle around the centre of the working px that reaches max(1, scale) level px: bilinear when
    enlarging, antialiased when shrinking. What falls outside the level carries no weight.
    """
    support = max(Fraction(1), scale)
    reach = ceil(support)  # taps at -reach + 1 … reach around the whole part of the centre
    step, unit = scale.numerator, 2 * scale.denominator
    whole = np.empty(w_stop - w_start, np.int64)
    rest = np.empty(w_stop - w_start, np.float64)
    for i, w_position in enumerate(range(w_start, w_stop)):
        # the centre of working px w lies at (w + 1/2) * scale - 1/2: Python integers, they may pass 64 bits
        whole[i], remainder = divmod((2 * w_position + 1) * step - scale.denominator, unit)
        rest[i] = remainder / unit
    first = whole - (reach - 1)
    weights = np.empty((2 * reach, len(whole)), np.float64)
    total = np.zeros(len(whole), np.float64)
    for k in range(2 * reach):  # summed one by one: numpy's own sum may pair terms by the size of the array
        inside = (first + k >= 0) & (first + k < lv_length)
        weights[k] = np.where(inside, np.maximum(float(support) - np.abs(k - (reach - 1) - rest), 0.0), 0.0)
        total += weights[k]
    return Taps(first, (weights / total).astype(np.float32))


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

    def read(self, w_x: int, w_y: int, width: int, height: int) -> Pixels:
        """Read a box that may reach outside the plane.

        Returns:
            uint8 (height, width, 3), white outside the plane.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        out = np.full((height, width, 3), WHITE, np.uint8)
        left, right = max(w_x, 0), min(w_x + width, self.plane.w_width)
        top, bottom = max(w_y, 0), min(w_y + height, self.plane.w_height)
        if left >= right or top >= bottom:
            return out
        inside = out[top - w_y : bottom - w_y, left - w_x : right - w_x]
        if self.lv_scale_x == self.lv_scale_y == 1:
            inside[:] = self._window(left, top, right, bottom)
        else:
            inside[:] = self._resampled(left, top, right, bottom)
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

    def _resampled(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        across = triangle_taps(self.lv_scale_x, left, right, self._size.width)
        down = triangle_taps(self.lv_scale_y, top, bottom, self._size.height)
        lv_x0, lv_x1 = _extent(across, self._size.width)
        lv_y0, lv_y1 = _extent(down, self._size.height)
        window = self._window(lv_x0, lv_y0, lv_x1, lv_y1)
        rows = np.zeros((bottom - top, lv_x1 - lv_x0, 3), np.float32)
        for k, weight in enumerate(down.weights):
            if weight.any():
                source = np.clip(down.first + k, lv_y0, lv_y1 - 1) - lv_y0
                rows += window[source] * weight[:, np.newaxis, np.newaxis]
        pixels = np.zeros((bottom - top, right - left, 3), np.float32)
        for k, weight in enumerate(across.weights):
            if weight.any():
                source = np.clip(across.first + k, lv_x0, lv_x1 - 1) - lv_x0
                pixels += np.take(rows, source, axis=1) * weight[:, np.newaxis]
        pixels += np.float32(0.5)
        return pixels.astype(np.uint8)  # truncation of what is not negative: rounds half up

    def _window(self, lv_x0: int, lv_y0: int, lv_x1: int, lv_y1: int) -> Pixels:
        """Assemble a rectangle of the level from blocks of the fixed grid; white outside the level."""
        window = np.full((lv_y1 - lv_y0, lv_x1 - lv_x0, 3), WHITE, np.uint8)
        rows = range(lv_y0 // BLOCK_PX, -(-min(lv_y1, self._size.height) // BLOCK_PX))
        columns = range(lv_x0 // BLOCK_PX, -(-min(lv_x1, self._size.width) // BLOCK_PX))
        keys = [(row, col) for row in rows for col in columns]
        self.slide.expect(self.level, [_place(*key) for key in keys if key not in self._blocks])
        for row, col in keys:
            block = self._block(row, col)
            top, left = row * BLOCK_PX, col * BLOCK_PX
            y0, y1 = max(top, lv_y0), min(top + BLOCK_PX, lv_y1)
            x0, x1 = max(left, lv_x0), min(left + BLOCK_PX, lv_x1)
            window[y0 - lv_y0 : y1 - lv_y0, x0 - lv_x0 : x1 - lv_x0] = block[y0 - top : y1 - top, x0 - left : x1 - left]
        return window

    def _block(self, row: int, col: int) -> Pixels:
        key = (row, col)
        block = self._blocks.pop(key, None)
        if block is None:
            block = self.slide.read_level(self.level, *_place(row, col))
        self._blocks[key] = block
        if len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return block


def _place(row: int, col: int) -> tuple[int, int, int, int]:
    """Return a block of the grid as x, y, width, height in level px."""
    return col * BLOCK_PX, row * BLOCK_PX, BLOCK_PX, BLOCK_PX


def touched(scale: Fraction, lv_start: int, lv_stop: int) -> tuple[int, int]:
    """Return the working px, half-open, with a weight on any level px of `[lv_start, lv_stop)`; see `triangle_taps`."""
    support, half = max(Fraction(1), scale), Fraction(1, 2)
    # the centre (w + 1/2) * scale - 1/2 must be less than `support` away from the nearest px of the range
    first = floor((lv_start - support + half) / scale - half) + 1
    return max(0, first), ceil((lv_stop - 1 + support + half) / scale - half)


def _extent(taps: Taps, lv_length: int) -> tuple[int, int]:
    """Return the first and one past the last level position that the taps use."""
    return max(int(taps.first[0]), 0), min(int(taps.first[-1]) + taps.weights.shape[0], lv_length)
