"""What people say of the objects of a job: as it is asked for, and as it is kept, one revision a line.

Frames: outlines, boxes and positions are level-0 px of the full plane; areas are µm².
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from workers.core.errors.base import RequestInvalid
from workers.core.frozen import Frozen
from workers.core.roi.forms import COORDINATE_MAX, SCHEMA, Rings, polygons_of
from workers.core.roi.polygons import Polygon

VERTICES_MAX = 2_000
"""Most vertices of an outline that is drawn, or that is kept of an object of the model."""

CHANGES_MAX = 100
"""Most changes of one request."""

Box = tuple[float, float, float, float]
Action = Literal["accept", "reject", "relabel", "redraw", "add"]


def _read_outline(value: Any) -> Polygon:
    if isinstance(value, Polygon):
        return value
    parts = polygons_of(value, "geometry")
    if len(parts) > 1:
        raise RequestInvalid("geometry: an object is one polygon.", value=f"{len(parts)} polygons", accepted="one")
    vertices = sum(map(len, parts[0]))
    if vertices > VERTICES_MAX:
        raise RequestInvalid("geometry: too many vertices.", value=vertices, accepted=f"at most {VERTICES_MAX}")
    return Polygon(coordinates=parts[0])


_OUTLINE: dict[str, Any] = SCHEMA | {
    "description": f"One polygon, holes allowed, of at most {VERTICES_MAX} vertices, level-0 px: GeoJSON, or a box."
}
Outline = Annotated[
    Polygon, BeforeValidator(_read_outline, json_schema_input_type=Annotated[Any, WithJsonSchema(_OUTLINE)])
]
ObjectId = Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="Of the object.")]
ClassName = Annotated[str, Field(min_length=1, max_length=200, description="A class of the model, no background.")]
Coordinate = Annotated[float, Field(strict=True, ge=-COORDINATE_MAX, le=COORDINATE_MAX)]
Near = Annotated[
    tuple[Coordinate, Coordinate] | None,
    Field(description="A position on the object, level-0 px: it is found at once. Else all of them are gone through."),
]


class _OfObject(Frozen):
    object: ObjectId
    near: Near = None


class Accept(_OfObject):
    """The object is right as it stands."""

    action: Literal["accept"]


class Reject(_OfObject):
    """There is no such object."""

    action: Literal["reject"]


class Relabel(_OfObject):
    """The object is of another class."""

    action: Literal["relabel"]
    class_name: ClassName


class Redraw(_OfObject):
    """The object has another outline."""

    action: Literal["redraw"]
    geometry: Outline


class Add(Frozen):
    """There is an object that the model has not found."""

    action: Literal["add"]
    class_name: ClassName
    geometry: Outline


Change = Annotated[Accept | Reject | Relabel | Redraw | Add, Field(discriminator="action")]


class Author(Frozen):
    """Who corrected."""

    name: str = Field(description="Of the key; `local` on a server without keys.")
    key_id: str | None = Field(default=None, description="Which key; None without.")


class ModelObject(Frozen):
    """An object as the model found it."""

    class_index: int = Field(ge=1)
    area_um2: float = Field(ge=0)
    box: Box
    outline: Rings | None = Field(description=f"None if it has more than {VERTICES_MAX} vertices.")


class Drawing(Frozen):
    """An outline as a person drew it."""

    outline: Rings
    area_um2: float = Field(gt=0)
    box: Box


class StoredChange(Frozen):
    """One change as it is kept: with what the model had found, so that it can be understood alone."""

    action: Action
    object: str
    class_index: int | None = Field(default=None, ge=1, description="Of relabel and add.")
    drawing: Drawing | None = Field(default=None, description="Of redraw and add.")
    model: ModelObject | None = Field(default=None, description="None of an object that a person added.")


class Revision(Frozen):
    """A line of `corrections.jsonl`: what one request changed, or which revision it took back."""

    revision: int = Field(ge=1, description="1, 2, 3, …")
    at: datetime
    author: Author
    undo: int | None = Field(default=None, ge=1, description="The revision that it takes back; then no changes.")
    changes: tuple[StoredChange, ...] = ()
