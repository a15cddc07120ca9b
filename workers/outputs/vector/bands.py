"""A plane and what its pixels weigh, in bands of rows from top to bottom; each chunk is decoded once.

Bands of a wide plane are lower than its chunks. So blocks as high as a chunk are looked at from left to right, in a
thread that is a little ahead, and cut into strips that are kept packed until the bands come up that they are a part of.
Of the weights the sums over the runs in each row are kept: that is all that is asked of them.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from workers.outputs.vector.runs import RunSums, Values, joined
from workers.pipeline.inference import read_ahead
from workers.pipeline.sparse import PlaneArray, is_empty

BLOCK_PX = 1024
"""Least width of a block."""

Weigh = Callable[[int, int, Values], Sequence[Values]]
"""Gives the weights of a block that holds something, from its first row and column and its values."""


class _Block(NamedTuple):
    """Where a block lies: its first row and column, and where it ends."""

    w_y: int
    w_x: int
    bottom: int
    right: int


class _Strip(NamedTuple):
    """A part of a block, whose column and row it begins at: its values, packed, and what its runs weigh."""

    w_x: int
    top: int
    columns: int
    packed: bytes
    runs: RunSums


@dataclass
class Band:
    """Rows of the plane.

    Args:
        rows: How many.
        width: Of the plane.
        kind: Of its values.
        strips: What lies in it.
    """

    rows: int
    width: int
    kind: "np.dtype[Any]"
    strips: list[_Strip] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether all values are 0."""
        return not self.strips

    def values(self) -> Values:
        """Return the values, (rows, width)."""
        out = np.zeros((self.rows, self.width), self.kind)
        for w_x, _, columns, packed, _ in self.strips:
            pixels = imagecodecs.lz4_decode(packed, out=self.rows * columns * self.kind.itemsize)
            out[:, w_x : w_x + columns] = np.frombuffer(pixels, self.kind).reshape(self.rows, columns)
        return out

    def runs(self, weights: int) -> RunSums:
        """Return what the runs of the rows weigh; one that reaches into several blocks is several runs."""
        return joined([RunSums.none(weights), *(each.runs.moved(-each.top, each.w_x) for each in self.strips)])

    def add(self, w_x: int, top: int, values: Values, runs: RunSums) -> None:
        """Take the rows from `top` on of a block that begins at a column.

        Args:
            w_x: The column.
            top: Row of the block.
            values: The block.
            runs: What its runs weigh.
        """
        rows = slice(top, top + self.rows)
        mine = runs.rows(rows.start, rows.stop)
        if len(mine):
            packed = bytes(imagecodecs.lz4_encode(values[rows].tobytes()))
            self.strips.append(_Strip(w_x, top, values.shape[1], packed, mine))


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

    def look(block: _Block | None) -> tuple[Values, RunSums] | None:
        if block is None:
            return None
        values = np.asarray(plane[block.w_y : block.bottom, block.w_x : block.right])
        return (values, RunSums.of(values, weigh(block.w_y, block.w_x, values))) if values.any() else None

    laid: list[Band] = []
    with closing(read_ahead(look, _blocks(plane, high))) as found:
        for block, seen in found:
            if block is None:
                yield from laid
                laid = []
                continue
            if not laid:
                tops = range(block.w_y, block.bottom, rows)
                laid = [Band(min(rows, block.bottom - top), width, kind) for top in tops]
            if seen is not None:
                values, runs = seen
                for top, band in zip(range(0, len(values), rows), laid, strict=True):
                    band.add(block.w_x, top, values, runs)


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
