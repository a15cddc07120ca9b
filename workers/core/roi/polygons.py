"""A region of interest as it is kept: one polygon or several, in level-0 px of the full plane.

A polygon's rings are read by the even-odd rule, so holes are holes whichever way they turn; the polygons of a
MultiPolygon are joined. What a working pixel belongs to is decided by its centre, see `workers.pipeline.roi`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from workers.core.roi.forms import SCHEMA, Ring, Rings, polygons_of

Bounds = tuple[float, float, float, float]
FilledRings = Annotated[Rings, Field(min_length=1)]


class _Geometry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Polygon(_Geometry):
    """GeoJSON Polygon: an outline, then holes. Rings end where they begin."""

    type: Literal["Polygon"] = "Polygon"
    coordinates: FilledRings

    @property
    def polygons(self) -> tuple[tuple[Ring, ...], ...]:
        """The rings of each part."""
        return (self.coordinates,)


class MultiPolygon(_Geometry):
    """GeoJSON MultiPolygon: parts that may lie anywhere."""

    type: Literal["MultiPolygon"] = "MultiPolygon"
    coordinates: Annotated[tuple[FilledRings, ...], Field(min_length=1)]

    @property
    def polygons(self) -> tuple[tuple[Ring, ...], ...]:
        """The rings of each part."""
        return self.coordinates


def read_roi(value: Any) -> Polygon | MultiPolygon:
    """Return the region of interest that a value in any form says: the same for the same polygons.

    Args:
        value: GeoJSON or a box, see `workers.core.roi.forms`; what was read before stays as it is.

    Raises:
        RequestInvalid: It is none. Raised as it is also within a pydantic model, which neither collects nor rewords it.
    """
    if isinstance(value, Polygon | MultiPolygon):
        return value
    parts = polygons_of(value)
    return Polygon(coordinates=parts[0]) if len(parts) == 1 else MultiPolygon(coordinates=parts)


Roi = Annotated[
    Annotated[Polygon | MultiPolygon, Field(discriminator="type")],
    BeforeValidator(read_roi, json_schema_input_type=Annotated[Any, WithJsonSchema(SCHEMA)]),
]
"""A region of interest. Every form becomes polygons when it is read."""


def parts_bounds(roi: Polygon | MultiPolygon) -> tuple[Bounds, ...]:
    """Return (x0, y0, x1, y1) of each polygon's outline, level-0 px."""
    found = []
    for outline, *_ in roi.polygons:
        xs, ys = zip(*outline, strict=True)
        found.append((min(xs), min(ys), max(xs), max(ys)))
    return tuple(found)
