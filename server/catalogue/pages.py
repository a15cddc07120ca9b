"""Pages of lists: which entries of a tenant are meant, the newest first."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from server.catalogue.entries import Kind
from server.catalogue.pagination import Place
from server.catalogue.tables import ENTRIES, LABELS, WARNINGS
from workers.core.frozen import Frozen
from workers.core.schemas import FINAL_STATES, JobState, JobView

Condition = ColumnElement[bool]
Columns = ReadOnlyColumnCollection[str, Any]


class SlideFilter(Frozen):
    """Which slides to list, of a tenant; None and nothing let all through.

    Attributes:
        name: Part of the file's name, without regard to case.
        labels: Names and values, all of them.
        warning: Code of a warning.
        since: At or after this time.
        before: Before this time.
    """

    tenant: str | None = None
    name: str | None = None
    sha256: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    warning: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def conditions(self) -> list[Condition]:
        """Return what is true of the rows of slides that are wanted."""
        found = [*self._common(), *self._of_slide(ENTRIES.c)]
        found += [ENTRIES.c.id.in_(labelled("slide", each)) for each in self.labels]
        return found if self.warning is None else [*found, ENTRIES.c.id.in_(warned("slide", self.warning))]

    def _common(self) -> list[Condition]:
        found = [] if self.tenant is None else of_tenant(self.tenant)
        if self.since is not None:
            found.append(ENTRIES.c.created_at >= self.since.timestamp())
        if self.before is not None:
            found.append(ENTRIES.c.created_at < self.before.timestamp())
        return found

    def _of_slide(self, columns: Columns) -> list[Condition]:
        found: list[Condition] = []
        if self.name is not None:
            found.append(columns.name.contains(self.name.casefold(), autoescape=True))
        if self.sha256 is not None:
            found.append(columns.sha256 == self.sha256.lower())
        return found


class JobFilter(SlideFilter):
    """Which jobs to list: name and SHA-256 are those of the slide, labels those of the job or of its slide."""

    states: tuple[JobState, ...] = ()
    slide_id: str | None = None
    model: str | None = None

    def conditions(self) -> list[Condition]:
        """Return what is true of the rows of jobs that are wanted, and of some of those that are not settled."""
        columns = {"slide_id": self.slide_id, "model": self.model}
        found = [*self._common(), *(ENTRIES.c[name] == value for name, value in columns.items() if value is not None)]
        slides = ENTRIES.alias()
        if of_slide := self._of_slide(slides.c):
            found.append(ENTRIES.c.slide_id.in_(select(slides.c.id).where(slides.c.kind == "slide", *of_slide)))
        for each in self.labels:
            own, of_its_slide = labelled("job", each), labelled("slide", each)
            found.append(or_(ENTRIES.c.id.in_(own), ENTRIES.c.slide_id.in_(of_its_slide)))
        if self.warning is not None:
            found.append(or_(~ENTRIES.c.is_settled, ENTRIES.c.id.in_(warned("job", self.warning))))
        if self.states:
            ends = [state for state in self.states if state in FINAL_STATES]
            found.append(or_(~ENTRIES.c.is_settled, ENTRIES.c.state.in_(ends)))
        return found

    def concerns_slides(self) -> bool:
        """Whether it has to be known of slides which jobs are wanted."""
        return bool(self.name or self.sha256 or self.labels)

    def may_let_through(self, view: JobView) -> bool:
        """Whether a job may be to be listed, by what the queue tells: neither labels nor warnings."""
        return self.tenant in (None, view.tenant) and (not self.states or view.state in self.states)

    def lets_through(self, view: JobView) -> bool:
        """Whether a job is to be listed, by what the index does not decide: whose it is, and how it stands now."""
        codes = (warning.code for warning in view.warnings)
        return self.may_let_through(view) and self.warning in (None, *codes)


def labelled(kind: Kind, label: tuple[str, str]) -> Select[tuple[str]]:
    """Return the ids of what has a label."""
    key, value = label
    return select(LABELS.c.id).where(LABELS.c.key == key, LABELS.c.value == value, LABELS.c.kind == kind)


def warned(kind: Kind, code: str) -> Select[tuple[str]]:
    """Return the ids of what has a warning."""
    return select(WARNINGS.c.id).where(WARNINGS.c.code == code, WARNINGS.c.kind == kind)


def of_tenant(tenant: str) -> list[Condition]:
    """Return what is true of everything of a tenant."""
    return [ENTRIES.c.tenant == tenant]


def entries_after(
    connection: Connection, kind: Kind, conditions: Sequence[Condition], cursor: Place | None, limit: int
) -> list[Place]:
    """Return the places of up to `limit` entries after one, the newest first."""
    asked = select(ENTRIES.c.created_at, ENTRIES.c.id).where(ENTRIES.c.kind == kind, *conditions)
    if cursor is not None:
        asked = asked.where(_after(cursor))
    asked = asked.order_by(ENTRIES.c.created_at.desc(), ENTRIES.c.id.desc()).limit(limit)
    return [Place(time, name) for time, name in connection.execute(asked)]


def _after(cursor: Place) -> Condition:
    # The first half says nothing that the second does not; by it an index is entered at the right place.
    time, name = ENTRIES.c.created_at, ENTRIES.c.id
    return and_(time <= cursor.time, or_(time < cursor.time, name < cursor.id))
