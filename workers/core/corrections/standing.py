"""How the objects of a job stand after all corrections: the revisions folded, those that were taken back left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from workers.core.corrections.schemas import Author, Box, Drawing, ModelObject, Revision, StoredChange
from workers.core.errors.review import NotUndoable
from workers.core.roi.forms import Rings

State = Literal["accepted", "rejected", "relabelled", "redrawn", "added"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One object that somebody has said something of.

    Attributes:
        object: Its id.
        class_index: The class that it counts as.
        is_rejected: Whether there is no such object.
        model: As the model found it; None of one that a person added.
        drawing: As a person drew it; None of one that nobody did.
        revision: The last one that is about it; with it `author` and `at`.
    """

    object: str
    class_index: int
    is_rejected: bool
    model: ModelObject | None
    drawing: Drawing | None
    revision: int
    author: Author
    at: datetime

    @property
    def state(self) -> State:
        """What was said of it, in a word: the first of these that holds."""
        if self.is_rejected:
            return "rejected"
        if self.model is None:
            return "added"
        if self.drawing is not None:
            return "redrawn"
        return "accepted" if self.class_index == self.model.class_index else "relabelled"

    @property
    def area_um2(self) -> float:
        """Of its outline as it stands."""
        return self._shape.area_um2

    @property
    def box(self) -> Box:
        """Around its outline as it stands, level-0 px."""
        return self._shape.box

    @property
    def outline(self) -> Rings | None:
        """As it stands, level-0 px; None of one of the model's that is too large to be kept."""
        return self._shape.outline

    @property
    def _shape(self) -> ModelObject | Drawing:
        if self.drawing is not None:
            return self.drawing
        if self.model is None:  # `Add` draws
            raise AssertionError
        return self.model


def undone(revisions: Iterable[Revision]) -> frozenset[int]:
    """Return the numbers of the revisions that were taken back."""
    return frozenset(each.undo for each in revisions if each.undo is not None)


def standing(revisions: Sequence[Revision]) -> dict[str, Standing]:
    """Return how each object stands of which something was said, by its id, in the order in which they first came."""
    found: dict[str, Standing] = {}
    gone = undone(revisions)
    for revision in revisions:
        if revision.revision in gone:
            continue
        for change in revision.changes:
            found[change.object] = _changed(found.get(change.object), change, revision)
    return found


def check_undo(revisions: Sequence[Revision], number: int) -> Revision:
    """Return the revision of a number, if it can be taken back.

    Raises:
        NotUndoable: There is none, it is taken back already or takes back itself, or later ones are about its objects.
    """
    latest = len(revisions)
    if not 1 <= number <= latest:
        raise NotUndoable("There is no such revision.", value=number, accepted=f"1 to {latest}")
    wanted, gone = revisions[number - 1], undone(revisions)
    if wanted.undo is not None or number in gone:
        raise NotUndoable("This revision is taken back, or takes one back.", value=number, accepted="one that stands")
    objects = {change.object for change in wanted.changes}
    for later in revisions[number:]:
        if later.revision not in gone and not objects.isdisjoint(change.object for change in later.changes):
            raise NotUndoable(
                "A later revision is about the same object.", value=number, accepted=f"revision {later.revision} first"
            )
    return wanted


def undoable(revisions: Sequence[Revision]) -> int | None:
    """Return the latest revision that stands and changes something: nothing later stands in its way."""
    gone = undone(revisions)
    return next((each.revision for each in reversed(revisions) if each.changes and each.revision not in gone), None)


def _changed(before: Standing | None, change: StoredChange, revision: Revision) -> Standing:
    if before is None:
        index = change.class_index if change.model is None else change.model.class_index
        before = Standing(
            object=change.object,
            class_index=index or 0,
            is_rejected=False,
            model=change.model,
            drawing=None,
            revision=revision.revision,
            author=revision.author,
            at=revision.at,
        )
    return replace(
        before,
        class_index=change.class_index or before.class_index,
        is_rejected=change.action == "reject",
        drawing=change.drawing or before.drawing,
        revision=revision.revision,
        author=revision.author,
        at=revision.at,
    )
