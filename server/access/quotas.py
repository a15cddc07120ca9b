"""What tenants may still have: stored bytes, unfinished jobs, batches, counted for each request.

Who asks holds a room as long as what it stands for is not yet seen by the count, so two at once do not fit where one
does. That holds in one gateway process; several may each let one in. Gateways of other data folders that share the
index count what is stored here within a second, and what is under way within ten (`server.catalogue.for_others`).
"""

import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from itertools import count
from typing import Protocol

from anyio import to_thread
from pydantic import Field

from server.access.limits import Wanted, check_batches, check_jobs, check_storage
from server.catalogue.catalogue import Catalogue
from server.catalogue.rows import Pending
from workers.core.frozen import Frozen
from workers.core.products import Made, Products, read_made
from workers.core.queue.jobs import Jobs
from workers.core.schemas import FINAL_STATES

UNDER_WAY = ("uploading", "checking")


class PendingUpload(Protocol):
    """What counts of a resumable upload."""

    @property
    def id(self) -> str:
        """Also the id of the slide that it becomes."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def length(self) -> int:
        """Bytes that it has or will have."""

    @property
    def state(self) -> str:
        """One of `UNDER_WAY` as long as it takes room of its own."""


Uploads = Callable[[], Sequence[PendingUpload]]
"""Lists the resumable uploads. Blocks."""


class Usage(Frozen):
    """What a tenant has, and may have. Bytes; a limit of 0 is none."""

    slides: int = Field(description="Slides that are stored.")
    slides_bytes: int
    jobs: int = Field(description="Jobs with a folder, also those that failed.")
    jobs_bytes: int = Field(description="Of their outputs and products; of one that has not ended, what it may take.")
    batches: int
    batches_bytes: int
    uploads: int = Field(description="Resumable uploads under way.")
    uploads_bytes: int = Field(description="What they have or will have.")
    stored_bytes: int = Field(description="All of these.")
    quota_bytes: int
    unfinished_jobs: int
    quota_jobs: int
    batches_max: int


class Room:
    """Bytes that are held for one upload.

    Args:
        quotas: Who counts.
        tenant: Whose upload it is.
        number: Its name among those that are held.
        size: Bytes that are held now.
    """

    def __init__(self, quotas: "Quotas", tenant: str, number: int, size: int) -> None:
        self.tenant = tenant
        self._quotas = quotas
        self._number = number
        self._size = size

    async def fit(self, size: int) -> None:
        """Hold this many bytes instead, now that it is known how many there are.

        Raises:
            QuotaExceeded: The tenant has no room for them.
        """
        await to_thread.run_sync(self._quotas.hold, self._number, self.tenant, size)
        self._size = size

    async def cover(self, size: int) -> None:
        """Hold at least this many bytes: so many have come, and more may.

        Raises:
            QuotaExceeded: The tenant has no room for them.
        """
        if size > self._size:
            await self.fit(size)


class Quotas:
    """The quotas of every tenant.

    Args:
        jobs: The queue, with its data folder and settings.
        uploads: Lists the resumable uploads, which count as well.
        catalogue: Counts what is stored.
    """

    def __init__(self, jobs: Jobs, uploads: Uploads, catalogue: Catalogue) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._catalogue = catalogue
        self._held: dict[int, tuple[str, int]] = {}
        self._held_batches: dict[int, tuple[str, int]] = {}
        self._numbers = count()
        self._bytes_lock = threading.Lock()
        self._jobs_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def more_jobs(self, tenant: str, wanted: Wanted) -> Iterator[None]:
        """Let a tenant make jobs, or a batch of them, while the context lasts.

        Raises:
            QuotaExceeded: It has too many that have not ended, too many batches, or no room for their results.
            QueueUnavailable: Redis does not answer.
        """
        most = self._jobs.settings.quota_jobs
        number = next(self._numbers)
        with self._jobs_locks[tenant] if most else nullcontext():
            if most:
                unfinished = ((view.tenant, view.state) for view in self._jobs.active())
                check_jobs(tenant, unfinished, wanted.jobs, most)
            self._hold_batches(number, tenant, wanted.batches)
            try:
                self.hold(number, tenant, wanted.size_bytes)
                yield
            finally:
                self._held.pop(number, None)
                self._held_batches.pop(number, None)

    @contextmanager
    def more_bytes(self, tenant: str, job_id: str, size_bytes: int) -> Iterator[None]:
        """Hold room for what is added to a job while the context lasts; then it is in the job's folder, and counted.

        Raises:
            QuotaExceeded: The tenant has no room for it.
        """
        number = next(self._numbers)
        self.hold(number, tenant, size_bytes)
        try:
            yield
        finally:
            self._catalogue.renew("job", job_id, tenant)
            self._held.pop(number, None)

    def ask_product(self, tenant: str, job_id: str, name: str) -> Made | None:
        """Return the record of a product, or see to it that it is made and return None.

        Raises:
            QuotaExceeded: It is not made yet, and its tenant has no room for anything more.
            Everything that `Products.ask` raises.
        """
        most = self._jobs.settings.quota_bytes
        if most and read_made(self._jobs.store, job_id, name) is None:
            check_storage(tenant, [(tenant, self._taken(tenant))], 0, most)
        made = Products(self._jobs).ask(job_id, name)
        if made is None:
            self._catalogue.expect(job_id, name)
        return made

    def usage(self, tenant: str) -> Usage:
        """Return what a tenant has and may have.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        settings, stored = self._jobs.settings, self._catalogue.stored(tenant)
        pending = self._pending_of_all(tenant)
        unfinished = [view for view in self._jobs.active() if view.tenant == tenant and view.state not in FINAL_STATES]
        return Usage(
            **dict(stored),
            uploads=pending.uploads,
            uploads_bytes=pending.size_bytes,
            stored_bytes=stored.size_bytes + pending.size_bytes,
            quota_bytes=settings.quota_bytes,
            unfinished_jobs=len(unfinished),
            quota_jobs=settings.quota_jobs,
            batches_max=settings.batches_per_tenant,
        )

    @asynccontextmanager
    async def room(self, tenant: str, wanted: int | None) -> AsyncIterator[Room]:
        """Hold room for an upload until it is a slide, or is seen among the resumable ones.

        Args:
            tenant: Whose it is.
            wanted: Bytes that it claims to bring; None if it does not say.

        Raises:
            QuotaExceeded: The tenant has no room for it.
        """
        number = next(self._numbers)
        await to_thread.run_sync(self.hold, number, tenant, wanted or 0)
        try:
            yield Room(self, tenant, number, wanted or 0)
        finally:
            self._held.pop(number, None)

    def hold(self, number: int, tenant: str, wanted: int) -> None:
        """Hold bytes under a number, instead of those that were before.

        Raises:
            QuotaExceeded: The tenant has no room for them.
        """
        most = self._jobs.settings.quota_bytes
        if not most:
            return
        with self._bytes_lock:
            others = sum(size for held, (owner, size) in list(self._held.items()) if owner == tenant and held != number)
            check_storage(tenant, [(tenant, self._taken(tenant) + others)], wanted, most)
            self._held[number] = tenant, wanted

    def _hold_batches(self, number: int, tenant: str, wanted: int) -> None:
        if not wanted:
            return
        with self._bytes_lock:
            held = sum(count for owner, count in list(self._held_batches.values()) if owner == tenant)
            check_batches(self._catalogue.stored(tenant).batches + held, wanted, self._jobs.settings.batches_per_tenant)
            self._held_batches[number] = tenant, wanted

    def left(self, tenant: str) -> int | None:
        """Return the bytes that a tenant may still store; None: there is no limit."""
        most = self._jobs.settings.quota_bytes
        if not most:
            return None
        with self._bytes_lock:
            held = sum(size for owner, size in list(self._held.values()) if owner == tenant)
            return max(0, most - self._taken(tenant) - held)

    def _taken(self, tenant: str) -> int:
        """Bytes that a tenant has stored, or that its uploads and jobs under way will have stored."""
        return self._catalogue.stored(tenant).size_bytes + self._pending_of_all(tenant).size_bytes

    def _pending_of_all(self, tenant: str) -> Pending:
        """Uploads of a tenant that are no slides yet: here, and in other data folders that share the index."""
        own, elsewhere = self._pending(tenant), self._catalogue.pending_elsewhere(tenant)
        return Pending(len(own) + elsewhere.uploads, sum(own.values()) + elsewhere.size_bytes)

    def tell_pending(self) -> None:
        """Have gateways of other data folders that share the index count what is under way in this one."""
        found: defaultdict[str, Pending] = defaultdict(Pending)
        under_way = [upload for upload in self._uploads() if upload.state in UNDER_WAY]
        for tenant in {upload.tenant for upload in under_way}:
            own = self._pending(tenant, under_way)
            found[tenant] = Pending(len(own), sum(own.values()))
        for tenant, size in list(self._held.values()):
            found[tenant] = found[tenant]._replace(size_bytes=found[tenant].size_bytes + size)
        self._catalogue.tell_pending(found)

    def _pending(self, tenant: str, uploads: Sequence[PendingUpload] | None = None) -> dict[str, int]:
        """Bytes of the uploads of a tenant that are no slides yet: one of the same id is both for a moment."""
        known = self._uploads() if uploads is None else uploads
        own = [upload for upload in known if upload.tenant == tenant and upload.state in UNDER_WAY]
        slides = self._catalogue.slides_among(tenant, [upload.id for upload in own]) if own else set()
        return {upload.id: upload.length for upload in own if upload.id not in slides}
