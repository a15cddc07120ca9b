"""Corrections as clients see them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from workers.core.corrections.schemas import CHANGES_MAX, Author, Box, Change, Revision
from workers.core.corrections.standing import Standing, State
from workers.core.frozen import Frozen
from workers.core.model.schemas import ModelClass
from workers.core.roi.polygons import Polygon

BasedOn = Annotated[int, Field(strict=True, ge=0, description="The latest revision that you know; 0: none.")]


class CorrectionRequest(Frozen):
    """What somebody says of objects of a job."""

    revision: BasedOn
    changes: tuple[Change, ...] = Field(min_length=1, max_length=CHANGES_MAX)


class UndoRequest(Frozen):
    """A revision that is to be taken back."""

    revision: BasedOn
    undo: int = Field(strict=True, ge=1, description="The revision that is taken back.")


class CorrectedObject(Frozen):
    """An object that somebody has said something of, as it stands."""

    id: str
    state: State
    class_name: str
    class_index: int
    model_class_index: int | None = Field(description="As the model found it; None of one that a person added.")
    area_um2: float
    box: Box = Field(description="x0, y0, x1, y1, level-0 px.")
    geometry: Polygon | None = Field(description="As it stands, level-0 px; None of one that is too large.")
    revision: int = Field(description="The last one that is about it.")
    author: Author
    at: datetime


class Corrections(Frozen):
    """How the corrected objects of a job stand."""

    revision: int = Field(description="The latest one; 0 if nothing was corrected.")
    undoable: int | None = Field(description="The revision that can be taken back next.")
    items: tuple[CorrectedObject, ...]


class Corrected(Frozen):
    """What a request changed."""

    revision: int = Field(description="The one that it made.")
    undoable: int | None = Field(description="The revision that can be taken back next.")
    items: tuple[CorrectedObject, ...] = Field(description="How the objects that it is about stand now.")
    dropped: tuple[str, ...] = Field(description="Ids of objects of which nothing is said any more.")


class History(Frozen):
    """A page of revisions, the first one first."""

    items: tuple[Revision, ...]
    next_after: int | None = Field(default=None, description="`after` of the next page; None on the last one.")


def shown(each: Standing, classes: dict[int, ModelClass]) -> CorrectedObject:
    """Return one object as clients see it."""
    return CorrectedObject(
        id=each.object,
        state=each.state,
        class_name=classes[each.class_index].name,
        class_index=each.class_index,
        model_class_index=None if each.model is None else each.model.class_index,
        area_um2=each.area_um2,
        box=each.box,
        geometry=None if each.outline is None else Polygon(coordinates=each.outline),
        revision=each.revision,
        author=each.author,
        at=each.at,
    )
