"""Rows of labels or objects → connected shapes with exact boundaries, in one pass from top to bottom.

A shape is a 4-connected set of pixels of one value other than 0: of a class, or of an object's number. Rows come in
bands of any height; what is known of a shape that still touches the last row is carried on, the others are given out.
Nothing depends on the height of the bands: shapes come ordered by (last row, first pixel), and their boundaries hold
corners only, so a seam leaves no trace.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workers.outputs.vector.contours import (
    IN_NE,
    IN_NW,
    IN_SE,
    IN_SW,
    OUT_NE,
    OUT_NW,
    OUT_SE,
    OUT_SW,
    Bools,
    Ints,
    Shapes,
    pack,
    sorted_by,
)
from workers.outputs.vector.runs import RunSums, Values


@dataclass(slots=True)
class _Open:
    """A shape that touches the last row seen."""

    pixels: int = 0
    sums: Ints | int = 0
    corners: list[Ints] = field(default_factory=list)

    def absorb(self, other: "_Open") -> None:
        """Take over the other's pixels and corners; the longer list of corners is kept, the shorter one copied."""
        self.pixels += other.pixels
        self.sums = self.sums + other.sums
        if len(other.corners) > len(self.corners):
            self.corners, other.corners = other.corners, self.corners
        self.corners += other.corners


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of one value in the rows of a band with its margins, and the part of a shape each one belongs to."""

    start: Ints
    value: Values
    part: Ints
    """Part of each run, 0 … n_parts - 1; -1 for background."""
    n_parts: int

    def part_at(self, place: Ints) -> Ints:
        """Return the parts of the pixels at flat places."""
        found: Ints = self.part[np.searchsorted(self.start, place, side="right") - 1]
        return found


class Tracer:
    """Takes the rows of a plane from top to bottom and gives out the shapes that are finished.

    Args:
        w_width: Width of the plane in working px.
        weights: How many weights a pixel has, the confidence first: they are summed over each shape.
    """

    def __init__(self, w_width: int, weights: int = 1) -> None:
        self._width = w_width
        self._weights = weights
        self._next_row = 0
        self._last: Values = np.zeros(w_width + 2, np.uint8)  # the row above, with a margin of background on both sides
        self._ids: Ints = np.empty(0, np.int64)  # open shape of each run of that row, from left to right
        self._open: dict[int, _Open] = {}

    def feed(self, labels: Values, weighed: RunSums) -> Shapes:
        """Take the next rows and return the shapes that end in them.

        Args:
            labels: (rows, w_width); uint8 or uint32, the same in all rows.
            weighed: What the px of these rows weigh; their runs, or parts of these, in any order.
        """
        band = np.zeros((len(labels) + 1, self._width + 2), labels.dtype)
        band[0] = self._last
        band[1:, 1:-1] = labels
        across = band[:, 1:] != band[:, :-1]  # an edge left of the pixel
        down = band[1:] != band[:-1]  # an edge above the pixel
        turning = across[1:] | across[:-1]
        runs = _label(band, across, _touching(band, turning, down), self._ids)
        pixels, sums, last_row = self._measure(runs, len(labels), weighed)
        part, corner = _corners(band, np.flatnonzero(turning & (down[:, :-1] | down[:, 1:])), runs, self._next_row)

        carried = self._carry(runs, pixels, sums)
        last_place = len(labels) * band.shape[1]
        bottom = (runs.start >= last_place) & (runs.part >= 0)
        is_open = np.zeros(runs.n_parts, bool)
        is_open[runs.part[bottom]] = True
        values = np.zeros(runs.n_parts, labels.dtype)
        values[runs.part[runs.part >= 0]] = runs.value[runs.part >= 0]

        self._open = self._keep(is_open, carried, pixels, sums, part, corner)
        self._ids = runs.part[bottom]
        self._last = band[-1]
        self._next_row += len(labels)
        return _finish(~is_open, carried, (values, pixels, sums, last_row), (part, corner))

    @property
    def is_idle(self) -> bool:
        """Whether no shape touches the last row seen."""
        return not self._open

    def skip(self, rows: int) -> None:
        """Take so many rows of background; only while no shape is open."""
        self._next_row += rows

    def finish(self) -> Shapes:
        """Return the shapes that touch the last row of the plane."""
        return self.feed(np.zeros((1, self._width), self._last.dtype), RunSums.none(self._weights))

    def _measure(self, runs: _Runs, height: int, weighed: RunSums) -> tuple[Ints, Ints, Ints]:
        """Return (pixels, sums of weights, last row) of each part, the row above left out of the first two."""
        stride = self._width + 2
        seen = (runs.part >= 0) & (runs.start >= stride)
        ends = np.append(runs.start[1:], (height + 1) * stride)
        rows = runs.start[seen] // stride
        length = (ends - runs.start)[seen]
        part = runs.part[seen]
        owner = runs.part_at((weighed.row.astype(np.int64) + 1) * stride + weighed.column + 1)
        sums = np.array([_total(owner, each, runs.n_parts) for each in weighed.sums])
        last_row = np.full(runs.n_parts, self._next_row - 1, np.int64)
        np.maximum.at(last_row, part, rows - 1 + self._next_row)
        return _total(part, length, runs.n_parts), sums, last_row

    def _carry(self, runs: _Runs, pixels: Ints, sums: Ints) -> dict[int, _Open]:
        """Return what was known of the parts that reach into the row above, and add it to their numbers."""
        carried: dict[int, _Open] = {}
        above = runs.part[: np.searchsorted(runs.start, self._width + 2)]
        for part, shape_id in sorted(set(zip(above[above >= 0].tolist(), self._ids.tolist(), strict=True))):
            if part in carried:
                carried[part].absorb(self._open[shape_id])
            else:
                carried[part] = self._open[shape_id]
        for part, known in carried.items():
            pixels[part] += known.pixels
            sums[:, part] += known.sums
        return carried

    def _keep(
        self, is_open: Bools, carried: dict[int, _Open], pixels: Ints, sums: Ints, part: Ints, corner: Ints
    ) -> dict[int, _Open]:
        """Return the open parts with the corners this band adds to them."""
        kept = {part_id: carried.pop(part_id, _Open()) for part_id in np.flatnonzero(is_open).tolist()}
        for part_id, shape in kept.items():
            shape.pixels, shape.sums = int(pixels[part_id]), sums[:, part_id].copy()
        mine = np.flatnonzero(is_open[part])
        mine = mine[np.argsort(part[mine], kind="stable")]
        owners, first = np.unique(part[mine], return_index=True)
        for owner, places in zip(owners.tolist(), np.split(mine, first[1:]), strict=False):
            kept[owner].corners.append(corner[places])
        return kept


def connected(count: int, left: Ints, right: Ints) -> Ints:
    """Return the smallest node that each of `count` nodes is connected to by the edges `left` – `right`.

    Every round hooks each root onto its smallest neighbour, so rounds grow with the logarithm of the nodes.
    """
    root = np.arange(count)
    while True:
        left, right = root[left], root[right]
        apart = left != right
        if not apart.any():
            return root
        left, right = left[apart], right[apart]
        np.minimum.at(root, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(root, above := root[root]):
            root = above


def _total(group: Ints, amount: NDArray[np.integer], count: int) -> Ints:
    """Sum per group; exact, since no sum reaches 2**53."""
    return np.bincount(group, weights=amount, minlength=count).astype(np.int64)


def _touching(band: Values, turning: Bools, down: Bools) -> Ints:
    """Return flat places of pixels equal to the one above, one at least for each pair of runs that touch."""
    row, column = np.divmod(np.flatnonzero(turning & ~down[:, 1:]), turning.shape[1])
    place = (row + 1) * band.shape[1] + column + 1
    touching: Ints = place[band.ravel()[place] != 0]
    return touching


def _label(band: Values, across: Bools, touching: Ints, ids: Ints) -> _Runs:
    """Find the runs of a band and join them into parts; `ids` says which runs of the row above are one shape."""
    stride = band.shape[1]
    edge = np.flatnonzero(across)
    start = np.append(0, edge + edge // (stride - 1) + 1)
    value = band.ravel()[start]
    lower = np.searchsorted(start, touching, side="right") - 1
    upper = np.searchsorted(start, touching - stride, side="right") - 1
    above = np.flatnonzero(value[: np.searchsorted(start, stride)])
    by_id = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[by_id][1:] == ids[by_id][:-1])
    root = connected(
        len(start),
        np.concatenate([lower, above[by_id[same]]]),
        np.concatenate([upper, above[by_id[same + 1]]]),
    )
    inside = value != 0
    roots = np.flatnonzero(inside & (root == np.arange(len(root))))
    part = np.full(len(start), -1, np.int64)
    part[roots] = np.arange(len(roots))
    part[inside] = part[root[inside]]
    return _Runs(start, value, part, len(roots))


def _corners(band: Values, turns: Ints, runs: _Runs, first_row: int) -> tuple[Ints, Ints]:
    """Return (part, corner) of every corner at the candidate vertices `turns` (flat over rows and w_width + 1)."""
    stride = band.shape[1]
    row, column = np.divmod(turns, stride - 1)
    north_west = row * stride + column
    places = {"nw": north_west, "ne": north_west + 1, "sw": north_west + stride, "se": north_west + stride + 1}
    pixel = {name: band.ravel()[place] for name, place in places.items()}
    opposite = {"nw": "se", "se": "nw", "ne": "sw", "sw": "ne"}
    parts, corners = [], []
    for name, kind_in, kind_out in (
        ("se", IN_SE, OUT_SE),
        ("sw", IN_SW, OUT_SW),
        ("nw", IN_NW, OUT_NW),
        ("ne", IN_NE, OUT_NE),
    ):
        here, across = pixel[name], pixel[opposite[name]]
        beside = [pixel[other] for other in pixel if other not in (name, opposite[name])]
        alone = (here != 0) & (here != beside[0]) & (here != beside[1])
        missing = (across != 0) & (across == beside[0]) & (across == beside[1]) & (across != here)
        for chosen, place, kind in ((alone, places[name], kind_in), (missing, places[opposite[name]], kind_out)):
            parts.append(runs.part_at(place[chosen]))
            corners.append(pack(row[chosen] + first_row, column[chosen], kind))
    return np.concatenate(parts), np.concatenate(corners)


def _finish(
    done: Bools, carried: dict[int, _Open], numbers: tuple[Values, Ints, Ints, Ints], new: tuple[Ints, Ints]
) -> Shapes:
    """Gather the parts that are done, in the order (last row, first corner)."""
    value, pixels, sums, last_row = numbers
    mine = done[new[0]]
    owners, corners = [new[0][mine]], [new[1][mine]]
    for part, known in carried.items():
        corners += known.corners
        owners += [np.full(len(piece), part) for piece in known.corners]
    owner, corner = np.concatenate(owners), np.concatenate(corners)
    first = np.full(len(value), np.iinfo(np.int64).max)
    np.minimum.at(first, owner, corner)
    chosen = np.flatnonzero(done)
    chosen = chosen[np.lexsort((first[chosen], last_row[chosen]))]
    rank = np.empty(len(value), np.int64)
    rank[chosen] = np.arange(len(chosen))
    order = sorted_by(rank[owner], corner)
    counts = np.bincount(rank[owner], minlength=len(chosen))
    offsets = np.append(0, np.cumsum(counts))
    return Shapes(value[chosen], pixels[chosen], sums[:, chosen], corner[order], offsets)
