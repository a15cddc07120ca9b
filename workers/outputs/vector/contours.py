"""Shapes of pixels and their boundaries: corners on the pixel grid, linked to rings.

The boundary of a shape is kept as its *corners*, each one int64: the vertex (w_y, w_x) and the way the boundary turns
there. Vertex (w_y, w_x) is the upper left corner of pixel (w_y, w_x). Boundaries run with the shape on the side of
positive area: +x along its upper edges. On every grid line the corners of a shape pair up from left to right (on
columns: from top to bottom), so linking them needs one sort and no tracing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
Small = NDArray[np.int32]

# Kinds of corner: the one pixel of four that is in the shape, or the one that is not, seen from the vertex.
IN_SE, IN_SW, IN_NW, IN_NE, OUT_SE, OUT_SW, OUT_NW, OUT_NE = range(8)
LEAVES_SIDEWAYS = np.array([1, 0, 1, 0, 0, 1, 0, 1], bool)
"""Whether the boundary leaves a corner of this kind along the row (it then came along the column)."""
GOES_DOWN = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
"""Whether the column edge at a corner of this kind lies below the vertex."""
KIND_BITS, COLUMN_BITS = 3, 30
CORNERS_AT_ONCE = 2**17
"""Corners of the shapes that are drawn at once."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Finished shapes, ordered by (last row, first pixel).

    Args:
        value: Value of the pixels of each shape: the class index, in a plane of labels.
        pixels: Number of its pixels.
        sums: (weights, shapes), the sum of each weight over them; the first is the confidence.
        corners: Corners of all shapes, one shape after the other, each in raster order.
        offsets: Where the corners of each shape begin, and the end of the last.
    """

    value: NDArray[np.unsignedinteger]
    pixels: Ints
    sums: Ints
    corners: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.value)

    @property
    def confidence(self) -> Ints:
        """Sum of the confidence over the pixels of each shape."""
        first: Ints = self.sums[0]
        return first

    def box(self, index: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of a shape, half-open, in working px."""
        w_y, w_x, _ = _unpack(self.corners[self.offsets[index] : self.offsets[index + 1]])
        return int(w_x.min()), int(w_y.min()), int(w_x.max()), int(w_y.max())

    def parts(self, corners_max: int = CORNERS_AT_ONCE) -> Iterator["Shapes"]:
        """Yield the shapes in their order, no more at once than have so many corners; one that has more comes alone."""
        begin = 0
        while begin < len(self):
            end = int(np.searchsorted(self.offsets, self.offsets[begin] + corners_max, side="right")) - 1
            end = max(begin + 1, end)
            here, first = slice(begin, end), int(self.offsets[begin])
            corners, offsets = self.corners[first : self.offsets[end]], self.offsets[begin : end + 1] - first
            yield Shapes(self.value[here], self.pixels[here], self.sums[:, here], corners, offsets)
            begin = end

    def chosen(self, keep: Bools) -> "Shapes":
        """Return the shapes that are kept, in their order."""
        counts = np.diff(self.offsets)
        corners = self.corners[np.repeat(keep, counts)]
        offsets = np.append(0, np.cumsum(counts[keep]))
        return Shapes(self.value[keep], self.pixels[keep], self.sums[:, keep], corners, offsets)


def pack(w_y: Ints, w_x: Ints, kind: int) -> Ints:
    """Return corners of one kind at vertices, as integers that sort in raster order."""
    return (w_y << COLUMN_BITS | w_x) << KIND_BITS | kind


@dataclass(frozen=True, slots=True)
class Outlines:
    """Boundaries of shapes, one ring after the other.

    The first ring of a shape is the outer one, with positive area, the others are holes; each begins at its first
    corner in raster order and does not repeat it. Where a shape touches itself at a vertex the rings part, so that each
    of them is simple and the polygon is valid.

    Args:
        w_x: Columns of the vertices.
        w_y: Rows of the vertices.
        ends: Where each ring ends.
        firsts: The first ring of each shape, and the number of rings.
    """

    w_x: Small
    w_y: Small
    ends: Ints
    firsts: Ints

    def closed(self) -> tuple[Small, Ints]:
        """Return which vertices the rings consist of, each closed by its first one, and how many each ring has."""
        begins = np.append(0, self.ends[:-1])
        return np.insert(np.arange(len(self.w_x), dtype=np.int32), self.ends, begins), self.ends - begins + 1

    def __iter__(self) -> Iterator[tuple[Small, Small, Ints]]:
        """Yield (w_x, w_y, ends) of one shape after the other."""
        begin = 0
        for first, last in pairwise(self.firsts.tolist()):
            ends = self.ends[first:last]
            end = int(ends[-1])
            yield self.w_x[begin:end], self.w_y[begin:end], ends - begin
            begin = end


def outlines(shapes: Shapes) -> Outlines:
    """Return the boundaries of shapes."""
    owner = np.repeat(np.arange(len(shapes), dtype=np.int32), np.diff(shapes.offsets))
    w_y, w_x, kind = _unpack(shapes.corners)
    kind = _part_at_touches(owner, w_y, w_x, kind)
    order, ends = _walked(_link(owner, w_y, w_x, kind))
    firsts = np.searchsorted(ends, shapes.offsets, side="right")  # a shape's last ring ends where its corners do
    return Outlines(w_x[order], w_y[order], ends, firsts)


def _walked(following: Small) -> tuple[Small, Ints]:
    """Return the corners ring by ring, from the first corner of each, and where each ring ends.

    Cut open before its first corner and tied to the first corner of the next, the rings are one path, which SciPy
    walks in C.
    """
    count = len(following)
    if count == 0:
        return following, np.empty(0, np.int64)
    links, begins = np.ones(count, np.int8), np.arange(count + 1, dtype=np.int32)
    rings_of = sparse.csr_array((links, following, begins), shape=(count, count))
    number, ring = csgraph.connected_components(rings_of, connection="strong")
    first = np.empty(number, np.int32)
    first[ring[::-1]] = np.arange(count - 1, -1, -1, dtype=np.int32)
    first.sort()
    before = np.empty(count, np.int32)
    before[following] = np.arange(count, dtype=np.int32)
    tied = following.copy()
    tied[before[first]] = np.append(first[1:], first[0])
    path = sparse.csr_array((links, tied, begins), shape=(count, count))
    order = csgraph.breadth_first_order(path, first[0], return_predecessors=False)
    place = np.empty(count, np.int32)
    place[order] = np.arange(count, dtype=np.int32)
    return order, np.append(place[first[1:]], count).astype(np.int64)


def _unpack(corners: Ints) -> tuple[Small, Small, UInt8]:
    """Return (w_y, w_x, kind) of corners, in as few bytes as they need: there may be millions."""
    w_y = (corners >> (KIND_BITS + COLUMN_BITS)).astype(np.int32)
    w_x = (corners >> KIND_BITS & ((1 << COLUMN_BITS) - 1)).astype(np.int32)
    return w_y, w_x, (corners & ((1 << KIND_BITS) - 1)).astype(np.uint8)


def _part_at_touches(owner: Small, w_y: Small, w_x: Small, kind: UInt8) -> UInt8:
    """Give a vertex where a shape touches itself the two turns that go around what is *outside* there.

    The outsides at such a vertex are never connected (the shape separates them), so no ring comes by twice.
    """
    same = (owner[1:] == owner[:-1]) & (w_y[1:] == w_y[:-1]) & (w_x[1:] == w_x[:-1])
    first = np.flatnonzero(same)
    falling = kind[first] == IN_SE  # the pixels in the shape are upper left and lower right
    parted = kind.copy()
    parted[first] = np.where(falling, OUT_SW, OUT_NW)
    parted[first + 1] = np.where(falling, OUT_NE, OUT_SE)
    return parted


def _link(owner: Small, w_y: Small, w_x: Small, kind: UInt8) -> Small:
    """Return the place of the corner that follows each corner along the boundary."""
    following = np.empty(len(kind), np.int32)
    sideways = LEAVES_SIDEWAYS[kind]
    in_columns = sorted_by(owner, w_x, w_y, GOES_DOWN[kind])
    for order, leaves in ((np.arange(len(kind)), sideways), (in_columns, ~sideways)):
        one, other = order[::2], order[1::2]
        forward = leaves[one]
        following[np.where(forward, one, other)] = np.where(forward, other, one)
    return following


def sorted_by(*keys: NDArray[np.integer] | Bools) -> Ints:
    """Return the order of several keys, the first one counting most.

    With their places behind them they are sorted as one number if 63 bits hold it: several times as fast as one after
    the other, and numbers sort faster than an order is found.
    """
    count = len(keys[0])
    if not count:
        return np.empty(0, np.int64)
    ranges = [(int(key.min()), int(key.max())) for key in keys]
    bits = [(most - least).bit_length() for least, most in ranges]
    place_bits = count.bit_length()
    if sum(bits) + place_bits > 63:
        return np.lexsort(keys[::-1])
    packed = np.zeros(count, np.int64)
    for key, (least, _), width in zip(keys, ranges, bits, strict=True):
        packed <<= width
        packed |= key.astype(np.int64) - least
    packed <<= place_bits
    packed |= np.arange(count)
    packed.sort()
    packed &= (1 << place_bits) - 1
    return packed
