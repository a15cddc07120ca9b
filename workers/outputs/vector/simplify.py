"""Borders made simpler: fewer of their vertices, none farther from the exact border than a step, nothing torn.

Each border goes through Douglas-Peucker by itself, so shapes that share it go on sharing it, and what it leaves out is
bounded by construction: every vertex left out lies within the step of the edge that replaces its stretch, and every
point of that edge within the step of the stretch. That alone could make borders cross, or pull an edge over a small
shape beside it. Such edges are sought, and their stretches simplified anew with a smaller step, at last kept exact,
until there is none.

Why this is enough: in the end no two edges meet but at vertices they share, so every ring is simple, and no vertex
that is kept has changed sides of a ring. Shapes, holes and neighbours are therefore those of the exact borders.
"""

import numpy as np
import shapely

from workers.outputs.vector.borders import Bools, Borders, spans
from workers.outputs.vector.contours import Ints

PIECE_VERTICES = 512
"""Borders are cut so short for Douglas-Peucker: its time grows with the square, its recursion with the length."""
CLEARANCE_PX = 0.01
"""Edges that come nearer than this count as meeting: coordinates are rounded to decimals when they are written."""
SMALLEST_STEP_PX = 0.25
"""Below this every vertex of a border along the pixel grid stays, so there is no use in trying."""
EDGES_AT_ONCE = 2**18


def simplify(borders: Borders, step_px: float) -> Bools:
    """Choose the vertices of borders that are kept.

    Args:
        borders: Exact borders.
        step_px: Farthest distance between a border and what is left of it, working px.

    Returns:
        For each vertex of the borders whether it is kept. Junctions always are.
    """
    kept = np.zeros(len(borders.w_x), bool)
    first, last = _pieces(borders)
    kept[first] = kept[last] = True
    kept[_chosen(borders, first, last, step_px)] = True
    seen = np.zeros_like(kept)
    while True:
        begin, end = _edges(borders, kept)
        is_new = ~(seen[begin] & seen[end])
        wrong = _meet(borders, begin, end, is_new) | _jump(borders, begin, end)
        wrong &= end - begin > 1
        if not wrong.any():
            return kept
        seen = kept.copy()
        seen[begin[wrong]] = False  # what the next step does not change is still wrong
        step_px /= 2
        if step_px >= SMALLEST_STEP_PX:
            kept[_chosen(borders, begin[wrong], end[wrong], step_px)] = True
        else:
            kept[spans(begin[wrong], end[wrong])[0]] = True


def _pieces(borders: Borders) -> tuple[Ints, Ints]:
    """Return the first and the last vertex of the pieces that all borders are cut into."""
    lengths = np.diff(borders.begins) - 1
    counts = -(-lengths // PIECE_VERTICES)
    border = np.repeat(np.arange(len(lengths)), counts)
    number, _ = spans(np.zeros_like(counts), counts)
    first = borders.begins[border] + number * PIECE_VERTICES
    return first, np.minimum(first + PIECE_VERTICES, borders.begins[border + 1] - 1)


def _chosen(borders: Borders, first: Ints, last: Ints, step_px: float) -> Ints:
    """Return the vertices that Douglas-Peucker keeps of the stretches first … last."""
    places, begins = spans(first, last + 1)
    vertices = np.column_stack([borders.w_x[places], borders.w_y[places], places]).astype(np.float64)
    lines = shapely.linestrings(vertices, indices=np.repeat(np.arange(len(first)), np.diff(begins)))
    fewer = shapely.simplify(lines, step_px, preserve_topology=False)
    chosen: Ints = shapely.get_coordinates(fewer, include_z=True)[:, 2].astype(np.int64)
    return chosen


def _edges(borders: Borders, kept: Bools) -> tuple[Ints, Ints]:
    """Return the vertices that each edge goes from and to."""
    places = np.flatnonzero(kept)
    ends_border = np.zeros(len(kept), bool)
    ends_border[borders.begins[1:] - 1] = True
    inside = ~ends_border[places[:-1]]
    return places[:-1][inside], places[1:][inside]


def _meet(borders: Borders, begin: Ints, end: Ints, is_new: Bools) -> Bools:
    """Return which edges meet others elsewhere than at one vertex that both end at, or are none.

    Pairs of edges that are both not new are left out: they were looked at before.
    """
    one, other = _positions(borders, begin), _positions(borders, end)
    wrong: Bools = (one == other).all(axis=1)
    edges = shapely.linestrings(np.stack([one, other], axis=1))
    tree = shapely.STRtree(edges)
    new = np.flatnonzero(is_new)
    for at in range(0, len(new), EDGES_AT_ONCE):
        left, right = tree.query(edges[new[at : at + EDGES_AT_ONCE]], predicate="dwithin", distance=CLEARANCE_PX)
        left = new[left + at]
        once = (left < right) | ~is_new[right]
        left, right = left[once], right[once]
        bad = ~_only_share_a_vertex((one[left], other[left]), (one[right], other[right]))
        wrong[left[bad]] = wrong[right[bad]] = True
    return wrong


def _only_share_a_vertex(left: tuple[Ints, Ints], right: tuple[Ints, Ints]) -> Bools:
    """Return which pairs of edges have one end in common and part from there."""
    fine = np.zeros(len(left[0]), bool)
    for near, far in (left, left[::-1]):
        for near_too, far_too in (right, right[::-1]):
            ahead, ahead_too = (far - near).astype(np.float64), (far_too - near_too).astype(np.float64)
            cross = ahead[:, 0] * ahead_too[:, 1] - ahead[:, 1] * ahead_too[:, 0]
            longer = np.maximum(np.hypot(*ahead.T), np.hypot(*ahead_too.T))
            parts = (np.abs(cross) > CLEARANCE_PX * longer) | ((ahead * ahead_too).sum(axis=1) < 0)
            same = (near == near_too).all(axis=1) & (far != far_too).any(axis=1)
            fine |= same & parts
    return fine


def _jump(borders: Borders, begin: Ints, end: Ints) -> Bools:
    """Return which edges have a kept vertex of another border on their other side than the stretch they replace."""
    wrong = np.zeros(len(begin), bool)
    shorter = np.flatnonzero(end - begin > 1)
    ends = np.concatenate([begin, end])
    tree = shapely.STRtree(shapely.points(np.unique(_positions(borders, ends), axis=0)))
    for at in range(0, len(shorter), EDGES_AT_ONCE):
        edges = shorter[at : at + EDGES_AT_ONCE]
        places, begins = spans(begin[edges], end[edges] + 1)
        owner = np.repeat(np.arange(len(edges)), np.diff(begins))
        between = shapely.polygons(shapely.linearrings(_positions(borders, places), indices=owner))
        wrong[edges[tree.query(between, predicate="contains")[0]]] = True
    return wrong


def _positions(borders: Borders, places: Ints) -> Ints:
    return np.column_stack([borders.w_x[places], borders.w_y[places]]).astype(np.int64)
