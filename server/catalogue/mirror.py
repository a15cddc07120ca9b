"""Makes the index say what the disk and the queue say: by the names of folders, by ends of jobs, or by reading all.

Nobody who writes a slide or a job has to tell the index of it. A folder of entries has another time once a name in it
came or went, by whatever hand; then its names are listed. A job that is not settled is read again once the queue does
not count it among those that have not ended: its end is on the disk before it is in the queue. Only what changes
within an entry that is settled is told, by `renew`.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from server.catalogue import rows
from server.catalogue.entries import BATCHES, NOBODY, Facts, Kind, Reader, batches_of, confirmed
from server.catalogue.tables import ENTRIES
from workers.core.errors.base import QueueUnavailable
from workers.core.queue.exchange import answering
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys

CLOCK_NS = 100_000_000
"""A folder that has changed within so short a time is listed again: two changes may bear the same time."""

READ_AT_ONCE = 200
"""Entries that are read before the queue is asked about them in one exchange."""

_ID = re.compile(r"[0-9a-f]{32}")
_BATCH = re.compile(r"[0-9a-zA-Z]+\.json")


class Shelf(NamedTuple):
    """A folder of entries.

    Attributes:
        name: In the index.
        kind: Of its entries.
        folder: Where it is; need not be there.
    """

    name: str
    kind: Kind
    folder: Path

    def listed(self) -> set[str]:
        """Return the names of its entries as they are on the disk."""
        pattern = _BATCH if self.kind == "batch" else _ID
        with suppress(FileNotFoundError):
            found = os.listdir(self.folder)  # noqa: PTH208  paths of ten thousand names take longer than the rest
            return {name.removesuffix(".json") for name in found if pattern.fullmatch(name)}
        return set()


class Mirror:
    """The disk and the queue, as the index is to show them. Every method blocks.

    Args:
        jobs: The queue, with its data folder.
        host: The name of the data folder in the index: all else in there is not looked at, and not touched.
    """

    def __init__(self, jobs: Jobs, host: str) -> None:
        self._jobs = jobs
        self._host = host
        self._root = jobs.store.root
        self._reader = Reader(jobs.store, host)

    def shelf(self, kind: Kind, tenant: str) -> Shelf:
        """Return the folder in which entries of a tenant lie."""
        return self._batches(batches_of(self._root, tenant)) if kind == "batch" else self._of_all(kind)

    def shelves(self) -> Iterator[Shelf]:
        """Yield all folders of entries."""
        yield self._of_all("slide")
        yield self._of_all("job")
        with suppress(FileNotFoundError):
            yield from map(self._batches, sorted(path for path in (self._root / BATCHES).iterdir() if path.is_dir()))

    def take_names(self, engine: Engine, *shelves: Shelf) -> None:
        """Learn of what came and went, where a folder has changed since it was listed."""
        with rows.reading(engine) as connection:  # before the disk: what is known of it is of an earlier time
            known = rows.changed_ns(connection, self._host, [shelf.name for shelf in shelves])
        for shelf in shelves:
            self._take_names(engine, shelf, known.get(shelf.name))

    def _take_names(self, engine: Engine, shelf: Shelf, known_ns: int | None) -> None:
        now_ns = time.time_ns()
        try:
            changed = shelf.folder.stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if known_ns == changed:
            return
        with rows.reading(engine) as connection:  # before the folder: what is missing there is gone
            known = rows.names(connection, self._host, shelf.name)
        there = shelf.listed()
        rows.add(engine, self._read(shelf, dict.fromkeys(there - known, frozenset())))
        rows.drop(engine, self._host, shelf.name, known - there)
        rows.note_changed(engine, self._host, shelf.name, changed if changed < now_ns - CLOCK_NS else -1)

    def forget(self, engine: Engine, kind: Kind, name: str) -> None:
        """Know nothing of a slide or job that is gone."""
        shelf = self._of_all(kind)
        rows.drop(engine, self._host, shelf.name, [name])
        rows.note_changed(engine, self._host, shelf.name, -1)

    def ask_for(self, engine: Engine, job_id: str, products: Iterable[str]) -> None:
        """Have a job looked at until products of it are made."""
        self.take_names(engine, self._of_all("job"))
        rows.ask_for(engine, self._host, job_id, products)

    def take_sizes(self, engine: Engine, tenant: str) -> None:
        """Learn what the jobs of a tenant take that are not settled. The queue is not asked: it may be down."""
        mine = ENTRIES.c.kind == "job", ~ENTRIES.c.is_settled, ENTRIES.c.tenant.in_((tenant, NOBODY))
        with rows.reading(engine) as connection:
            found = rows.look_at(connection, self._host, *mine)
        for seen in found:
            size = self._reader.size(seen.facts.id)
            if size is not None or seen.facts.tenant == NOBODY:
                self._renew(engine, [seen], asks_queue=False)

    def take_unsettled(self, engine: Engine, kind: Kind, active: frozenset[str] = frozenset()) -> None:
        """Read again what is not settled: jobs that have ended by now, what could not be read before.

        Args:
            engine: The index.
            kind: Of the entries.
            active: Jobs that have not ended, as the queue tells; they are read only if they are settled here.
        """
        with rows.reading(engine) as connection:
            unsettled = rows.unsettled(connection, self._host, kind)
            found: list[rows.Seen] = []
            for part in rows.in_parts(unsettled ^ active, rows.AT_ONCE):  # a job that failed may be queued again
                found += rows.look_at(connection, self._host, ENTRIES.c.kind == kind, ENTRIES.c.id.in_(part))
        for seen in found:
            if kind == "job" and seen.facts.id not in active:
                self._jobs.ends.learn(seen.facts.id)
        self._renew(engine, found)

    def differing(self, engine: Engine) -> Iterator[rows.Seen]:
        """Yield the rows of settled entries that say something else than the disk: somebody has changed it by hand."""
        for shelf in self.shelves():
            self.take_names(engine, shelf)
            with rows.reading(engine) as connection:
                known = sorted(rows.names(connection, self._host, shelf.name))
            for part in rows.in_parts(known, rows.AT_ONCE):
                mine = ENTRIES.c.shelf == shelf.name, ENTRIES.c.id.in_(part), ENTRIES.c.is_settled
                with rows.reading(engine) as connection:
                    found = rows.look_at(connection, self._host, *mine)
                yield from (seen for seen, facts in self._read_again(found) if facts != seen.facts)

    def reconcile(self, engine: Engine) -> int:
        """Read everything again, and write what is different; return how much was."""
        found = list(self.differing(engine))
        self._renew(engine, found)
        return len(found)

    def renew(self, engine: Engine, kind: Kind, name: str, tenant: str) -> None:
        """Write what the disk says of an entry now; right after it was changed, by whoever has changed it."""
        shelf = self.shelf(kind, tenant)
        while True:
            with rows.reading(engine) as connection:  # before the disk: see `rows.renew`
                found = rows.look_at(connection, self._host, ENTRIES.c.kind == kind, ENTRIES.c.id == name)
            if found:
                if self._renew(engine, found):
                    return
            else:
                facts = next(self._read(shelf, {name: frozenset()}))
                if facts.tenant == NOBODY:  # it is gone
                    return
                rows.add(engine, [facts])

    def _renew(self, engine: Engine, found: Sequence[rows.Seen], *, asks_queue: bool = True) -> bool:
        """Read entries again and write what is different; say whether nobody else did meanwhile."""
        is_alone = True
        for seen, facts in self._read_again(found, asks_queue=asks_queue):
            if facts != seen.facts:
                is_alone &= rows.renew(engine, facts, seen.revision)
        return is_alone

    def _read_again(self, found: Sequence[rows.Seen], *, asks_queue: bool = True) -> Iterator[tuple[rows.Seen, Facts]]:
        for _, group in groupby(found, lambda seen: seen.facts.shelf):
            seen = list(group)
            wanted = {each.facts.id: each.facts.asked for each in seen}
            yield from zip(seen, self._read(self._shelf_of(seen[0].facts), wanted, asks_queue=asks_queue), strict=True)

    def _shelf_of(self, facts: Facts) -> Shelf:
        if facts.kind == "batch":
            return self._batches(self._root / BATCHES / facts.shelf.partition(" ")[2])
        return self._of_all(facts.kind)

    def _read(self, shelf: Shelf, wanted: Mapping[str, frozenset[str]], *, asks_queue: bool = True) -> Iterator[Facts]:
        """Yield what the disk says of entries: name → products that were asked for."""
        for part in rows.in_parts(wanted, READ_AT_ONCE):
            found = [self._reader.read(shelf.kind, name, shelf.name, shelf.folder, wanted[name]) for name in part]
            ended = [facts.id for facts in found if facts.kind == "job" and facts.is_settled]
            in_queue = self._states(ended) if asks_queue else dict.fromkeys(ended, "")
            yield from (confirmed(facts, in_queue.get(facts.id)) for facts in found)

    def _states(self, job_ids: Sequence[str]) -> Mapping[str, str | None]:
        """Return what the queue says of jobs, None of those that it does not know, nothing if it does not answer."""
        if not job_ids:
            return {}
        try:
            with answering(), self._jobs.redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hget(JobKeys(job_id).record, "state")
                found = pipe.execute()
        except QueueUnavailable:
            return dict.fromkeys(job_ids, "")
        return {job_id: state and state.decode() for job_id, state in zip(job_ids, found, strict=True)}

    def _of_all(self, kind: Kind) -> Shelf:
        return Shelf(kind, kind, self._root / f"{kind}s")

    def _batches(self, folder: Path) -> Shelf:
        return Shelf(f"batch {folder.name}", "batch", folder)
