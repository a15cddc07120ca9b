"""What tenants may still have: stored bytes and unfinished jobs, counted anew for each request.

Who asks holds a room as long as what it stands for is not yet seen by the count, so two at once do not fit where one
does. That holds in one gateway process; several may each let one in.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Protocol

from anyio import to_thread

from server.access.limits import check_jobs, check_storage
from workers.core.queue.jobs import Jobs

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
    """

    def __init__(self, jobs: Jobs, uploads: Uploads) -> None:
        self._jobs = jobs
        self._uploads = uploads
        self._held: dict[int, tuple[str, int]] = {}
        self._numbers = count()
        self._bytes_lock = threading.Lock()
        self._jobs_lock = threading.Lock()

    @contextmanager
    def more_jobs(self, tenant: str, wanted: int) -> Iterator[None]:
        """Let a tenant make jobs while the context lasts.

        Raises:
            QuotaExceeded: It has too many that have not ended.
            QueueUnavailable: Redis does not answer.
        """
        most = self._jobs.settings.quota_jobs
        if not most:
            yield
            return
        with self._jobs_lock:
            check_jobs(tenant, ((view.tenant, view.state) for view in self._jobs.active()), wanted, most)
            yield

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
            others = [each for held, each in list(self._held.items()) if held != number]
            check_storage(tenant, [*self._stored(), *others], wanted, most)
            self._held[number] = tenant, wanted

    def left(self, tenant: str) -> int | None:
        """Return the bytes that a tenant may still store; None: there is no limit."""
        most = self._jobs.settings.quota_bytes
        if not most:
            return None
        with self._bytes_lock:
            taken = [*self._stored(), *list(self._held.values())]
        return max(0, most - sum(size for owner, size in taken if owner == tenant))

    def _stored(self) -> list[tuple[str, int]]:
        # By id: an upload becomes the slide of the same id, and is both for a moment.
        pending = [upload for upload in self._uploads() if upload.state in UNDER_WAY]
        sizes = {upload.id: (upload.tenant, upload.length) for upload in pending}
        slides = {info.id: (info.tenant, info.size_bytes) for info in self._jobs.store.list_slides()}
        return list((sizes | slides).values())
