"""Corrections of the objects of a job: accepted, rejected, of another class, drawn anew or added, and taken back.

Results are never altered: what people say lies beside them, in `corrections.jsonl`, and is only ever added to. Where
there is a storage, gateways of other data folders read a copy of it there, and do not write.
"""

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from server.results.features import find_class
from server.review.lookup import Place, find_objects
from server.review.shapes import drawing_of
from server.review.views import Corrected, CorrectionRequest, Corrections, UndoRequest, shown
from workers.core.corrections import log
from workers.core.corrections.schemas import (
    Add,
    Author,
    Change,
    Drawing,
    ModelObject,
    Redraw,
    Relabel,
    Revision,
    StoredChange,
)
from workers.core.corrections.standing import check_undo, standing, undoable
from workers.core.corrections.stored_log import keep_copy, revisions_of
from workers.core.errors.base import RequestInvalid
from workers.core.errors.review import IndexNotReady
from workers.core.job_files import add_size
from workers.core.schemas import Plan
from workers.core.store import Store

Room = Callable[[int], AbstractContextManager[None]]
"""Holds so many bytes for whoever corrects, or raises QuotaExceeded."""

CHANGE_BYTES = 2**12
"""What is held for what is kept of an object of the model, outline and all; most take a quarter of it."""

Index = Callable[[], Path | None]
"""Returns the spatial index of the job's polygons, or sees to it that it is made."""


@dataclass(frozen=True)
class Review:
    """The corrections of one job that has succeeded. Methods block.

    Args:
        store: The data folder.
        job_id: The job.
    """

    store: Store
    job_id: str

    @property
    def folder(self) -> Path:
        """Of the job."""
        return self.store.job_dir(self.job_id)

    def view(self) -> Corrections:
        """Return how the corrected objects stand.

        Raises:
            JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
            StorageFault: The corrections cannot be read.
        """
        plan = self._plan()
        revisions = revisions_of(self.store, self.job_id)
        classes = {each.index: each for each in plan.classes}
        items = tuple(shown(each, classes) for each in standing(revisions).values())
        return Corrections(revision=len(revisions), undoable=undoable(revisions), items=items)

    def correct(self, request: CorrectionRequest, author: Author, index: Index, room: Room) -> Corrected:
        """Keep what somebody says of objects.

        Raises:
            JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
            RequestInvalid, OutlineInvalid: A class is none of the model's, or an outline cannot be kept.
            ObjectNotFound: An id is of no object.
            IndexNotReady: The index by which objects are found is being made.
            CorrectionsChanged: There is a later revision.
            CorrectionsFull, QuotaExceeded, DiskFull, StorageFault: There is no room.
        """
        plan = self._plan()
        _check_once(request.changes)
        drawings = {
            at: drawing_of(each.geometry, plan)
            for at, each in enumerate(request.changes)
            if isinstance(each, Add | Redraw)
        }
        known = standing(log.read_revisions(self.folder))
        wanted = {
            each.object: each.near for each in request.changes if not isinstance(each, Add) and each.object not in known
        }
        found = self._find(wanted, index)

        def made(revisions: tuple[Revision, ...]) -> Revision:
            before = {name: each.model for name, each in standing(revisions).items()} | found
            changes = tuple(_stored(each, drawings.get(at), before, plan) for at, each in enumerate(request.changes))
            return Revision(revision=len(revisions) + 1, at=datetime.now(UTC), author=author, changes=changes)

        size_bytes = len(request.model_dump_json()) + CHANGE_BYTES * len(request.changes)
        with room(size_bytes):
            return self._append(plan, request.revision, made)

    def undo(self, request: UndoRequest, author: Author, room: Room) -> Corrected:
        """Take a revision back: what it says of objects no longer counts.

        Raises:
            JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
            NotUndoable: It cannot be taken back.
            CorrectionsChanged: There is a later revision than the one that was seen.
            CorrectionsFull, QuotaExceeded, DiskFull, StorageFault: There is no room.
        """
        plan = self._plan()

        def made(revisions: tuple[Revision, ...]) -> Revision:
            check_undo(revisions, request.undo)
            return Revision(revision=len(revisions) + 1, at=datetime.now(UTC), author=author, undo=request.undo)

        with room(CHANGE_BYTES):
            return self._append(plan, request.revision, made)

    def _plan(self) -> Plan:
        self.store.read_result(self.job_id)
        return self.store.read_plan(self.job_id)

    def _find(self, wanted: dict[str, Place | None], index: Index) -> dict[str, ModelObject]:
        if not wanted:
            return {}
        path = index()
        if path is None:
            raise IndexNotReady(
                "The index by which objects are found is being made.",
                value=self.job_id,
                accepted="the same in a moment",
            )
        return find_objects(path, wanted)

    def _append(self, plan: Plan, based_on: int, made: Callable[[tuple[Revision, ...]], Revision]) -> Corrected:
        keep = partial(keep_copy, self.store, self.job_id)
        revisions, size_bytes = log.append(self.folder, based_on, made, keep)
        add_size(self.store, self.job_id, size_bytes)
        latest = revisions[-1]
        about = latest.changes if latest.undo is None else revisions[latest.undo - 1].changes
        now, classes = standing(revisions), {each.index: each for each in plan.classes}
        names = [change.object for change in about]
        return Corrected(
            revision=latest.revision,
            undoable=undoable(revisions),
            items=tuple(shown(now[name], classes) for name in names if name in now),
            dropped=tuple(name for name in names if name not in now),
        )


def _check_once(changes: Iterable[Change]) -> None:
    """Refuse two changes of one object: which of them would count?"""
    seen: set[str] = set()
    for each in changes:
        if isinstance(each, Add):
            continue
        if each.object in seen:
            raise RequestInvalid("changes: two are about the same object.", value=each.object, accepted="one each")
        seen.add(each.object)


def _stored(change: Change, drawing: Drawing | None, known: dict[str, ModelObject | None], plan: Plan) -> StoredChange:
    """Return a change as it is kept."""
    if isinstance(change, Add):
        return StoredChange(
            action="add", object=str(uuid.uuid4()), class_index=_class_index(change, plan), drawing=drawing
        )
    return StoredChange(
        action=change.action,
        object=change.object,
        class_index=_class_index(change, plan) if isinstance(change, Relabel) else None,
        drawing=drawing,
        model=known[change.object],
    )


def _class_index(change: Add | Relabel, plan: Plan) -> int:
    """Return the index of the class that a change names, which is not the background.

    Raises:
        RequestInvalid: The model has no such class.
    """
    found = find_class(tuple(each for each in plan.classes if each.index), change.class_name)
    if found is None:
        raise AssertionError
    return found.index
