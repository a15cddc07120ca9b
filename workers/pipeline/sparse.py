"""Arrays of the working plane as their readers see them, and which parts of them are known to be empty."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import imagecodecs
import numpy as np
import zarr
from numpy.typing import NDArray


class PlaneArray(Protocol):
    """What the outputs ask of an array of the working plane: a Zarr array, or anything that behaves like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width) in working px."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """(height, width) of a chunk in working px."""

    def __getitem__(self, key: Any) -> Any:
        """Return the pixels of a pair of slices."""


@dataclass(frozen=True, slots=True)
class SparseArray:
    """An array of which it is known where it has chunks: elsewhere it is 0, and reading that costs no look at a file.

    Chunks are decoded here, not by Zarr, which takes a few times as long for one.

    Args:
        array: An array of the working plane, without a fill value, its chunks packed by Zstandard alone.
        landed: (row, column) of each chunk that is there.
        folder: Where they lie, `row/column`.
    """

    array: "zarr.Array[Any]"
    landed: frozenset[tuple[int, int]]
    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width) in working px."""
        return self.array.shape

    @property
    def chunks(self) -> tuple[int, ...]:
        """(height, width) of a chunk in working px."""
        return self.array.chunks

    def __getitem__(self, key: Any) -> Any:
        """Return the pixels of a pair of slices, counted forward."""
        rows, columns = (range(length)[part] for part, length in zip(key, self.shape, strict=True))
        height, width = self.chunks
        cells = list(product(_cells(rows, height), _cells(columns, width)))
        if len(cells) == 1 and (rows.step, columns.step) == (1, 1):
            (row, _, there), (col, _, across) = cells[0]
            return self._chunk(row, col)[there, across]
        out = np.zeros((len(rows), len(columns)), self.array.dtype)
        for (row, down, there), (col, right, across) in cells:
            if (row, col) in self.landed:
                out[down, right] = self._chunk(row, col)[there, across]
        return out

    def _chunk(self, row: int, col: int) -> NDArray[Any]:
        """Return a chunk, whole also where the plane ends earlier; zeros where none is."""
        side, kind = self.chunks, self.array.dtype
        try:
            packed = (self.folder / str(row) / str(col)).read_bytes() if (row, col) in self.landed else None
        except FileNotFoundError:  # as Zarr has it: a chunk that is not there holds nothing
            packed = None
        if packed is None:
            return np.zeros(side, kind)
        pixels = imagecodecs.zstd_decode(packed, out=bytearray(side[0] * side[1] * kind.itemsize))
        return np.frombuffer(pixels, kind).reshape(side)

    def holds_any(self, rows: tuple[int, int], columns: tuple[int, int]) -> bool:
        """Whether a chunk is there that reaches into the rows and columns `[start, stop)`."""
        height, width = self.chunks
        return any(
            (row, column) in self.landed
            for row in range(rows[0] // height, -(-rows[1] // height))
            for column in range(columns[0] // width, -(-columns[1] // width))
        )


def is_empty(array: PlaneArray, rows: tuple[int, int], columns: tuple[int, int] | None = None) -> bool:
    """Whether an array is known to be 0 in the rows and columns `[start, stop)`; all columns if none are given."""
    return isinstance(array, SparseArray) and not array.holds_any(rows, columns or (0, array.shape[1]))


def _cells(span: range, side: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield, of each chunk of this side that a span reaches into, its number, the places in the span, and in itself."""
    step, at = span.step, 0
    while at < len(span):
        number = span[at] // side
        end = min(len(span), -(-((number + 1) * side - span.start) // step))
        yield number, slice(at, end), slice(span[at] - number * side, span[end - 1] - number * side + 1, step)
        at = end
