"""Every form of a region of interest, every fault with its place, hostile values that cost no more than good ones."""

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from math import hypot, inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import RequestInvalid
from workers.core.roi.forms import DEPTH_MAX, ELLIPSE_ERROR_PX, OBJECTS_MAX, VERTICES_MAX, polygons_of

SQUARE = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
OTHER = [[400, 0], [500, 0], [500, 90], [400, 0]]
HOLE = [[150, 150], [200, 150], [200, 200], [150, 150]]
POLYGON: dict[str, Any] = {"type": "Polygon", "coordinates": [SQUARE]}
HOLED: dict[str, Any] = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
QUPATH = {
    "type": "Feature",
    "id": "5c1d5f0e-6a0d-4b0c-9d9a-5a0f6b6a8a10",
    "geometry": POLYGON | {"plane": {"c": -1, "z": 0, "t": 0}},
    "properties": {"objectType": "annotation", "name": "Tumor", "isLocked": True, "measurements": {"Area": 1.5}},
}
GEOPANDAS = {
    "type": "FeatureCollection",
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}},
    "bbox": (100.0, 0.0, 500.0, 300.0),
    "features": [
        {"id": "0", "type": "Feature", "properties": {"class": None}, "bbox": (0, 0, 1, 1), "geometry": POLYGON},
        {"id": "1", "type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": ((OTHER),)}},
    ],
}


def rings(*parts: list[list[list[int]]]) -> tuple[Any, ...]:
    return tuple(tuple(tuple((float(x), float(y)) for x, y in ring) for ring in part) for part in parts)


def fault_of(value: Any) -> RequestInvalid:
    with pytest.raises(RequestInvalid) as caught:
        polygons_of(value)
    assert caught.value.message.count("roi") == 1
    assert caught.value.message.endswith(".")
    assert caught.value.accepted
    assert len(str(caught.value.value)) <= 80
    return caught.value


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (POLYGON, rings([SQUARE])),
        (HOLED, rings([SQUARE, HOLE])),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [OTHER]]}, rings([SQUARE, HOLE], [OTHER])),
        ({"type": "GeometryCollection", "geometries": [HOLED, POLYGON]}, rings([SQUARE, HOLE], [SQUARE])),
        (QUPATH, rings([SQUARE])),
        ({"type": "FeatureCollection", "features": [QUPATH]}, rings([SQUARE])),
        ([QUPATH, HOLED], rings([SQUARE], [SQUARE, HOLE])),
        ((POLYGON,), rings([SQUARE])),
        (GEOPANDAS, rings([SQUARE], [OTHER])),
        (POLYGON | {"isEllipse": False}, rings([SQUARE])),
        ({"type": "Polygon", "coordinates": [[[*corner, 7] for corner in SQUARE]]}, rings([SQUARE])),
        ({"type": "Polygon", "coordinates": [SQUARE[:-1]]}, rings([SQUARE])),
        ({"type": "Polygon", "coordinates": [SQUARE[:3]]}, rings([[*SQUARE[:3], SQUARE[0]]])),
        ([100, 100, 300.0, 300], rings([SQUARE])),
    ],
)
def test_every_form_becomes_its_polygons(given: Any, expected: Any) -> None:
    assert polygons_of(given) == expected
    assert polygons_of(json.loads(json.dumps(given))) == expected
    again = {"type": "MultiPolygon", "coordinates": polygons_of(given)}
    assert polygons_of(again) == expected


def ring_of(*corners: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(corners)]}


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        (None, "roi: this is no GeoJSON object", None),
        ("here", "roi: this is no GeoJSON object", "here"),
        ({}, "roi: the member `type` names nothing", None),
        ({"type": "polygon"}, "roi: the member `type` names nothing", "polygon"),
        ({"type": ["Polygon"]}, "roi: the member `type`", "['Polygon']"),
        ({"type": "Point", "coordinates": [1, 2]}, "roi: a Point encloses nothing", "Point"),
        ([1, 2, 3], "roi: a list is a box", "[1, 2, 3]"),
        ([1, 2, "3", 4], "roi: a list is a box", "[1, 2, '3', 4]"),
        ([0, 0, True, 4], "roi: a list is a box", "[0, 0, True, 4]"),
        ([0, 0, inf, 4], "roi: a list is a box", "[0, 0, inf, 4]"),
        ([], "roi: a list is a box", "[]"),
        (SQUARE, "roi: a list is a box", None),
        ([5, 0, 5, 9], "roi: a box has a width", "[5, 0, 5, 9]"),
        ([0, 9, 5, 3], "roi: a box has a width", "[0, 9, 5, 3]"),
        ([POLYGON, [0, 0, 1, 1]], "roi[1]: this is no GeoJSON object", "[0, 0, 1, 1]"),
        ({"type": "Polygon"}, "roi.coordinates: this is no list", None),
        ({"type": "Polygon", "coordinates": []}, "roi.coordinates: an empty list", "[]"),
        (
            {"type": "Polygon", "coordinates": [{"a": 1, "b": [2]}]},
            "roi.coordinates[0]: this is no list",
            "{'a', 'b', …}",
        ),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE], []]}, "roi.coordinates[1]: an empty list", "[]"),
        ({"type": "FeatureCollection", "features": []}, "roi.features: an empty list", "[]"),
        ({"type": "FeatureCollection"}, "roi.features: this is no list", None),
        ({"type": "Feature", "geometry": None}, "roi.geometry: this is no GeoJSON object", None),
        (ring_of([0, 0], [1, 1], [0, 0]), "roi.coordinates[0]: a ring has at least three corners", None),
        (ring_of(), "roi.coordinates[0]: a ring has at least three corners", "[]"),
        (ring_of([0, 0], [1, 1], [nan, 0]), "roi.coordinates[0][2]: this is no position", "[nan, 0]"),
        (ring_of([0, 0], [1, 1], [0, 1e12]), "roi.coordinates[0][2]: this is no position", "[0, 1000000000000.0]"),
        (ring_of([0, 0], [10**400, 1], [0, 1]), "roi.coordinates[0][1]: this is no position", None),
        (ring_of([0, 0, "z"], [1, 1], [0, 1]), "roi.coordinates[0][0]: this is no position", "[0, 0, 'z']"),
        (ring_of([0, 0, 1, 2], [1, 1], [0, 1]), "roi.coordinates[0][0]: this is no position", "[0, 0, 1, 2]"),
        (ring_of({"x": 1}, [1, 1], [0, 1]), "roi.coordinates[0][0]: this is no position", None),
        (ring_of("ab", [1, 1], [0, 1]), "roi.coordinates[0][0]: this is no position", "ab"),
        (HOLED | {"isEllipse": True}, "roi.coordinates: an ellipse is one ring", None),
        (ring_of([0, 0], [9, 0], [4, 0]) | {"isEllipse": True}, "roi.coordinates: an ellipse is one ring", None),
        (
            {"type": "FeatureCollection", "features": [QUPATH] * 3 + [QUPATH | {"geometry": ring_of([0, 0])}]},
            "roi.features[3].geometry.coordinates[0]: a ring has at least three corners",
            "[[0, 0]]",
        ),
        (
            {"type": "GeometryCollection", "geometries": [POLYGON, {"type": "LineString", "coordinates": OTHER}]},
            "roi.geometries[1]: a LineString encloses nothing",
            "LineString",
        ),
        (
            {
                "type": "FeatureCollection",
                "features": [QUPATH, {"type": "Feature", "geometry": {"type": "MultiPoint"}}],
            },
            "roi.features[1].geometry: a MultiPoint encloses nothing",
            "MultiPoint",
        ),
    ],
)
def test_the_first_fault_is_told_with_its_place(given: Any, place: str, value: str | None) -> None:
    fault = fault_of(given)
    assert fault.message.startswith(place)
    assert value is None or fault.value == value


@pytest.mark.parametrize(
    "box", [(100, 100, 300, 300), (10.5, 20, 5010.5, 620.25), (-3, -4, -1, 90_000), (0, 0, 1e6, 9)]
)
def test_an_ellipse_touches_its_box_and_lies_within_a_quarter_px_of_its_equation(box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    outline = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    ((ring,),) = polygons_of({"type": "Polygon", "coordinates": [outline], "isEllipse": True})
    xs, ys = zip(*ring, strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx(box, abs=1e-9)
    assert ring[0] == ring[-1]
    x, y, a, b = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    for (px, py), (qx, qy) in pairwise(ring):
        assert hypot((px - x) / a, (py - y) / b) == pytest.approx(1, abs=1e-9)
        middle = hypot(((px + qx) / 2 - x) / a, ((py + qy) / 2 - y) / b)  # of a chord: how far in, of the way outward
        assert (1 - middle) * hypot((px + qx) / 2 - x, (py + qy) / 2 - y) / middle <= ELLIPSE_ERROR_PX + 1e-6


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def wrapped(depth: int) -> dict[str, Any]:
    value = POLYGON
    for _ in range(depth):
        value = {"type": "GeometryCollection", "geometries": [value]}
    return value


TRIANGLE = [[0, 0], [1, 0], [0, 1]]
HOSTILE: dict[str, Any] = {
    "deep list": nested(10_000),
    "deep objects": wrapped(10_000),
    "deep coordinates": {"type": "Polygon", "coordinates": nested(10_000)},
    "deep position": ring_of(nested(10_000), [1, 1], [0, 1]),
    "many lists": [[]] * 650_000,
    "many empty polygons": {"type": "MultiPolygon", "coordinates": [[]] * 650_000},
    "many features": {"type": "FeatureCollection", "features": [QUPATH] * 650_000},
    "many holes": {"type": "Polygon", "coordinates": [SQUARE] * 650_000},
    "many vertices": {"type": "Polygon", "coordinates": [[[0, 0]] * 650_000]},
    "many members": {"type": "Polygon", "coordinates": [{str(index): 0 for index in range(300_000)}]},
    "many digits": ring_of([10**4000, 0], [1, 1], [0, 1]),
    "long text": "x" * 1_300_000,
    "many ellipses": [{"type": "Polygon", "coordinates": [[[0, 0], [1e8, 1], [0, 1e8]]], "isEllipse": True}] * 5000,
}


def calls_of(act: Callable[[], object]) -> int:
    """Return how many calls of functions, ours and the interpreter's, an act takes: a clock that no load disturbs."""
    count = 0

    def see(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_is_refused_before_it_costs_anything(kind: str) -> None:
    assert calls_of(lambda: fault_of(HOSTILE[kind])) < 2000


def test_the_limits_are_where_they_are_said_to_be() -> None:
    most = VERTICES_MAX - 1
    assert len(polygons_of(ring_of(*([index, index % 7] for index in range(most))))[0][0]) == VERTICES_MAX
    assert "too many vertices" in fault_of(ring_of(*([index, index % 7] for index in range(most + 1)))).message
    assert len(polygons_of({"type": "MultiPolygon", "coordinates": [[TRIANGLE]] * OBJECTS_MAX})) == OBJECTS_MAX
    assert "too long" in fault_of([POLYGON] * (OBJECTS_MAX + 1)).message
    split = [{"type": "MultiPolygon", "coordinates": [[TRIANGLE]] * (OBJECTS_MAX // 2)}] * 2
    assert len(polygons_of(split)) == OBJECTS_MAX
    assert "too many vertices" in fault_of([*split, POLYGON]).message
    assert polygons_of(wrapped(DEPTH_MAX)) == rings([SQUARE])
    assert "too deep" in fault_of(wrapped(DEPTH_MAX + 1)).message


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.fixed_dictionaries(
            {
                "type": st.sampled_from(
                    ["Polygon", "MultiPolygon", "Feature", "FeatureCollection", "GeometryCollection"]
                )
            },
            optional=dict.fromkeys(("coordinates", "geometry", "features", "geometries", "isEllipse"), inner),
        )
    ),
    max_leaves=40,
)


@given(JSON)
def test_any_value_is_polygons_or_one_sentence(value: Any) -> None:
    try:
        found = polygons_of(value)
    except RequestInvalid:
        fault_of(value)
    else:
        assert found
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for part in found for ring in part)


NUMBERS = st.floats(-1e9, 1e9) | st.integers(-1000, 1000)
CORNERS = st.lists(st.tuples(NUMBERS, NUMBERS) | st.tuples(NUMBERS, NUMBERS, st.floats()), min_size=4, max_size=8)


@given(st.lists(st.lists(CORNERS, min_size=1, max_size=3), min_size=1, max_size=4), st.integers(0, DEPTH_MAX - 3))
def test_the_same_polygons_come_of_every_wrapping(parts: list[list[Any]], depth: int) -> None:
    expected = polygons_of({"type": "MultiPolygon", "coordinates": parts})
    for wanted, ring in zip((ring for part in expected for ring in part), (r for p in parts for r in p), strict=True):
        assert wanted[: len(ring)] == tuple((float(x), float(y)) for x, y, *_ in ring)
    alone: list[Any] = [{"type": "Polygon", "coordinates": part} for part in parts]
    assert polygons_of(alone) == expected
    assert polygons_of({"type": "GeometryCollection", "geometries": alone}) == expected
    features = [{"type": "Feature", "geometry": each, "properties": None} for each in alone]
    collected: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    for _ in range(depth):
        collected = {"type": "FeatureCollection", "features": [collected]}
    assert polygons_of(collected) == expected
