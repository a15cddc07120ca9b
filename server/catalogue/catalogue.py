"""The index over slides, jobs and batches: lists, counts and quotas ask it, and not the disk.

The disk is the truth, and the index is made of it: `server.catalogue.mirror`. Whatever is wrong with the index is
mended here, and who asks notices nothing but the time that it takes.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from anyio import to_thread
from sqlalchemy import ColumnElement, Engine
from sqlalchemy.exc import SQLAlchemyError

from server.catalogue import rows
from server.catalogue.database import Database, is_damage, told
from server.catalogue.entries import NOBODY, Facts, Kind, Stored
from server.catalogue.mirror import Mirror
from server.catalogue.pages import entries_after
from server.catalogue.pagination import Place
from server.catalogue.tables import ENTRIES
from workers.core.errors.base import QueueUnavailable
from workers.core.queue.exchange import answering
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import ACTIVE
from workers.core.stored.jobs import folder_name

TEND_S = 60.0
BROKEN = (SQLAlchemyError, sqlite3.Error)

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Catalogue:
    """The index of one data folder, or of several. Every method blocks; several threads and processes may call.

    Gateways with a data folder and a storage each may have one database: each reads its own folder, and all are
    asked about what is in any. Without a storage nobody could read what is another's, and so it does not count.

    Args:
        jobs: The queue, with its data folder and settings.

    Attributes:
        is_shared: Whether the entries of other data folders are shown and counted, if there are any.

    Raises:
        RequestInvalid: The settings name an index that cannot be one.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        url, store = jobs.settings.catalogue_url, jobs.store
        self._host = folder_name(store) if url else ""
        self._mirror = Mirror(jobs, self._host)
        self._database = Database(store.root, url)
        self.is_shared = bool(url) and store.storage is not None
        self._scope = [ENTRIES.c.host == self._host] if url and not self.is_shared else []
        self._lock = threading.RLock()
        self._untold: set[tuple[Kind, str, str]] = set()  # what has changed while the index that lasts was away

    def close(self) -> None:
        """Let go of all connections; a later call opens new ones."""
        with self._lock:
            self._database.close()

    def learn(self, kind: Kind, tenant: str = NOBODY) -> None:
        """Learn of what came, went or ended since the last time.

        Args:
            kind: Of the entries.
            tenant: Whose batches.

        Raises:
            QueueUnavailable: Jobs are asked about, and Redis does not answer.
        """
        active = self._active() if kind == "job" else frozenset()

        def work(engine: Engine) -> None:
            self._mirror.take_names(engine, self._mirror.shelf(kind, tenant))
            self._mirror.take_unsettled(engine, kind, active)

        self._ask(work)

    def pull(self) -> None:
        """Learn of what came into this data folder or went, for those who ask another gateway of a shared index."""
        if self.is_shared and not self._database.is_memory:
            self._ask(lambda engine: self._mirror.take_names(engine, *self._mirror.shelves()))

    def entries(
        self, kind: Kind, conditions: Sequence[ColumnElement[bool]], cursor: Place | None, limit: int
    ) -> list[Place]:
        """Return the places of up to `limit` entries after one, the newest first, as `learn` has learned of them."""

        def work(engine: Engine) -> list[Place]:
            with rows.reading(engine) as connection:
                return entries_after(connection, kind, [*conditions, *self._scope], cursor, limit)

        return self._ask(work)

    def stored(self, tenant: str) -> Stored:
        """Return what a tenant has. The queue need not be there."""

        def work(engine: Engine) -> Stored:
            self._mirror.take_names(engine, *(self._mirror.shelf(kind, tenant) for kind in ("slide", "job", "batch")))
            self._mirror.take_sizes(engine, tenant)
            with rows.reading(engine) as connection:
                found = rows.totals(connection, tenant, *self._scope)
            (slides, slide_bytes), (jobs, job_bytes), (batches, batch_bytes) = (
                found.get(kind, (0, 0)) for kind in ("slide", "job", "batch")
            )
            return Stored(
                slides=slides,
                slides_bytes=slide_bytes,
                jobs=jobs,
                jobs_bytes=job_bytes,
                batches=batches,
                batches_bytes=batch_bytes,
            )

        return self._ask(work)

    def pending_elsewhere(self, tenant: str) -> rows.Pending:
        """Return what a tenant has under way in the other data folders of a shared index, as they have told."""

        def work(engine: Engine) -> rows.Pending:
            with rows.reading(engine) as connection:
                return rows.pending_elsewhere(connection, self._host, tenant)

        return self._ask(work) if self.is_shared else rows.Pending()

    def tell_pending(self, found: Mapping[str, rows.Pending]) -> None:
        """Have gateways of other data folders count what tenants have under way in this one."""
        if self.is_shared and not self._database.is_memory:
            self._ask(lambda engine: rows.note_pending(engine, self._host, found))

    def slides_among(self, tenant: str, wanted: Sequence[str]) -> set[str]:
        """Return which of these ids are slides of a tenant."""

        def work(engine: Engine) -> set[str]:
            self._mirror.take_names(engine, self._mirror.shelf("slide", tenant))
            with rows.reading(engine) as connection:
                return rows.present(connection, "slide", tenant, wanted)

        return self._ask(work)

    def is_elsewhere(self, kind: Kind, name: str) -> bool:
        """Return whether another data folder of a shared index has an entry."""

        def work(engine: Engine) -> bool:
            with rows.reading(engine) as connection:
                return rows.has_other(connection, self._host, kind, name)

        return self.is_shared and self._ask(work)

    def expect(self, job_id: str, product: str) -> None:
        """Look at a job again until a product that was asked for is made."""
        self._ask(lambda engine: self._mirror.ask_for(engine, job_id, [product]))

    def forget(self, kind: Kind, name: str) -> None:
        """Know nothing of a slide or job that was deleted: it may come again under the same name."""
        self._ask(lambda engine: self._mirror.forget(engine, kind, name))

    def renew(self, kind: Kind, name: str, tenant: str) -> None:
        """Learn of what has changed within an entry of a tenant, now that it is on the disk."""
        with self._lock:
            self._ask(lambda engine: self._mirror.renew(engine, kind, name, tenant))
            if self._database.is_memory:
                self._untold.add((kind, name, tenant))

    def differing(self) -> list[Facts]:
        """Return what the index says otherwise than the disk: somebody has changed a record by hand."""
        return self._ask(lambda engine: [seen.facts for seen in self._mirror.differing(engine)])

    def reconcile(self) -> int:
        """Read everything again, while others may ask; return how much was otherwise than the index said.

        Whatever a crash, a backup that was put back, or a hand has left: after this the index says what the disk says.
        """
        engine = self._ask(lambda engine: engine)
        return 0 if self._database.is_memory else self._mirror.reconcile(engine)

    def rebuild(self) -> dict[str, int]:
        """Make the index anew, of this data folder; return how much of each kind is in it.

        Raises:
            QueueUnavailable: Redis does not answer.
            SQLAlchemyError, sqlite3.Error, OSError: It cannot be made.
        """
        with self._lock:
            self._database.remake()
            engine = self._database.engine()
            rows.clear(engine, self._host)
            self._mirror.reconcile(engine)
            self._mirror.take_unsettled(engine, "job", self._active())
            with rows.reading(engine) as connection:
                return rows.counts(connection, self._host)

    def tend(self) -> None:
        """Go back to the index that lasts, if it can be had again, and learn of ended jobs if nobody asks for them."""
        try:
            if self._database.is_memory:
                self._go_back()
            self.learn("job")
        except (*BROKEN, QueueUnavailable) as error:
            logger.info("the index of slides and jobs is not tended this time: %s", told(error))

    def _go_back(self) -> None:
        engine = self._database.opened()
        try:
            self._mirror.reconcile(engine)
            with self._lock:
                with rows.reading(self._database.engine()) as connection:
                    asked = rows.look_at(connection, self._host, ENTRIES.c.asked != "")
                for seen in asked:
                    self._mirror.ask_for(engine, seen.facts.id, seen.facts.asked)
                for told_of in self._untold:
                    self._mirror.renew(engine, *told_of)
                self._untold.clear()
                self._database.take(engine)
        except BROKEN:
            engine.dispose()
            raise
        logger.warning("the index of slides and jobs can be had again")

    def _active(self) -> frozenset[str]:
        with answering():
            return frozenset(member.decode() for member in self.jobs.redis.smembers(ACTIVE))

    def _ask(self, work: Callable[[Engine], T]) -> T:
        """Do something with the index; if it cannot be had, with one made anew, and at last with one in memory."""
        with self._lock:
            for mend in (self._mend, self._go_without):
                try:
                    return work(self._database.engine())
                except BROKEN as error:
                    mend(error)
            return work(self._database.engine())

    def _mend(self, error: Exception) -> None:
        if not is_damage(error):
            self._go_without(error)
            return
        logger.warning("the index of slides and jobs is damaged, and is made anew: %s", told(error))
        try:
            self._database.remake()
        except (*BROKEN, OSError) as worse:
            self._go_without(worse)

    def _go_without(self, error: Exception) -> None:
        logger.warning("the index of slides and jobs cannot be had, and is kept in memory meanwhile: %s", told(error))
        self._database.go_without()


async def tend_for_ever(catalogue: Catalogue, period_s: float = TEND_S) -> None:
    """Compare the index with the disk once, then look after it from time to time, until canceled."""
    try:
        count = await to_thread.run_sync(catalogue.reconcile)
        if count:
            logger.warning("the index said something else than the disk of %d slides, jobs or batches", count)
    except Exception:  # whatever it is, what follows is to go on
        logger.exception("the index was not compared with the disk")
    while True:
        await asyncio.sleep(period_s)
        try:
            await to_thread.run_sync(catalogue.tend)
        except Exception:  # whatever it is, the next time it may do
            logger.exception("the index was not looked after")
