"""Rows of the index: written by whoever has read the disk last, and by nobody who has read it before that."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Row, and_, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from server.catalogue.entries import ASIDE, Facts, Kind
from server.catalogue.tables import ENTRIES, LABELS, PENDING, SHELVES, WARNINGS

AT_ONCE = 500
"""Rows that are written in one transaction: others wait for no more."""


T = TypeVar("T")


class Pending(NamedTuple):
    """What a tenant has under way: resumable uploads, and bytes of these and of all else that will come."""

    uploads: int = 0
    size_bytes: int = 0


class Seen(NamedTuple):
    """A row as it was seen."""

    facts: Facts
    revision: int


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection that only reads: it waits for no writer."""
    with engine.connect() as connection:
        yield connection.execution_options(reads=True)


def insert(connection: Connection, table: Any) -> Any:
    """Return an insert that may say what to do where the row is there."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def changed_ns(connection: Connection, host: str, shelves: Iterable[str]) -> dict[str, int]:
    """Return shelf → time of the change of its folder up to which its names are known."""
    mine = SHELVES.c.host == host, SHELVES.c.name.in_(list(shelves))
    return {row[0]: row[1] for row in connection.execute(select(SHELVES.c.name, SHELVES.c.changed_ns).where(*mine))}


def note_changed(engine: Engine, host: str, shelf: str, changed: int) -> None:
    """Keep up to which change the names of a folder are known; -1: they are to be listed again."""
    with engine.begin() as connection:
        statement = insert(connection, SHELVES).values(host=host, name=shelf, changed_ns=changed)
        known = {"index_elements": ["host", "name"], "set_": {"changed_ns": changed}}
        connection.execute(statement.on_conflict_do_update(**known))


def names(connection: Connection, host: str, shelf: str) -> set[str]:
    """Return the names of all rows of a folder."""
    return set(connection.scalars(select(ENTRIES.c.id).where(ENTRIES.c.host == host, ENTRIES.c.shelf == shelf)))


def unsettled(connection: Connection, host: str, kind: Kind) -> set[str]:
    """Return the ids of what is not settled."""
    mine = ENTRIES.c.host == host, ENTRIES.c.kind == kind, ~ENTRIES.c.is_settled
    return set(connection.scalars(select(ENTRIES.c.id).where(*mine)))


def add(engine: Engine, found: Iterable[Facts]) -> None:
    """Write rows that were not there; those that are there by now were written by who has read later.

    A row of another data folder is taken over: this one was put back from a backup of that one.
    """
    for part in in_parts(found, AT_ONCE):
        with engine.begin() as connection:
            statement = insert(connection, ENTRIES)
            new = {column.name: statement.excluded[column.name] for column in ENTRIES.c if not column.primary_key}
            taken = {"set_": new | {"revision": ENTRIES.c.revision + 1}}
            taken["where"] = ENTRIES.c.host != statement.excluded.host
            statement = statement.on_conflict_do_update(index_elements=["kind", "id"], **taken)
            lines = [facts.row() | {"revision": 1} for facts in part]
            written = connection.execute(statement.returning(ENTRIES.c.kind, ENTRIES.c.id, ENTRIES.c.revision), lines)
            done = {(kind, name): revision for kind, name, revision in written}
            for (kind, name), revision in done.items():
                if revision > 1:
                    _drop_aside(connection, kind, name)
            _add_aside(connection, [facts for facts in part if (facts.kind, facts.id) in done])


def drop(engine: Engine, host: str, shelf: str, gone: Collection[str]) -> None:
    """Remove the rows of what is gone."""
    for part in in_parts(gone, AT_ONCE):
        with engine.begin() as connection:
            of_shelf = ENTRIES.c.host == host, ENTRIES.c.shelf == shelf
            mine = delete(ENTRIES).where(*of_shelf, ENTRIES.c.id.in_(part))
            for kind, name in connection.execute(mine.returning(ENTRIES.c.kind, ENTRIES.c.id)).all():
                _drop_aside(connection, kind, name)


def renew(engine: Engine, facts: Facts, seen: int) -> bool:
    """Write what was read of an entry after its row was seen with a revision; say whether it still had that one."""
    with engine.begin() as connection:
        same = and_(ENTRIES.c.kind == facts.kind, ENTRIES.c.id == facts.id)
        mine = and_(same, ENTRIES.c.host == facts.host, ENTRIES.c.revision == seen)
        done = connection.execute(update(ENTRIES).where(mine).values(**facts.row(), revision=seen + 1))
        if not done.rowcount:
            return False
        _drop_aside(connection, facts.kind, facts.id)
        _add_aside(connection, [facts])
        return True


def ask_for(engine: Engine, host: str, job_id: str, products: Iterable[str]) -> None:
    """Have a job looked at until products of it are made."""
    with engine.begin() as connection:
        mine = and_(ENTRIES.c.kind == "job", ENTRIES.c.id == job_id, ENTRIES.c.host == host)
        before = connection.scalar(select(ENTRIES.c.asked).where(mine).with_for_update())
        if before is not None:
            asked = " ".join(sorted({*before.split(), *products}))
            changes = {"asked": asked, "is_settled": False, "revision": ENTRIES.c.revision + 1}
            connection.execute(update(ENTRIES).where(mine).values(**changes))


def look_at(connection: Connection, host: str, *conditions: Any) -> list[Seen]:
    """Return rows of a data folder that these conditions are true of."""
    found = connection.execute(select(ENTRIES).where(ENTRIES.c.host == host, *conditions)).all()
    aside: defaultdict[tuple[str, str, str], set[Any]] = defaultdict(set)
    for part in in_parts(found, AT_ONCE):
        ids = [row.id for row in part]
        for kind, name, key, value in connection.execute(select(LABELS).where(LABELS.c.id.in_(ids))):
            aside["labels", kind, name].add((key, value))
        for kind, name, code in connection.execute(select(WARNINGS).where(WARNINGS.c.id.in_(ids))):
            aside["warnings", kind, name].add(code)
    return [_seen(row, {name: frozenset(aside[name, row.kind, row.id]) for name in ASIDE}) for row in found]


def totals(connection: Connection, tenant: str, *scope: Any) -> dict[str, tuple[int, int]]:
    """Return kind → (how many, bytes) of what a tenant has, in the data folders that count."""
    sums = select(ENTRIES.c.kind, func.count(), func.sum(ENTRIES.c.size_bytes))
    found = connection.execute(sums.where(ENTRIES.c.tenant == tenant, *scope).group_by(ENTRIES.c.kind))
    return {kind: (count, int(size)) for kind, count, size in found}


def pending_elsewhere(connection: Connection, host: str, tenant: str) -> Pending:
    """Return what a tenant has under way in other data folders than this."""
    sums = select(func.coalesce(func.sum(PENDING.c.uploads), 0), func.coalesce(func.sum(PENDING.c.size_bytes), 0))
    found = connection.execute(sums.where(PENDING.c.tenant == tenant, PENDING.c.host != host)).one()
    return Pending(*map(int, found))


def note_pending(engine: Engine, host: str, found: Mapping[str, Pending]) -> None:
    """Write tenant → what it has under way in a data folder, unless that is what is known."""
    with reading(engine) as connection:
        known = connection.execute(select(PENDING).where(PENDING.c.host == host)).all()
    if {row.tenant: Pending(row.uploads, row.size_bytes) for row in known} == found:
        return
    with engine.begin() as connection:
        connection.execute(delete(PENDING).where(PENDING.c.host == host))
        lines = [{"host": host, "tenant": tenant} | each._asdict() for tenant, each in found.items()]
        if lines:
            connection.execute(insert(connection, PENDING).on_conflict_do_nothing(), lines)


def counts(connection: Connection, host: str) -> dict[str, int]:
    """Return kind → how many a data folder has, of all tenants."""
    mine = select(ENTRIES.c.kind, func.count()).where(ENTRIES.c.host == host)
    found = connection.execute(mine.group_by(ENTRIES.c.kind))
    return {row[0]: row[1] for row in found}


def clear(engine: Engine, host: str) -> None:
    """Remove all rows of a data folder."""
    with engine.begin() as connection:
        mine = select(ENTRIES.c.kind, ENTRIES.c.id).where(ENTRIES.c.host == host)
        for table in (LABELS, WARNINGS):
            connection.execute(delete(table).where(tuple_(table.c.kind, table.c.id).in_(mine)))
        for table in (ENTRIES, SHELVES):
            connection.execute(delete(table).where(table.c.host == host))


def present(connection: Connection, kind: Kind, tenant: str, wanted: Sequence[str]) -> set[str]:
    """Return which of these ids a tenant has."""
    mine = ENTRIES.c.kind == kind, ENTRIES.c.tenant == tenant
    return {
        name
        for part in in_parts(wanted, AT_ONCE)
        for name in connection.scalars(select(ENTRIES.c.id).where(*mine, ENTRIES.c.id.in_(part)))
    }


def has_other(connection: Connection, host: str, kind: Kind, name: str) -> bool:
    """Return whether another data folder than this has an entry."""
    others = ENTRIES.c.kind == kind, ENTRIES.c.id == name, ENTRIES.c.host != host
    return connection.scalar(select(ENTRIES.c.id).where(*others)) is not None


def in_parts(items: Iterable[T], most: int) -> Iterator[list[T]]:
    """Yield items in lists of at most so many."""
    left = iter(items)
    while part := list(islice(left, most)):
        yield part


def _add_aside(connection: Connection, found: Sequence[Facts]) -> None:
    labels = [
        {"kind": facts.kind, "id": facts.id, "key": key, "value": value}
        for facts in found
        for key, value in facts.labels
    ]
    warnings = [{"kind": facts.kind, "id": facts.id, "code": code} for facts in found for code in facts.warnings]
    for table, lines in ((LABELS, labels), (WARNINGS, warnings)):
        if lines:
            connection.execute(table.insert(), lines)


def _drop_aside(connection: Connection, kind: str, name: str) -> None:
    for table in (LABELS, WARNINGS):
        connection.execute(delete(table).where(table.c.kind == kind, table.c.id == name))


def _seen(row: Row[Any], aside: dict[str, Any]) -> Seen:
    columns = dict(row._mapping) | aside | {"asked": frozenset(row.asked.split())}  # noqa: SLF001  its public name
    revision = columns.pop("revision")
    return Seen(Facts(**columns), revision)
