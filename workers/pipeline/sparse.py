"""Arrays of the working plane as their readers see them, and which parts of them are known to be empty."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import zarr


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

    Args:
        array: An array of the working plane.
        landed: (row, column) of each chunk that is there.
    """

    array: "zarr.Array[Any]"
    landed: frozenset[tuple[int, int]]

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width) in working px."""
        return self.array.shape

    @property
    def chunks(self) -> tuple[int, ...]:
        """(height, width) of a chunk in working px."""
        return self.array.chunks

    def __getitem__(self, key: Any) -> Any:
        """Return the pixels of a pair of slices."""
        spans = [range(length)[part] for part, length in zip(key, self.shape, strict=True)]
        if all(spans) and not self.holds_any(*((span[0], span[-1] + 1) for span in spans)):
            return np.zeros([len(span) for span in spans], self.array.dtype)
        return self.array[key]

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
