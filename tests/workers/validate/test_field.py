"""Truth on the model's grid, against shapely's answer for the centre of each pixel."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.errors.base import RequestInvalid
from workers.core.roi.forms import Ring
from workers.core.roi.polygons import MultiPolygon
from workers.pipeline.tiling import Box, WorkingPlane
from workers.validate import field as field_module
from workers.validate.field import fields_of
from workers.validate.truth import IGNORE, Shape, Truth

PLANE = WorkingPlane(80, 60, Fraction(2), Fraction(2))
"""40 x 30 px of 2 level-0 px."""


def ring(points: Sequence[tuple[float, float]]) -> Ring:
    return (*points, points[0])


def square(x0: float, y0: float, x1: float, y1: float) -> Ring:
    return ring([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def shape(label: int, *rings: Ring, name: str = "x") -> Shape:
    area = shapely.Polygon(rings[0], rings[1:]).area
    return Shape(name, area, MultiPolygon(coordinates=(rings,)), label)


def truth(regions: Sequence[Shape], shapes: Sequence[Shape]) -> Truth:
    return Truth(tuple(regions), tuple(sorted(shapes, key=lambda one: -one.area)), {})


def centres(box: Box, polygon: Shape) -> NDArray[np.bool_]:
    """Ask shapely for every pixel centre of a box."""
    outline, *holes = polygon.polygons.coordinates[0]
    y, x = np.mgrid[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width]
    inside: NDArray[np.bool_] = shapely.contains_xy(shapely.Polygon(outline, holes), 2 * x + 1.0, 2 * y + 1.0)
    return inside


@st.composite
def stars(draw: st.DrawFn) -> Shape:
    """A star-shaped polygon with a hole, neither of which goes through the centre of a pixel."""
    x, y = draw(st.integers(10, 70)) + 0.31, draw(st.integers(10, 50)) + 0.17
    radii = draw(st.lists(st.integers(6, 25), min_size=5, max_size=9))
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + 0.1
    hole = [(x + 2.3 * np.cos(a), y + 2.3 * np.sin(a)) for a in angles]
    outline = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    return shape(draw(st.sampled_from([0, 1, 2, IGNORE])), ring(outline), ring(hole))


@given(shapes=st.lists(stars(), min_size=1, max_size=4), regions=st.lists(stars(), min_size=1, max_size=2))
def test_labels_and_numbers_are_those_of_each_centre(shapes: list[Shape], regions: list[Shape]) -> None:
    whole = truth(regions, shapes)
    taken = np.zeros((30, 40), np.bool_)
    plane = Box(0, 0, 40, 30)
    try:
        found = list(fields_of(whole, PLANE))
    except RequestInvalid:
        return  # nothing of a region counts
    for region, field in zip(whole.regions, found, strict=True):
        counts = centres(plane, region) & ~taken
        taken |= centres(plane, region)
        labels, numbers = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.int32)
        seen = set()
        for each in whole.shapes:
            if each.label == IGNORE:
                counts &= ~centres(plane, each)
        for number, each in enumerate(whole.shapes, 1):
            inside = centres(plane, each) & counts
            if each.label != IGNORE and inside.any():
                seen.add(number)
                labels[inside], numbers[inside] = each.label, number if each.label else 0
        labels[~counts] = IGNORE
        place = np.s_[field.box.w_y : field.box.w_y + field.box.height, field.box.w_x : field.box.w_x + field.box.width]
        np.testing.assert_array_equal(field.labels, labels[place])
        np.testing.assert_array_equal(field.objects, numbers[place])
        np.testing.assert_array_equal(field.counts, counts[place])
        assert field.seen == seen
        outside = counts.copy()
        outside[place] = False
        assert not outside.any()


def test_the_smaller_of_two_annotations_lies_on_top_and_one_object_may_have_parts() -> None:
    large, small = shape(2, square(0, 0, 40, 40)), shape(1, square(10, 10, 14, 14))
    parts = MultiPolygon(coordinates=((square(50, 0, 54, 4),), (square(60, 0, 62, 4),)))
    (field,) = fields_of(truth([shape(0, square(0, 0, 80, 60))], [small, large, Shape("x", 24, parts, 1)]), PLANE)
    assert np.count_nonzero(field.labels == 1) == 4 + 6
    assert np.count_nonzero(field.labels == 2) == 400 - 4
    assert sorted(np.unique(field.objects, return_counts=True)[1].tolist())[:2] == [4, 6]


def test_a_region_beyond_the_slide_ends_with_it() -> None:
    (field,) = fields_of(truth([shape(0, square(-50, -50, 500, 500))], [shape(1, square(70, 50, 100, 100))]), PLANE)
    assert field.box == Box(0, 0, 40, 30)
    assert np.count_nonzero(field.labels == 1) == 5 * 5


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (square(5.1, 5.1, 5.9, 5.9), "holds no pixel of the model that counts"),
        (square(90, 0, 99, 9), "holds no pixel of the model"),
        (square(20, 20, 30, 30), "holds no pixel of the model that counts"),
    ],
)
def test_a_region_without_a_pixel_is_refused(region: Ring, message: str) -> None:
    ignored = shape(IGNORE, square(19, 19, 31, 31))
    with pytest.raises(RequestInvalid, match=f"here {message}"):
        list(fields_of(truth([shape(0, region, name="here")], [ignored]), PLANE))


def test_a_region_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_module, "FIELD_PX", 100)
    fitting = truth([shape(0, square(0, 0, 20, 20))], [])
    assert len(list(fields_of(fitting, PLANE))) == 1
    with pytest.raises(RequestInvalid, match="too large to be compared at once") as refused:
        list(fields_of(truth([*fitting.regions, shape(0, square(0, 0, 20, 22))], []), PLANE))
    assert refused.value.value == "a box of 10 x 11 px of the model"
