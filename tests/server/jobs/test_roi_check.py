"""What is told of a region of interest: its area against shapely and against counted places, where its rings cross."""

from itertools import pairwise
from math import pi
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.jobs.roi_check import ROWS_MAX, WARNINGS_MAX, area_by_rows, check_roi
from workers.core.errors.jobs import RoiOutside
from workers.core.roi.polygons import MultiPolygon, Polygon, read_roi
from workers.core.slide_schemas import SlideGeometry, SlideLevel

SQUARE = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
HOLE = [[150, 150], [200, 150], [200, 200], [150, 150]]
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
STAR = [[0, 95], [59, -81], [-95, 31], [95, 31], [-59, -81], [0, 95]]
GEOMETRY = SlideGeometry(l0_width=1000, l0_height=800, levels=(SlideLevel(width=1000, height=800, downsample=1),))


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def sampled(roi: Polygon | MultiPolygon, side: int = 700) -> float:
    """Return the area by counting the middles of cells of a grid: an odd number of edges to the left, in any part."""
    xs, ys = zip(*(position for rings in roi.polygons for ring in rings for position in ring), strict=True)
    step_x, step_y = (max(xs) - min(xs)) / side, (max(ys) - min(ys)) / side
    x, y = np.meshgrid(
        min(xs) + (np.arange(side) + 0.5) * step_x, min(ys) + (np.arange(side) + 0.5) * step_y, indexing="xy"
    )
    inside: NDArray[np.bool_] = np.zeros(x.shape, np.bool_)
    for rings in roi.polygons:
        odd = np.zeros(x.shape, np.bool_)
        for ring in rings:
            for (ax, ay), (bx, by) in pairwise(ring):
                if ay != by:
                    odd ^= ((ay <= y) != (by <= y)) & (ax + (y - ay) * (bx - ax) / (by - ay) <= x)
        inside |= odd
    return float(inside.mean() * (max(xs) - min(xs)) * (max(ys) - min(ys)))


def test_a_polygon_with_a_hole_is_measured_exactly() -> None:
    found = check_roi(read_roi([{"type": "Feature", "geometry": polygon(SQUARE, HOLE)}]))
    assert (found.area_px2, found.bounds, found.vertices) == (200 * 200 - 1250, (100, 100, 300, 300), 9)
    assert [[len(ring) for ring in rings] for rings in found.roi.coordinates] == [[5, 4]]
    assert (found.on_slide, found.warnings) == (None, ())


def test_an_ellipse_is_measured_as_it_is_drawn() -> None:
    found = check_roi(read_roi(polygon(SQUARE) | {"isEllipse": True}))
    assert found.area_px2 == pytest.approx(pi * 100**2, rel=0.005)
    assert found.vertices > 20
    assert found.bounds == (100, 100, 300, 300)


@pytest.mark.parametrize(
    ("rings", "area", "place"),
    [
        ((BOW_TIE,), 50, (5, 5)),
        ((SQUARE, [[x + 150, y] for x, y in SQUARE]), 2 * 150 * 200, None),  # the hole lies half outside: it is filled
        ((SQUARE, [[x + 400, y] for x, y in SQUARE]), 2 * 200 * 200, (500, 100)),
    ],
)
def test_rings_that_cross_are_told_and_measured_by_the_even_odd_rule(rings: Any, area: float, place: Any) -> None:
    found = check_roi(read_roi(polygon(*rings)))
    assert found.area_px2 == pytest.approx(area, rel=1e-6)
    (warning,) = found.warnings
    assert (warning.code, warning.polygon) == ("roi_self_intersects", 0)
    assert warning.place is not None
    assert place is None or warning.place == place


def test_the_middle_of_a_star_is_outside() -> None:
    roi = read_roi(polygon(STAR))
    assert area_by_rows(roi) == pytest.approx(sampled(roi), rel=0.005)
    filled = shapely.area(shapely.union_all(shapely.polygonize([shapely.node(shapely.LineString(STAR))])))
    assert area_by_rows(roi) < 0.75 * filled


def test_what_polygons_share_counts_once() -> None:
    roi = read_roi([polygon(SQUARE), polygon([[x + 150, y + 100] for x, y in SQUARE]), polygon(SQUARE)])
    found = check_roi(roi)
    assert found.area_px2 == pytest.approx(2 * 200 * 200 - 50 * 100, rel=1e-9)
    assert found.warnings == ()


def test_neighbours_that_share_a_border_are_measured_exactly() -> None:
    found = check_roi(read_roi([polygon(SQUARE), polygon([[x + 200, y] for x, y in SQUARE])]))
    assert found.area_px2 == 2 * 200 * 200


def test_warnings_say_which_polygon_and_are_not_endless() -> None:
    many = [polygon([[x + 20 * index, y] for x, y in BOW_TIE]) for index in range(2 * WARNINGS_MAX)]
    found = check_roi(read_roi([polygon(SQUARE), *many]))
    assert [each.polygon for each in found.warnings] == list(range(1, WARNINGS_MAX + 1))
    assert found.warnings[3].place == (65, 5)


@pytest.mark.parametrize(
    ("box", "expected"), [((0, 0, 1000, 800), "whole"), ((-1, 0, 9, 9), "partly"), ((990, 700, 2000, 801), "partly")]
)
def test_it_says_how_much_of_it_lies_on_the_slide(box: Any, expected: str) -> None:
    assert check_roi(read_roi(list(box)), GEOMETRY).on_slide == expected


def test_what_has_nothing_of_the_slide_is_refused() -> None:
    with pytest.raises(RoiOutside):
        check_roi(read_roi([1000, 0, 1100, 10]), GEOMETRY)


@pytest.mark.slow
def test_an_outline_of_many_vertices_is_measured_along_fewer_rows() -> None:
    angles = np.linspace(0, 40 * np.pi, 8 * ROWS_MAX, endpoint=False)  # a rose: it crosses itself everywhere
    radius = 500 + 400 * np.sin(angles * 2.15)
    roi = read_roi(polygon(np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).tolist()))
    found = check_roi(roi)
    assert found.area_px2 == pytest.approx(sampled(roi), rel=0.01)
    assert found.warnings


COORDINATES = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(COORDINATES, min_size=3, max_size=7), min_size=1, max_size=3))
def test_any_area_is_that_of_the_places_inside(corners: list[list[tuple[int, int]]]) -> None:
    hulls = [shapely.MultiPoint(each).convex_hull for each in corners]
    hulls = [each for each in hulls if each.geom_type == "Polygon"]
    if not hulls:
        return
    roi = read_roi([polygon(list(each.exterior.coords)) for each in hulls])
    expected = shapely.area(shapely.union_all(hulls))
    assert check_roi(roi).area_px2 == pytest.approx(expected, rel=0.002)
    assert area_by_rows(roi) == pytest.approx(expected, rel=0.002)
