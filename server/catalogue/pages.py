"""Pages of lists: which entries of a tenant are meant, the newest first."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from server.catalogue.entries import Kind
from server.catalogue.pagination import Place
from server.catalogue.tables import ENTRIES
from workers.core.frozen import Frozen
from workers.core.schemas import FINAL_STATES, JobState, JobView


class JobFilter(Frozen):
    """Which jobs to list; None lets all through."""

    tenant: str | None = None
    states: tuple[JobState, ...] = ()
    slide_id: str | None = None
    model: str | None = None
    since: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what is true of the rows that are wanted, and of some of those that are not settled."""
        columns = {"tenant": self.tenant, "slide_id": self.slide_id, "model": self.model}
        found: list[ColumnElement[bool]] = [
            ENTRIES.c[name] == value for name, value in columns.items() if value is not None
        ]
        if self.since is not None:
            found.append(ENTRIES.c.created_at >= self.since.timestamp())
        if self.states:
            ends = [state for state in self.states if state in FINAL_STATES]
            found.append(or_(~ENTRIES.c.is_settled, ENTRIES.c.state.in_(ends)))
        return found

    def lets_through(self, view: JobView) -> bool:
        """Whether a job is to be listed, by what the index does not decide: whose it is, and how it stands now."""
        return self.tenant in (None, view.tenant) and (not self.states or view.state in self.states)


def entries_after(
    connection: Connection, kind: Kind, conditions: Sequence[ColumnElement[bool]], cursor: Place | None, limit: int
) -> list[Place]:
    """Return the places of up to `limit` entries after one, the newest first."""
    asked = select(ENTRIES.c.created_at, ENTRIES.c.id).where(ENTRIES.c.kind == kind, *conditions)
    if cursor is not None:
        asked = asked.where(_after(cursor))
    asked = asked.order_by(ENTRIES.c.created_at.desc(), ENTRIES.c.id.desc()).limit(limit)
    return [Place(time, name) for time, name in connection.execute(asked)]


def of_tenant(tenant: str) -> list[ColumnElement[bool]]:
    """Return what is true of everything of a tenant."""
    return [ENTRIES.c.tenant == tenant]


def _after(cursor: Place) -> Any:
    # The first half says nothing that the second does not; by it an index is entered at the right place.
    time, name = ENTRIES.c.created_at, ENTRIES.c.id
    return and_(time <= cursor.time, or_(time < cursor.time, name < cursor.id))
