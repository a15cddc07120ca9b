"""Runs of one value in the rows of a block, and what their pixels weigh: a few bytes for each run, none for each px."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.outputs.vector.contours import Ints

Values = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class RunSums:
    """Runs of one value other than 0, none of which crosses a row, in any order.

    Args:
        row: Row in which each lies.
        column: Column at which it begins.
        sums: Of each weight, over the px of each run.
    """

    row: NDArray[np.integer]
    column: NDArray[np.integer]
    sums: tuple[NDArray[np.integer], ...]

    @classmethod
    def none(cls, weights: int) -> "RunSums":
        """Return no run, of so many weights."""
        row, column, *sums = np.empty((2 + weights, 0), np.int64)
        return cls(row, column, tuple(sums))

    @classmethod
    def of(cls, values: Values, weights: Sequence[Values]) -> "RunSums":
        """Sum weights over the runs of a block, from top to bottom and from left to right.

        Args:
            values: (rows, columns).
            weights: The same shape each; what they are where the values are 0 does not matter.
        """
        inside = values != 0
        edge = np.ones((values.shape[0], values.shape[1] + 1), bool)  # left of each px, and right of the last
        edge[:, 1:-1] = values[:, 1:] != values[:, :-1]
        begin = np.flatnonzero(edge[:, :-1] & inside)
        length = np.flatnonzero(edge[:, 1:] & inside) - begin + 1
        after, places = np.cumsum(length), np.flatnonzero(inside)

        def over_runs(weight: Values) -> Ints:
            if not weight.any():
                return np.zeros(len(begin), np.int64)
            summed = np.append(0, np.cumsum(weight.ravel()[places], dtype=np.int64))
            found: Ints = summed[after] - summed[after - length]
            return found

        row, column = np.divmod(begin, values.shape[1])
        return cls(_small(row), _small(column), tuple(_small(over_runs(each)) for each in weights))

    def rows(self, begin: int, end: int) -> "RunSums":
        """Return the runs in the rows `[begin, end)` of those of a block; rows are counted as before."""
        place = slice(*np.searchsorted(self.row, (begin, end)))
        return RunSums(self.row[place], self.column[place], tuple(each[place] for each in self.sums))

    def moved(self, rows: int, columns: int) -> "RunSums":
        """Return the runs, so many rows below and columns to the right."""
        return RunSums(self.row.astype(np.int64) + rows, self.column.astype(np.int64) + columns, self.sums)

    def __len__(self) -> int:
        return len(self.row)


def _small(numbers: Ints) -> NDArray[np.integer]:
    """Return numbers, none below 0, in as few bytes as they need: there may be as many as px."""
    return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))


def joined(parts: Sequence[RunSums]) -> RunSums:
    """Return the runs of several, one at least; their sums become int64."""
    row, column, *sums = (
        np.concatenate(each, dtype=np.int64)
        for each in zip(*((part.row, part.column, *part.sums) for part in parts), strict=True)
    )
    return RunSums(row, column, tuple(sums))
