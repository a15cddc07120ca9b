"""Boundaries of shapes → borders: stretches that run from junction to junction, each of them once.

A border that two shapes share is one border with two uses, so whatever is done to its vertices happens to both. All
coordinates are working corners. The start of a ring counts as a junction too: then every ring is whole borders.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.outputs.vector.contours import COLUMN_BITS, Ints, Outlines, Small

Bools = NDArray[np.bool_]
JUNCTION_DEGREE = 3


@dataclass(frozen=True, slots=True)
class Rings:
    """Closed rings of vertices, one after the other, the first vertex of each not repeated.

    Args:
        w_x: Columns of the vertices.
        w_y: Rows of the vertices.
        begins: Where each ring begins, and the end of the last.
    """

    w_x: Small
    w_y: Small
    begins: Ints


@dataclass(frozen=True, slots=True)
class Borders:
    """Borders, one after the other, with both junctions of each, and how the rings consist of them.

    Args:
        w_x: Columns of the vertices.
        w_y: Rows of the vertices.
        begins: Where each border begins, and the end of the last.
        uses: Which border comes next, through all rings.
        forward: Whether it is used in its own direction.
        first_uses: The first use of each ring, and the number of uses.
    """

    w_x: Small
    w_y: Small
    begins: Ints
    uses: Ints
    forward: Bools
    first_uses: Ints


def join(outlines: Iterable[Outlines]) -> tuple[Rings, Ints]:
    """Put outlines one after the other; return their rings, and where the first ring of each shape is, and the end."""
    w_x, w_y = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    lengths, rings = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    for each in outlines:
        w_x.append(each.w_x)
        w_y.append(each.w_y)
        lengths.append(np.diff(each.ends, prepend=0))
        rings.append(np.diff(each.firsts))
    begins, firsts = np.cumsum(np.concatenate(lengths)), np.cumsum(np.concatenate(rings))
    return Rings(np.concatenate(w_x), np.concatenate(w_y), begins), firsts


def part(rings: Rings, firsts: Ints) -> Outlines:
    """Return the outlines of some shapes again: those with these first rings, the end included."""
    begin = rings.begins[firsts[0]]
    place = slice(begin, rings.begins[firsts[-1]])
    ends = rings.begins[firsts[0] + 1 : firsts[-1] + 1] - begin
    return Outlines(rings.w_x[place], rings.w_y[place], ends, firsts - firsts[0])


def cut(exact: Rings) -> Borders:
    """Cut rings at their junctions.

    Args:
        exact: Boundaries of shapes along the pixel grid, corners only.
    """
    corners = np.unique(_key(exact.w_y, exact.w_x))
    rings = _with_junctions(exact, corners)
    vertex = np.searchsorted(corners, _key(rings.w_y, rings.w_x))
    following = _following(rings)
    leaves = _direction(rings, following)
    back = np.empty_like(leaves)  # the direction in which each vertex lies that the ring comes from
    back[following] = (leaves + 2) % 4

    used = np.zeros((len(corners), 4), bool)
    used[vertex, leaves] = used[vertex, back] = True
    is_junction = used.sum(axis=1) >= JUNCTION_DEGREE
    is_junction[vertex[rings.begins[:-1]]] = True

    start = np.flatnonzero(is_junction[vertex])
    last = np.append(start[1:], len(vertex))[: len(start)] - 1  # the last vertex before the other junction
    end = following[last]
    start_id, end_id = vertex[start] * 4 + leaves[start], vertex[end] * 4 + back[end]
    _, first, uses = np.unique(np.minimum(start_id, end_id), return_index=True, return_inverse=True)
    places, begins = spans(start[first], last[first] + 2)
    places[begins[1:] - 1] = end[first]
    return Borders(
        rings.w_x[places],
        rings.w_y[places],
        begins,
        uses,
        start_id == start_id[first][uses],
        np.searchsorted(start, rings.begins),
    )


def assemble(borders: Borders, kept: Bools) -> Rings:
    """Return the rings again, with those vertices of the borders that are kept.

    Args:
        borders: What `cut` gave.
        kept: For each vertex of the borders; the junctions are kept.
    """
    places = np.flatnonzero(kept)
    before = np.searchsorted(places, borders.begins)
    begin, end = before[:-1][borders.uses], before[1:][borders.uses]
    order, begins = spans(begin, end - 1)
    owner = np.repeat(np.arange(len(borders.uses)), np.diff(begins))
    backward = ~borders.forward[owner]
    order[backward] = (begin + end - 1)[owner[backward]] - order[backward]
    chosen = places[order]
    return Rings(borders.w_x[chosen], borders.w_y[chosen], begins[borders.first_uses])


def spans(begin: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Return begin[0] … end[0] - 1, begin[1] … end[1] - 1, …, and where each of these spans begins, and the end."""
    begins = np.append(0, np.cumsum(end - begin))
    return np.arange(begins[-1]) + np.repeat(begin - begins[:-1], end - begin), begins


def _key(high: Small, low: Small) -> Ints:
    key: Ints = high.astype(np.int64) << COLUMN_BITS | low
    return key


def _following(rings: Rings) -> Ints:
    following = np.arange(1, len(rings.w_x) + 1)
    following[rings.begins[1:] - 1] = rings.begins[:-1]
    return following


def _direction(rings: Rings, following: Ints) -> Ints:
    """Return where each vertex is left to: 0 to the right, 1 down, 2 to the left, 3 up."""
    step_x = rings.w_x[following] - rings.w_x
    step_y = rings.w_y[following] - rings.w_y
    direction: Ints = np.where(step_y == 0, np.where(step_x > 0, 0, 2), np.where(step_y > 0, 1, 3))
    return direction


def _with_junctions(rings: Rings, by_row: Ints) -> Rings:
    """Put in the corners of others that lie on straight edges: there the shapes on the other side change."""
    by_column = np.sort((by_row & ((1 << COLUMN_BITS) - 1)) << COLUMN_BITS | by_row >> COLUMN_BITS)
    following = _following(rings)
    begin, end = np.empty((2, len(following)), np.int64)
    grows = np.empty(len(following), bool)
    is_row = rings.w_y == rings.w_y[following]
    for chosen, corners, high, low in (
        (is_row, by_row, rings.w_y, rings.w_x),
        (~is_row, by_column, rings.w_x, rings.w_y),
    ):
        one, other = _key(high[chosen], low[chosen]), _key(high[chosen], low[following[chosen]])
        begin[chosen] = np.searchsorted(corners, np.minimum(one, other), side="right")
        end[chosen] = np.searchsorted(corners, np.maximum(one, other), side="left")
        grows[chosen] = one < other
    order, begins = spans(begin, end)
    owner = np.repeat(np.arange(len(begin)), end - begin)
    falls = ~grows[owner]
    order[falls] = (begin + end - 1)[owner[falls]] - order[falls]
    key = np.where(is_row[owner], by_row[order], by_column[order])
    high, low = (key >> COLUMN_BITS).astype(np.int32), (key & ((1 << COLUMN_BITS) - 1)).astype(np.int32)
    at = owner + 1
    return Rings(
        np.insert(rings.w_x, at, np.where(is_row[owner], low, high)),
        np.insert(rings.w_y, at, np.where(is_row[owner], high, low)),
        rings.begins + begins[rings.begins],
    )
