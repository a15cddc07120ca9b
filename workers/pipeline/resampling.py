"""Level pixels made into working pixels: a triangle filter in both axes, with weights from exact fractions.

A pixel's value is a function of its coordinate alone: its weights come from the absolute working coordinate, and its
taps are multiplied and added one after the other in float32, first down, then across, whatever is computed beside it.
The sums are those of sparse matrices, which scipy makes in this order.

Frames: `lv_` px of the level that is read, `w_` px of the working plane.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from workers.core.slides.slide import Pixels

BAND_PX, STRIP_PX = 64, 384
"""Rows that are made at once, and columns that are summed down at once: they stay in the cache of a core."""

COLOURS, ROUNDED = np.dtype("V12"), np.dtype("V3")
"""Red, green and blue of one px as float32 and as uint8, for moving them together."""

HALF = np.array([[1], [3], [3], [1]], np.float32) / 8

EXACT = 2**53
"""Whole numbers below have a float64 each; those of some slides' µm per px pass 64 bits."""


@dataclass(frozen=True, slots=True)
class Taps:
    """How one axis of a box is made: output i is the sum over k of `weights[k, i]` x level px `first[i] + k`.

    `first` holds absolute level positions. Positions outside the level have weight 0; the other weights sum to 1.
    """

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    def extent(self, lv_length: int) -> tuple[int, int]:
        """Return the first and one past the last level position that the taps use, on an axis of so many px."""
        return max(int(self.first[0]), 0), min(int(self.first[-1]) + self.weights.shape[0], lv_length)

    @property
    def are_of_half(self) -> bool:
        """Whether all of them are 1, 3, 3 and 1 eighths: a scale of 2, and nothing outside the level."""
        return len(self.weights) == len(HALF) and bool((self.weights == HALF).all())

    def part(self, start: int, stop: int) -> "Taps":
        """Return those of outputs `start..stop`."""
        return Taps(self.first[start:stop], self.weights[:, start:stop])

    def matrix(self, lv_start: int, lv_stop: int) -> Any:
        """Return the weights as a sparse matrix (outputs, level px from `lv_start` to `lv_stop`)."""
        weights = self.weights.T
        positions = self.first[:, np.newaxis] + np.arange(self.weights.shape[0]) - lv_start
        used = weights != 0
        ends = np.concatenate(([0], np.cumsum(np.count_nonzero(used, axis=1))))
        return csr_array((weights[used], positions[used], ends), shape=(len(self.first), lv_stop - lv_start))


def triangle_taps(scale: Fraction, w_start: int, w_stop: int, lv_length: int) -> Taps:
    """Return the taps of working px `w_start..w_stop` for an axis of `lv_length` px at `scale` level px per working px.

    The filter is a triangle around the centre of the working px that reaches max(1, scale) level px: bilinear when
    enlarging, antialiased when shrinking. What falls outside the level carries no weight.
    """
    support = max(Fraction(1), scale)
    reach = ceil(support)  # taps at -reach + 1 … reach around the whole part of the centre
    whole, rest = _centres(scale, w_start, w_stop)
    first = whole - (reach - 1)
    weights = np.empty((2 * reach, len(whole)), np.float64)
    total = np.zeros(len(whole), np.float64)
    for k in range(2 * reach):  # summed one by one: numpy's own sum may pair terms by the size of the array
        inside = (first + k >= 0) & (first + k < lv_length)
        weights[k] = np.where(inside, np.maximum(float(support) - np.abs(k - (reach - 1) - rest), 0.0), 0.0)
        total += weights[k]
    return Taps(first, (weights / total).astype(np.float32))


def _centres(scale: Fraction, w_start: int, w_stop: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the centres of working px in level px, the whole part and the rest: (w + 1/2) * scale - 1/2."""
    step, unit = scale.numerator, 2 * scale.denominator
    if max((2 * w_stop + 1) * step, unit) < EXACT and w_start >= 0:
        found, remainders = np.divmod((2 * np.arange(w_start, w_stop) + 1) * step - scale.denominator, unit)
        return found, remainders / unit
    whole, rest = np.empty(w_stop - w_start, np.int64), np.empty(w_stop - w_start, np.float64)
    for i, w_position in enumerate(range(w_start, w_stop)):
        whole[i], remainder = divmod((2 * w_position + 1) * step - scale.denominator, unit)
        rest[i] = remainder / unit
    return whole, rest


def resample(window: Pixels, lv_corner: tuple[int, int], across: Taps, down: Taps, out: Pixels) -> None:
    """Lay the working px that a window of level px makes.

    Args:
        window: uint8 (rows, columns, 3): all level px of which a tap has a weight.
        lv_corner: (x, y) of its first px.
        across: Taps of the columns.
        down: Taps of the rows.
        out: uint8 (outputs down, outputs across, 3).
    """
    lv_x, lv_y = lv_corner
    is_half = down.are_of_half and across.are_of_half
    columns = None if is_half else across.matrix(lv_x, lv_x + window.shape[1])
    for start in range(0, len(out), BAND_PX):
        band, part = down.part(start, start + BAND_PX), out[start : start + BAND_PX]
        top, lower = band.extent(lv_y + len(window))
        rows = window[top - lv_y : lower - lv_y]
        if is_half:
            _halve(rows, part)
        else:
            _sum_up(band.matrix(top, lower), columns, rows, part)


def _sum_up(down: Any, across: Any, window: Pixels, out: Pixels) -> None:
    """Do it for rows that stay in the cache of a core, by the matrices of both axes."""
    height, columns = down.shape[0], window.shape[1]
    sums = np.empty((columns, height), COLOURS)  # columns first, so that the taps across are rows of it
    for left in range(0, columns, STRIP_PX):
        strip = window[:, left : left + STRIP_PX].astype(np.float32)
        summed = down @ strip.reshape(len(strip), -1)
        sums[left : left + STRIP_PX] = summed.view(COLOURS).T
    pixels = across @ sums.view(np.float32)
    pixels += np.float32(0.5)
    rounded = pixels.astype(np.uint8)  # truncation of what is not negative: rounds half up
    out.view(ROUNDED)[..., 0] = rounded.view(ROUNDED).T


def _halve(window: Pixels, out: Pixels) -> None:
    """Do it at a scale of 2, by 1, 3, 3 and 1 eighths, in whole numbers: float32 has them all, so nothing differs."""
    wide = window.reshape(len(window), -1).astype(np.uint16)
    inner, outer = wide[1:-1:2] + wide[2::2], wide[:-2:2] + wide[3::2]
    inner *= 3
    inner += outer
    middle = inner[:, 3:-6] + inner[:, 6:-3]  # of all columns, though each second is wanted: they lie side by side
    middle *= 3
    middle += inner[:, :-9]
    middle += inner[:, 9:]
    middle += 32
    middle >>= 6
    rounded = middle.astype(np.uint8).reshape(len(middle), -1, 3)
    out.view(ROUNDED)[..., 0] = rounded.view(ROUNDED)[:, ::2, 0]
