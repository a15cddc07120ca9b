"""Regions of interest in the forms that people have them: GeoJSON of any kind that encloses something, or a box.

A GeoJSON object is a Polygon, a MultiPolygon, a GeometryCollection, a Feature or a FeatureCollection, or a list of such
objects. Members that say nothing of the place (`properties`, `id`, `bbox`, `crs`, QuPath's `plane`) are passed over.
QuPath's `isEllipse` marks a polygon whose bounding box is that of an ellipse; it is drawn as a fine polygon.

A value is read once, from its beginning, and no further than to its first fault: what is hostile costs no more than
what is right. So numbers of vertices and objects are looked at before what they count, and depth while it grows.
"""

import reprlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from math import acos, ceil, cos, pi, sin
from typing import Any, NoReturn, TypeGuard

from workers.core.errors.base import RequestInvalid

VERTICES_MAX = 20_000
"""Most vertices of a region of interest: an outline drawn by a person has far fewer."""

OBJECTS_MAX = 5_000
"""Most features, geometries or polygons in one list."""

DEPTH_MAX = 8
"""Most GeoJSON objects within each other; a feature of a collection, with a collection of geometries, takes four."""

COORDINATE_MAX = 1e9
ELLIPSE_ERROR_PX = 0.25
"""How far, in level-0 px, the polygon of an ellipse may lie within it."""

Position = tuple[float, float]
Ring = tuple[Position, ...]
Rings = tuple[Ring, ...]

MEMBERS = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
AREAS = ("Polygon", "MultiPolygon")
TYPES = (*AREAS, "Feature", *MEMBERS)
NOT_AREAS = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString"})

OBJECT = f"a GeoJSON object of type {', '.join(TYPES)}"
FORMS = f"{OBJECT}, a list of such objects, or a box [x0, y0, x1, y1] in level-0 px"
NUMBERS = f"[x, y] or [x, y, z], level-0 px of at most {COORDINATE_MAX:g}"

SCHEMA: dict[str, Any] = {
    "description": "GeoJSON that encloses something, or a box, in level-0 px of the full plane.",
    "anyOf": [
        {"title": "GeoJSON", "type": "object", "required": ["type"], "properties": {"type": {"enum": list(TYPES)}}},
        {
            "title": "Features or geometries",
            "type": "array",
            "minItems": 1,
            "maxItems": OBJECTS_MAX,
            "items": {"type": "object", "required": ["type"], "properties": {"type": {"enum": list(TYPES)}}},
        },
        {"title": "Box", "type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
    ],
}
"""What of it a JSON schema can say."""

_LISTS, _NUMBERS = (list, tuple), (int, float)


def polygons_of(value: Any, place: str = "roi") -> tuple[Rings, ...]:
    """Return the polygons, at least one, that a value in any of the forms encloses together.

    Args:
        value: As JSON gives it; tuples are as good as lists.
        place: How errors call it.

    Returns:
        Of each polygon its rings, the outline first; all are closed, of at least four positions.

    Raises:
        RequestInvalid: The first fault: where it is, what is there, what would be taken.
    """
    return tuple(_Reading(place).polygons(value))


class _Reading:
    """One value on its way: what of it was counted so far."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._vertices = 0

    def polygons(self, value: Any) -> Iterator[Rings]:
        """Yield the polygons of the whole value."""
        if not _is_list(value):
            yield from self._object(value, self._place, FORMS)
        elif value and isinstance(value[0], dict):
            yield from self._objects(value, self._place)
        else:
            yield (_box(value, self._place),)

    def _objects(self, values: Sequence[Any], place: str, depth: int = 0) -> Iterator[Rings]:
        _require_items(values, place)
        for index, each in enumerate(values):
            yield from self._object(each, f"{place}[{index}]", OBJECT, depth + 1)

    def _object(self, value: Any, place: str, accepted: str, depth: int = 0) -> Iterator[Rings]:
        if depth > DEPTH_MAX:
            _refuse(place, "objects lie too deep within each other", f"at most {DEPTH_MAX} levels")
        if not isinstance(value, dict):
            _refuse(place, "this is no GeoJSON object", accepted, value)
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            said = f"a {kind} encloses nothing" if _is_hollow(kind) else "the member `type` names nothing that is known"
            _refuse(place, said, f"one of {', '.join(TYPES)}", kind)
        if kind == "Feature":
            yield from self._object(value.get("geometry"), f"{place}.geometry", OBJECT, depth + 1)
        elif kind in MEMBERS:
            name = MEMBERS[kind]
            yield from self._objects(_listed(value.get(name), f"{place}.{name}"), f"{place}.{name}", depth)
        else:
            yield from self._areas(kind, value, f"{place}.coordinates")

    def _areas(self, kind: str, value: dict[str, Any], place: str) -> Iterator[Rings]:
        coordinates = _listed(value.get("coordinates"), place)
        if kind == "Polygon":
            rings = self._rings(coordinates, place)
            yield (self._ellipse(rings, place),) if value.get("isEllipse") is True else rings
            return
        _require_items(coordinates, place)
        for index, each in enumerate(coordinates):
            yield self._rings(_listed(each, f"{place}[{index}]"), f"{place}[{index}]")

    def _rings(self, values: Sequence[Any], place: str) -> Rings:
        _require_items(values, place)
        return tuple(self._ring(_listed(each, f"{place}[{i}]"), f"{place}[{i}]") for i, each in enumerate(values))

    def _ring(self, values: Sequence[Any], place: str) -> Ring:
        self._count(len(values))
        for index, position in enumerate(values):
            if not _is_position(position):
                _refuse(f"{place}[{index}]", "this is no position", NUMBERS, position)
        ring = tuple((float(position[0]), float(position[1])) for position in values)
        if ring and ring[0] != ring[-1]:
            ring = (*ring, ring[0])
            self._count(1)
        if len(ring) < 4:
            _refuse(place, "a ring has at least three corners", "three positions or more", values)
        return ring

    def _ellipse(self, rings: Rings, place: str) -> Ring:
        """Return the ellipse of a bounding box, with corners where it touches the box and as many between as it needs.

        An ellipse is a circle made narrower, so that no chord lies further from its arc than in the larger circle.
        """
        xs, ys = zip(*rings[0], strict=True)
        x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        radius_x, radius_y = (max(xs) - min(xs)) / 2, (max(ys) - min(ys)) / 2
        if len(rings) > 1 or not (radius_x and radius_y):
            _refuse(place, "an ellipse is one ring that has a width and a height", "the corners of its box", rings)
        bend = 1 - min(1.0, ELLIPSE_ERROR_PX / max(radius_x, radius_y))
        quarter = max(2, ceil(pi / acos(bend) / 4))
        self._count(4 * quarter)
        angles = (pi / 2 * index / quarter for index in range(quarter))
        first = [(cos(angle), sin(angle)) for angle in angles]
        turned = [[(-s, c) for c, s in first], [(-c, -s) for c, s in first], [(s, -c) for c, s in first]]
        return tuple((x + radius_x * c, y + radius_y * s) for c, s in [*first, *chain(*turned), first[0]])

    def _count(self, vertices: int) -> None:
        self._vertices += vertices
        if self._vertices > VERTICES_MAX:
            _refuse(self._place, "it has too many vertices", f"at most {VERTICES_MAX}, ellipses as they are drawn")


def _box(value: Sequence[Any], place: str) -> Ring:
    if len(value) != 4 or not all(map(_is_coordinate, value)):
        _refuse(place, "a list is a box, or holds GeoJSON objects", FORMS, value)
    x0, y0, x1, y1 = map(float, value)
    if not (x0 < x1 and y0 < y1):
        _refuse(place, "a box has a width and a height", "x0 < x1 and y0 < y1", value)
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))


def _listed(value: Any, place: str) -> Sequence[Any]:
    if not _is_list(value):
        _refuse(place, "this is no list", "a list", value)
    return value


def _require_items(values: Sequence[Any], place: str) -> None:
    if not values:
        _refuse(place, "an empty list encloses nothing", "at least one polygon, whose outline comes first", values)
    if len(values) > OBJECTS_MAX:
        _refuse(place, "the list is too long", f"at most {OBJECTS_MAX} objects or rings", f"{len(values)} items")


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, _LISTS)


def _is_hollow(kind: Any) -> bool:
    return isinstance(kind, str) and kind in NOT_AREAS


def _is_position(value: Any) -> bool:
    """Whether it is two numbers within the limits, and perhaps a third, which is passed over."""
    if not _is_list(value) or len(value) not in {2, 3}:
        return False
    return _is_coordinate(value[0]) and _is_coordinate(value[1]) and _is_number(value[-1])


def _is_coordinate(value: Any) -> bool:
    return _is_number(value) and abs(value) <= COORDINATE_MAX  # neither infinite nor not a number


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


class _Shortened(reprlib.Repr):
    """Shows the beginning of a value, however long or deep this is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = 4

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Name the first members; the library would sort all of them."""
        return f"{{{', '.join(self.repr1(name, level - 1) for name in islice(x, 4))}, …}}" if level > 0 else "{…}"


def _refuse(place: str, fault: str, accepted: str, value: object = None) -> NoReturn:
    shown = value if value is None or isinstance(value, str) else _Shortened().repr(value)
    raise RequestInvalid(f"{place}: {fault}.", value=None if shown is None else shown[:80], accepted=accepted)
