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
            chunk: NDArray[Any] = np.empty(self.chunks, self.array.dtype)
            if not self._decode(row, col, chunk):
                chunk[:] = 0
            return chunk[there, across]
        out = np.zeros((len(rows), len(columns)), self.array.dtype)
        chunk = np.empty(self.chunks, self.array.dtype)  # one for all: new memory costs more than decoding
        for (row, down, there), (col, right, across) in cells:
            if self._decode(row, col, chunk):
                out[down, right] = chunk[there, across]
        return out

    def _decode(self, row: int, col: int, out: NDArray[Any]) -> bool:
        """Decode a chunk, whole also where the plane ends earlier; say whether there is one.

        Raises:
            ValueError: It is shorter than a chunk.
        """
        if (row, col) not in self.landed:
            return False
        try:
            packed = (self.folder / str(row) / str(col)).read_bytes()
        except FileNotFoundError:  # as Zarr has it: a chunk that is not there holds nothing
            return False
        found = len(imagecodecs.zstd_decode(packed, out=out.data.cast("B")))
        if found != out.nbytes:
            message = f"chunk {row}/{col} of {self.folder} holds {found} bytes; it must be {out.nbytes}"
            raise ValueError(message)
        return True

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
