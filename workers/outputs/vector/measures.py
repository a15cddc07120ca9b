"""What the boundary of a shape tells of it: place, size, perimeter, axes. Exact sums over corners, no pixel is read.

The sum of a function over the pixels of a shape is a sum over its corners: the shape, as 0 and 1, differs from its
neighbours right and below in such a way that only corners are left. Likewise all places where the boundary is crossed
along rows, columns and diagonals are counted by corners and by the lengths of edges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.outputs.vector.contours import (
    COLUMN_BITS,
    GOES_DOWN,
    IN_SE,
    IN_SW,
    KIND_BITS,
    OUT_NE,
    OUT_NW,
    OUT_SE,
    OUT_SW,
    Ints,
    Shapes,
)

Floats = NDArray[np.float64]

SIGN = np.array([1, -1, 1, -1, -1, 1, -1, 1], np.int64)
"""Of a corner of each kind in sums over pixels."""
GOES_RIGHT = np.array([1, 0, 0, 1, 1, 0, 0, 1], bool)
"""Whether the row edge at a corner of this kind lies to the right of the vertex."""

FALLING, RISING = np.zeros((2, 8), np.int64)
"""What a corner of each kind adds to how often a shape is entered along diagonals."""
FALLING[[IN_SE, OUT_NE, OUT_SW, OUT_NW]] = -1, -1, -1, 1
RISING[[IN_SW, OUT_NW, OUT_SE, OUT_NE]] = -1, -1, -1, 1

SIDE_MAX = 2**15
"""Side of a box up to which all sums over its pixels, from its middle, fit into 64 bits; beyond, Python's integers."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Of each shape, in working px.

    Args:
        x0, y0, x1, y1: Its box, half-open.
        x, y: Mean of the centres of its pixels; the centre of the first pixel of the plane is (0.5, 0.5).
        perimeter: Length of its border, holes included, by the formula of Crofton with four directions: π/4 times the
            number of places where it is entered along rows and columns, and along both diagonals by √2 less.
        major, minor: Axes of the ellipse with its second moments; those of its pixels as points.
        circularity: 4π · pixels / perimeter², at most 1.
    """

    x0: Ints
    y0: Ints
    x1: Ints
    y1: Ints
    x: Floats
    y: Floats
    perimeter: Floats
    major: Floats
    minor: Floats
    circularity: Floats


def measure(shapes: Shapes) -> Measures:
    """Measure shapes; every number depends on its own shape alone."""
    w_y = shapes.corners >> (KIND_BITS + COLUMN_BITS)
    w_x = shapes.corners >> KIND_BITS & ((1 << COLUMN_BITS) - 1)
    kind = shapes.corners & ((1 << KIND_BITS) - 1)
    begins = shapes.offsets[:-1]
    x0, y0 = (np.minimum.reduceat(w, begins) if len(begins) else begins for w in (w_x, w_y))
    x1, y1 = (np.maximum.reduceat(w, begins) if len(begins) else begins for w in (w_x, w_y))
    middle = x0 + (x1 - x0) // 2, y0 + (y1 - y0) // 2  # sums from there are small
    owner = np.repeat(np.arange(len(shapes)), np.diff(shapes.offsets))
    is_wide = len(shapes) > 0 and max(int((x1 - x0).max()), int((y1 - y0).max())) > SIDE_MAX
    kept = object if is_wide else np.int64
    x_of, y_of = (w - centre[owner] for w, centre in zip((w_x, w_y), middle, strict=True))
    moments = _Moments(x_of.astype(kept), y_of.astype(kept), SIGN[kind], begins)
    pixels = shapes.pixels
    x, y = moments.mean(1, 0) / pixels, moments.mean(0, 1) / pixels
    major, minor = _axes(
        moments.mean(2, 0) / pixels - x * x, moments.mean(0, 2) / pixels - y * y, moments.mean(1, 1) / pixels - x * y
    )
    perimeter = _perimeter(w_x, w_y, kind, owner, shapes)
    circularity = np.minimum(1.0, 4 * np.pi * pixels / perimeter**2)
    return Measures(x0, y0, x1, y1, x + middle[0] + 0.5, y + middle[1] + 0.5, perimeter, major, minor, circularity)


@dataclass(frozen=True, slots=True)
class _Moments:
    x: Ints
    y: Ints
    sign: Ints
    begins: Ints

    def mean(self, in_x: int, in_y: int) -> Floats:
        """Return the sums of x**in_x * y**in_y over the pixels' upper left corners, as floats.

        They are summed as integers, which in 64 bits may wrap on the way: the sum itself does not.
        """
        terms = self.sign * _below(self.x, in_x) * _below(self.y, in_y)
        summed = np.add.reduceat(terms, self.begins) if len(self.begins) else self.begins
        return summed.astype(np.float64)


def _below(end: Ints, power: int) -> Ints:
    """Return the sum of k**power over k < end, but for a constant that cancels."""
    if power == 0:
        return end
    if power == 1:
        return end * (end - 1) // 2
    return end * (end - 1) * (2 * end - 1) // 6


def _axes(xx: Floats, yy: Floats, xy: Floats) -> tuple[Floats, Floats]:
    """Return the axes of the ellipses with these second central moments: four times the roots of the eigenvalues."""
    half, root = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    return 4 * np.sqrt(half + root), 4 * np.sqrt(np.maximum(half - root, 0.0))


def _perimeter(w_x: Ints, w_y: Ints, kind: Ints, owner: Ints, shapes: Shapes) -> Floats:
    count = len(shapes)

    def total(amount: Ints) -> Ints:
        return np.add.reduceat(amount, shapes.offsets[:-1]) if count else amount[:0]

    along_row = total(np.where(GOES_DOWN[kind], -w_y, w_y)) // 2  # unit edges on the left sides
    along_column = total(np.where(GOES_RIGHT[kind], -w_x, w_x)) // 2  # and on the upper sides
    same = (owner[1:] == owner[:-1]) & (w_y[1:] == w_y[:-1]) & (w_x[1:] == w_x[:-1])
    touches = np.append(same, False)  # a vertex where the shape touches itself has two corners
    straight = along_row + along_column
    fall = straight + total(FALLING[kind] - (touches & (kind == IN_SE)))
    rise = straight + total(RISING[kind] - (touches & (kind == IN_SW)))
    entered: Floats = straight + (fall + rise) / np.sqrt(2.0)
    return np.pi / 4 * entered
