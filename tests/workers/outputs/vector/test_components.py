"""Shapes against a flood fill: the same pixels, whatever the height of the bands they came in."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from workers.outputs.vector.components import Tracer, connected
from workers.outputs.vector.contours import Shapes, outlines
from workers.outputs.vector.runs import RunSums

UInt8 = NDArray[np.uint8]
Ring = list[tuple[int, int]]
Shape = tuple[int, int, int, list[Ring]]


def planes(largest: int, classes: int) -> st.SearchStrategy[UInt8]:
    sides = st.tuples(st.integers(1, largest), st.integers(1, largest))
    return sides.flatmap(lambda shape: npst.arrays(np.uint8, shape, elements=st.integers(0, classes)))


def trace(labels: UInt8, confidence: UInt8, rows: int) -> list[Shape]:
    """Return (value, pixels, confidence, rings) of all shapes, traced `rows` rows at a time."""
    tracer = Tracer(labels.shape[1])
    found: list[Shape] = []
    for top in range(0, len(labels), rows):
        found += unpacked(feed(tracer, labels[top : top + rows], confidence[top : top + rows]))
    found += unpacked(tracer.finish())
    return found


def feed(tracer: Tracer, labels: UInt8, confidence: UInt8) -> Shapes:
    return tracer.feed(labels, RunSums.of(labels, (confidence,)))


def unpacked(shapes: Shapes) -> Iterator[Shape]:
    numbers = zip(shapes.value.tolist(), shapes.pixels.tolist(), shapes.confidence.tolist(), strict=True)
    for (value, pixels, confidence), (w_x, w_y, ends) in zip(numbers, outlines(shapes), strict=True):
        points = list(zip(w_x.tolist(), w_y.tolist(), strict=True))
        bounds = [0, *ends.tolist()]
        yield value, pixels, confidence, [points[a:b] for a, b in pairwise(bounds)]


def flood(labels: UInt8) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the pixels of each shape of a class other than 0, keyed by its first pixel: the literal definition."""
    height, width = labels.shape
    left = {(y, x) for y in range(height) for x in range(width) if labels[y, x]}
    shapes = {}
    for first in sorted(left):
        if first not in left:
            continue
        left.remove(first)
        pixels = [first]
        for y, x in pixels:
            for beside in ((y, x + 1), (y + 1, x), (y, x - 1), (y - 1, x)):
                if beside in left and labels[beside] == labels[first]:
                    left.remove(beside)
                    pixels.append(beside)
        shapes[first] = pixels
    return shapes


def check(labels: UInt8) -> None:
    """Compare everything that is said of a plane's shapes with the flood fill."""
    confidence = np.random.default_rng(labels.size).integers(0, 256, labels.shape, dtype=np.uint8)
    shapes = trace(labels, confidence, len(labels))
    wanted = flood(labels)
    assert {(each[3][0][0][1], each[3][0][0][0]) for each in shapes} == set(wanted)
    assert len(shapes) == len(wanted)
    for value, pixels, sure, boundary in shapes:
        (w_x, w_y), *_ = boundary[0]
        mine = wanted[w_y, w_x]
        assert value == labels[w_y, w_x]
        assert pixels == len(mine)
        assert sure == sum(int(confidence[pixel]) for pixel in mine)
        polygon = shapely.Polygon(boundary[0], boundary[1:])
        assert shapely.is_valid(polygon), shapely.is_valid_reason(polygon)
        assert polygon.area == len(mine)
        # With that area, a polygon that covers the centre of each of its pixels is exactly their union.
        assert shapely.contains_xy(polygon, [x + 0.5 for _, x in mine], [y + 0.5 for y, _ in mine]).all()
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)


@given(planes(12, 2))
def test_shapes_are_those_of_a_flood_fill(labels: UInt8) -> None:
    check(labels)


@given(planes(9, 1))
def test_shapes_of_one_class_are_those_of_a_flood_fill(labels: UInt8) -> None:
    check(labels)


@given(planes(14, 2), st.integers(1, 5))
def test_bands_leave_no_trace(labels: UInt8, rows: int) -> None:
    confidence = labels * np.uint8(50) + np.uint8(1)
    assert trace(labels, confidence, rows) == trace(labels, confidence, len(labels))


@given(planes(14, 2), st.integers(1, 5), st.integers(0, 14), st.integers(0, 14))
def test_bands_of_background_may_be_skipped_while_no_shape_is_open(
    labels: UInt8, rows: int, top: int, end: int
) -> None:
    labels[:top] = labels[end:] = 0
    confidence = labels * np.uint8(50) + np.uint8(1)
    tracer = Tracer(labels.shape[1])
    found: list[Shape] = []
    for first in range(0, len(labels), rows):
        band = labels[first : first + rows]
        if tracer.is_idle and not band.any():
            tracer.skip(len(band))
        else:
            found += unpacked(feed(tracer, band, confidence[first : first + rows]))
    assert [*found, *unpacked(tracer.finish())] == trace(labels, confidence, len(labels))


PICTURES = {
    "diagonal touch of two shapes": ["1.", ".1"],
    "diagonal touch within one shape": ["11.", "1.1", "111"],
    "two holes that touch at a corner": ["11111", "1.111", "11.11", "11111"],
    "hole that touches the outside at a corner": ["111.", "1.11", "1111"],
    "shape in a hole in a shape": ["1111111", "1.....1", "1.222.1", "1.2.2.1", "1.222.1", "1.....1", "1111111"],
    "chessboard": ["1212121", "2121212", "1212121", "2121212"],
    "comb whose teeth join in the last row": ["1.1.1.1", "1.1.1.1", "1.1.1.1", "1111111"],
    "comb whose teeth part after the first row": ["1111111", "1.1.1.1", "1.1.1.1", "1.1.1.1"],
    "spiral": ["1111111", "......1", "11111.1", "1...1.1", "1.111.1", "1.....1", "1111111"],
    "two arms of one shape with another between": ["1.2.1", "1.2.1", "1...1", "11111"],
    "staircase of corners": ["1....", ".1...", "..1..", "...1.", "....1"],
    "full": ["111", "111"],
    "empty": ["...", "..."],
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_hard_places(picture: list[str]) -> None:
    labels = np.array([[0 if sign == "." else int(sign) for sign in row] for row in picture], np.uint8)
    for turned in (labels, labels.T, labels[::-1], labels[:, ::-1]):
        check(np.ascontiguousarray(turned))
        whole = trace(turned, turned, len(turned))
        for rows in (1, 2, 3):
            assert trace(turned, turned, rows) == whole


def test_a_touch_at_a_corner_splits_rings_but_not_the_shape() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], np.uint8)
    [(_, pixels, _, boundary)] = trace(labels, labels, 4)
    assert pixels == 14
    assert boundary == [
        [(0, 0), (4, 0), (4, 4), (0, 4)],
        [(1, 1), (1, 2), (2, 2), (2, 1)],
        [(2, 2), (2, 3), (3, 3), (3, 2)],
    ]


def test_shapes_come_in_the_order_of_their_last_row_then_their_first_pixel() -> None:
    labels = np.array([[1, 0, 2, 0, 1], [1, 0, 0, 0, 1], [0, 1, 0, 2, 0]], np.uint8)
    firsts = [boundary[0][0] for *_, boundary in trace(labels, labels, 2)]
    assert firsts == [(2, 0), (0, 0), (4, 0), (1, 2), (3, 2)]


def test_what_is_carried_from_band_to_band_is_the_open_shapes_alone() -> None:
    labels = np.zeros((400, 200), np.uint8)
    labels[1::4, 1::4] = 1  # 5000 dots, none of which touches another row
    labels[:, 199] = 2  # and one shape from top to bottom
    tracer = Tracer(200)
    closed = 0
    for top in range(0, 400, 4):
        closed += len(feed(tracer, labels[top : top + 4], labels[top : top + 4]))
        assert len(tracer._open) == 1
    assert closed == 5000
    assert len(tracer.finish()) == 1


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=80))
def test_connected_names_each_node_after_the_smallest_it_reaches(count: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % count, b % count) for a, b in edges]
    smallest = list(range(count))
    for _ in range(count):
        for a, b in edges:
            smallest[a] = smallest[b] = min(smallest[a], smallest[b])
    left, right = (np.array(side, np.int64) for side in zip(*edges, strict=True)) if edges else (np.empty(0, int),) * 2
    assert connected(count, left, right).tolist() == smallest


def test_connected_takes_few_rounds_on_a_long_path(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = np.random.default_rng(0).permutation(2**14)
    rounds: list[int] = []
    plain = np.minimum
    monkeypatch.setattr("workers.outputs.vector.components.np.minimum", Counted(plain, rounds))
    assert not connected(2**14, nodes[:-1], nodes[1:]).any()
    assert len(rounds) <= 2 * 14


class Counted:
    """`np.minimum` that counts its unbuffered calls."""

    def __init__(self, plain: np.ufunc, rounds: list[int]) -> None:
        self.plain = plain
        self.rounds = rounds

    def __call__(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        smaller: NDArray[np.int64] = self.plain(left, right)
        return smaller

    def at(self, target: NDArray[np.int64], place: NDArray[np.int64], value: NDArray[np.int64]) -> None:
        self.rounds.append(len(place))
        self.plain.at(target, place, value)
