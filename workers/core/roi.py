"""Regions of interest as a client states them: GeoJSON polygons, or a box, in level-0 px of the full plane.

A polygon's rings are read by the even-odd rule, so holes are holes whichever way they turn; the polygons of a
MultiPolygon are joined. What a working pixel belongs to is decided by its centre, see `workers.pipeline.roi`.
"""

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

VERTICES_MAX = 20_000
"""Most vertices of a region of interest: an outline drawn by a person has far fewer."""

COORDINATE_MAX = 1e9

Position = tuple[float, float]
Ring = tuple[Position, ...]
Bounds = tuple[float, float, float, float]


def _closed(ring: Ring) -> Ring:
    if len(ring) < 4 or ring[0] != ring[-1]:
        message = "a ring has at least four positions and ends where it begins"
        raise ValueError(message)
    if any(not isfinite(number) or abs(number) > COORDINATE_MAX for position in ring for number in position):
        message = f"coordinates are finite level-0 px of at most {COORDINATE_MAX:g}"
        raise ValueError(message)
    return ring


ValidRing = Annotated[Ring, AfterValidator(_closed)]
Rings = Annotated[tuple[ValidRing, ...], Field(min_length=1)]


class _Geometry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Polygon(_Geometry):
    """GeoJSON Polygon: an outline, then holes."""

    type: Literal["Polygon"] = "Polygon"
    coordinates: Rings

    @property
    def polygons(self) -> tuple[tuple[Ring, ...], ...]:
        """The rings of each part."""
        return (self.coordinates,)


class MultiPolygon(_Geometry):
    """GeoJSON MultiPolygon: parts that may lie anywhere."""

    type: Literal["MultiPolygon"] = "MultiPolygon"
    coordinates: Annotated[tuple[Rings, ...], Field(min_length=1)]

    @property
    def polygons(self) -> tuple[tuple[Ring, ...], ...]:
        """The rings of each part."""
        return self.coordinates


def _from_box(value: Any) -> Any:
    """Turn `[x0, y0, x1, y1]` into the polygon it means; leave everything else to the models."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 4 or not all(isinstance(number, int | float) for number in value):
        message = "a box is [x0, y0, x1, y1] in level-0 px"
        raise ValueError(message)
    x0, y0, x1, y1 = value
    if not (x0 < x1 and y0 < y1):
        message = "a box has x0 < x1 and y0 < y1"
        raise ValueError(message)
    return {"type": "Polygon", "coordinates": [[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]]}


def _bounded(roi: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    count = sum(len(ring) for rings in roi.polygons for ring in rings)
    if count > VERTICES_MAX:
        message = f"it has {count} vertices, at most {VERTICES_MAX} are taken: simplify it"
        raise ValueError(message)
    return roi


Roi = Annotated[
    Annotated[Polygon | MultiPolygon, Field(discriminator="type")],
    BeforeValidator(_from_box, json_schema_input_type=Polygon | MultiPolygon | Bounds),
    AfterValidator(_bounded),
]
"""A region of interest. A box becomes a polygon when it is read."""


def parts_bounds(roi: Polygon | MultiPolygon) -> tuple[Bounds, ...]:
    """Return (x0, y0, x1, y1) of each polygon's outline, level-0 px."""
    found = []
    for outline, *_ in roi.polygons:
        xs, ys = zip(*outline, strict=True)
        found.append((min(xs), min(ys), max(xs), max(ys)))
    return tuple(found)
