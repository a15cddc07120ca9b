"""How objects stand, and what that changes: against a slow, literal list of objects that is changed step by step."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.corrections.counts import count_corrected
from workers.core.corrections.schemas import Author, Drawing, ModelObject, Revision, StoredChange
from workers.core.corrections.standing import check_undo, standing, undoable
from workers.core.errors.review import NotUndoable

NOW, ANNA = datetime(2026, 1, 2, tzinfo=UTC), Author(name="anna")
RING = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)),)
BOX = (0.0, 0.0, 1.0, 1.0)
MODEL = {
    name: ModelObject(class_index=index, area_um2=area, box=BOX, outline=RING)
    for name, index, area in (("a", 1, 10.0), ("b", 1, 20.0), ("c", 2, 40.0), ("d", 2, 80.0))
}
"""All objects that the model has found."""
STATISTICS: dict[str, Any] = {
    "tissue_mm2": 3.0,
    "excluded_mm2": 1.0,
    "classes": [
        {"index": 0, "name": "background", "color": [0, 0, 0], "mm2": 1.0},
        {"index": 1, "name": "one", "color": [1, 1, 1], "mm2": 0.5, "count": 2, "density_per_mm2": 0.5},
        {"index": 2, "name": "two", "color": [2, 2, 2], "mm2": 0.7, "count": 2, "density_per_mm2": 0.5},
    ],
}

areas = st.floats(1, 500)
steps = st.lists(
    st.tuples(
        st.sampled_from(["accept", "reject", "relabel", "redraw", "add", "undo"]),
        st.sampled_from([*MODEL, "e0", "e1"]),
        st.sampled_from([1, 2]),
        areas,
    ),
    max_size=14,
)


def revisions_of(wanted: list[tuple[str, str, int, float]]) -> tuple[Revision, ...]:
    """Return the revisions of such steps; those that make no sense at their moment are left out."""
    made: list[Revision] = []
    for action, name, index, area in wanted:
        now = standing(made)
        number = len(made) + 1
        if action == "undo":
            if (latest := undoable(made)) is not None:
                made.append(Revision(revision=number, at=NOW, author=ANNA, undo=latest))
            continue
        known = f"e{number}" if action == "add" else name
        if action != "add" and known not in MODEL and known not in now:
            continue
        drawing = Drawing(outline=RING, area_um2=area, box=BOX) if action in ("redraw", "add") else None
        change = StoredChange.model_validate(
            {"action": action, "object": known, "model": MODEL.get(known), "drawing": drawing}
            | {"class_index": index if action in ("relabel", "add") else None}
        )
        made.append(Revision(revision=number, at=NOW, author=ANNA, changes=(change,)))
    return tuple(made)


def literal(revisions: tuple[Revision, ...]) -> dict[str, tuple[int, float]]:
    """Return all objects that there are after the revisions: id → class, area. Undone ones never happened."""
    gone = {each.undo for each in revisions}
    there = {name: (each.class_index, each.area_um2) for name, each in MODEL.items()}
    hidden: dict[str, tuple[int, float]] = {}
    for revision in revisions:
        for change in revision.changes if revision.revision not in gone else ():
            index, area = {change.object: (0, 0.0), **hidden, **there}[change.object]
            hidden.pop(change.object, (0, 0.0)), there.pop(change.object, (0, 0.0))
            if change.class_index is not None:
                index = change.class_index
            if change.drawing is not None:
                area = change.drawing.area_um2
            (hidden if change.action == "reject" else there)[change.object] = index, area
    return there


@given(steps)
def test_numbers_are_those_of_the_objects_that_are_there(wanted: list[tuple[str, str, int, float]]) -> None:
    revisions = revisions_of(wanted)
    there = literal(revisions)
    found = count_corrected(STATISTICS, standing(revisions).values(), len(revisions))
    assert found.tissue_mm2 == 4.0
    for each in found.classes:
        mine = [area for index, area in there.values() if index == each.index]
        models = [one.area_um2 for one in MODEL.values() if one.class_index == each.index]
        assert each.corrected.count == len(mine)
        assert each.corrected.mm2 == pytest.approx(each.without.mm2 + (sum(mine) - sum(models)) / 1e6)
        assert each.corrected.density_per_mm2 == pytest.approx(len(mine) / 4)
        told = each.reviewed
        assert len(mine) == len(models) - told.rejected - told.relabelled + told.came + told.added


@given(steps)
def test_what_is_taken_back_never_happened(wanted: list[tuple[str, str, int, float]]) -> None:
    revisions = revisions_of(wanted)
    latest = undoable(revisions)
    if latest is None:
        assert not standing(revisions)
        return
    check_undo(revisions, latest)
    back = Revision(revision=len(revisions) + 1, at=NOW, author=ANNA, undo=latest)
    without = tuple(replace_changes(each) if each.revision == latest else each for each in revisions)
    assert standing((*revisions, back)) == standing(without)
    with pytest.raises(NotUndoable):
        check_undo((*revisions, back), latest)


def replace_changes(revision: Revision) -> Revision:
    return revision.model_copy(update={"changes": ()})


def test_a_revision_stays_as_long_as_later_ones_are_about_its_object() -> None:
    revisions = revisions_of([("reject", "a", 1, 1), ("accept", "b", 1, 1), ("accept", "a", 1, 1)])
    check_undo(revisions, 2)
    with pytest.raises(NotUndoable) as caught:
        check_undo(revisions, 1)
    assert caught.value.accepted == "revision 3 first"
    (first, *_) = standing(revisions).values()
    assert (first.state, first.revision) == ("accepted", 3)
    assert replace(first, class_index=2).state == "relabelled"


def test_an_older_job_that_counted_nothing_has_no_counts() -> None:
    statistics = STATISTICS | {"classes": [{"index": 1, "name": "one", "color": [1, 1, 1], "mm2": 0.0}]}
    (found,) = count_corrected(statistics, standing(revisions_of([("reject", "a", 1, 1)])).values(), 1).classes
    assert (found.corrected.count, found.corrected.density_per_mm2, found.corrected.mm2) == (None, None, 0.0)
