"""A plane and what its pixels weigh, in bands of rows from top to bottom; each chunk is decoded once.

Bands of a wide plane are lower than its chunks. So blocks as high as a chunk are looked at from left to right, in a
thread that is a little ahead, and cut into strips that are kept packed until the bands come up that they are a part of.
Weights are kept where something lies, and are 0 elsewhere: nobody sums them there, and nothing packs better.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from workers.pipeline.inference import read_ahead
from workers.pipeline.sparse import PlaneArray, is_empty

BLOCK_PX = 1024
"""Least width of a block."""

Values = NDArray[np.unsignedinteger]
Weigh = Callable[[int, int, Values], Sequence[Values]]
"""Gives the weights of a block that holds something, from its first row and column and its values."""


class _Block(NamedTuple):
    """Where a block lies: its first row and column, and where it ends."""

    w_y: int
    w_x: int
    bottom: int
    right: int


class _Strip(NamedTuple):
    """A part of a block, packed: the column at which it begins, and what it was."""

    w_x: int
    shape: tuple[int, ...]
    kind: "np.dtype[Any]"
    packed: bytes


@dataclass
class Band:
    """Rows of the plane.

    Args:
        rows: How many.
        width: Of the plane.
        kind: Of its values.
        strips: What lies in it: of the values, then of each weight.
    """

    rows: int
    width: int
    kind: "np.dtype[Any]"
    strips: list[list[_Strip]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether all values are 0."""
        return not any(self.strips)

    def values(self) -> Values:
        """Return the values, (rows, width)."""
        return self._laid(self.strips[0] if self.strips else [], self.kind)

    def weights(self, count: int) -> list[Values | None]:
        """Return the weights, (rows, width) each; None for those that are 0 everywhere."""
        kept = self.strips[1:] or [[]] * count
        return [self._laid(strips, strips[0].kind) if strips else None for strips in kept]

    def add(self, w_x: int, planes: Sequence[Values]) -> None:
        """Take values and weights, (rows, columns) each, that begin at a column."""
        if not planes[0].any():
            return
        self.strips = self.strips or [[] for _ in planes]
        for strips, plane in zip(self.strips, planes, strict=True):
            if plane.any():
                packed = bytes(imagecodecs.lz4_encode(plane.tobytes()))
                strips.append(_Strip(w_x, plane.shape, plane.dtype, packed))

    def _laid(self, strips: Sequence[_Strip], kind: "np.dtype[Any]") -> Values:
        out = np.zeros((self.rows, self.width), kind)
        for w_x, shape, _, packed in strips:
            pixels = imagecodecs.lz4_decode(packed, out=shape[0] * shape[1] * kind.itemsize)
            out[:, w_x : w_x + shape[1]] = np.frombuffer(pixels, kind).reshape(shape)
        return out


def bands(plane: PlaneArray, kind: "np.dtype[Any]", rows: int, weigh: Weigh) -> Generator[Band]:
    """Yield all bands of a plane.

    Args:
        plane: An array of the working plane.
        kind: Of its values.
        rows: Of a band: see `workers.pipeline.stitch.band_height`.
        weigh: Called in a thread of this function alone, block by block, a little ahead.
    """
    width = plane.shape[1]
    high = -(-rows // plane.chunks[0]) * plane.chunks[0]

    def look(block: _Block | None) -> list[Values]:
        if block is None:
            return []
        values = np.asarray(plane[block.w_y : block.bottom, block.w_x : block.right])
        inside = values != 0
        return [values, *(each * inside for each in weigh(block.w_y, block.w_x, values))] if inside.any() else []

    laid: list[Band] = []
    with closing(read_ahead(look, _blocks(plane, high))) as found:
        for block, planes in found:
            if block is None:
                yield from laid
                laid = []
                continue
            if not laid:
                tops = range(block.w_y, block.bottom, rows)
                laid = [Band(min(rows, block.bottom - top), width, kind) for top in tops]
            if planes:
                for number, band in enumerate(laid):
                    band.add(block.w_x, [each[number * rows :][: band.rows] for each in planes])


def _blocks(plane: PlaneArray, high: int) -> Iterator[_Block | None]:
    """Yield the blocks of a plane that may hold something, and the first of each row of them; None after each row."""
    height, width = plane.shape
    wide = -(-BLOCK_PX // plane.chunks[1]) * plane.chunks[1]
    for w_y in range(0, height, high):
        for w_x in range(0, width, wide):
            block = _Block(w_y, w_x, min(w_y + high, height), min(w_x + wide, width))
            if w_x == 0 or not is_empty(plane, (w_y, block.bottom), (w_x, block.right)):
                yield block
        yield None
