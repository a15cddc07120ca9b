"""Slides that the server fetches itself: from an https address, or from a named bucket.

An import is a resumable upload whose bytes the server sends to itself: the same states, limits, quotas and checks, and
the same address to ask at. Off until the operator names hosts or connectors.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import unquote, urlsplit

from anyio import CancelScope, CapacityLimiter, WouldBlock, to_thread
from pydantic import Field, model_validator

from server.uploads.fetch import Fetched, Source, fetch
from server.uploads.records import Upload
from server.uploads.requests import Chunk, UploadRequest
from server.uploads.s3 import Connector, read_connectors, source_of
from server.uploads.service import Resumable
from server.uploads.tus import metadata_with
from server.web.egress import Egress
from workers.core.errors.base import LDiffusionError, NotFound, Unavailable
from workers.core.errors.intake import ImportRefused
from workers.core.frozen import Frozen
from workers.core.own_labels import Labels
from workers.core.settings import Settings

AT_ONCE = 4
LABEL_MAX = 300
RETRY_S = 30.0
"""Pause after which the end of an import that could not be written down is written again."""

logger = logging.getLogger(__name__)


class ImportRequest(Frozen):
    """Where a slide lies: at a `url`, or under a `key` of a `connector`."""

    url: str | None = Field(default=None, max_length=4096, examples=["https://slides.example/case-7.svs"])
    connector: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", examples=["archive"])
    key: str | None = Field(default=None, min_length=1, max_length=1024, examples=["2024/case-7.svs"])
    filename: str | None = Field(default=None, max_length=1024, description="Instead of the address's own.")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="What the file must have, in hex.")
    labels: Labels = Field(default={})

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.url is None) == (self.connector is None) or (self.connector is None) != (self.key is None):
            raise ValueError("either url, or connector and key")
        return self


class Imports:
    """Fetches slides, each in a task of the event loop."""

    def __init__(self, resumable: Resumable, settings: Settings, connectors: dict[str, Connector]) -> None:
        self._resumable = resumable
        self._settings = settings
        self._connectors = connectors
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = CapacityLimiter(AT_ONCE)
        self._threads = CapacityLimiter(AT_ONCE)  # of their own: whoever answers slowly holds up no other request

    async def begin(self, request: ImportRequest, tenant: str) -> Upload:
        """Ask for a file and, once its head is there, go on in the background.

        Raises:
            ImportRefused: It may not, or cannot, be fetched.
            RequestInvalid, SlideSetIncomplete, UploadEmpty, UploadTooLarge, QuotaExceeded, DiskFull: As any upload.
            Unavailable: Too many are being fetched.
        """
        source = self._source(request, tenant)
        place = object()
        try:
            self._places.acquire_on_behalf_of_nowait(place)
        except WouldBlock as error:
            raise Unavailable(
                "The server fetches as many slides as it can.", value=AT_ONCE, accepted="to ask later"
            ) from error
        upload = None
        try:
            upload, fetched = await self._opened(request, source, tenant)
        finally:
            if upload is None:
                self._places.release_on_behalf_of(place)
        task = self._tasks[upload.id] = asyncio.create_task(self._run(upload, fetched), name=f"import {upload.id}")
        task.add_done_callback(lambda _: self._on_done(upload.id, place))
        return upload

    def _on_done(self, upload_id: str, place: object) -> None:
        del self._tasks[upload_id]
        self._places.release_on_behalf_of(place)

    async def _opened(self, request: ImportRequest, source: Source, tenant: str) -> tuple[Upload, Fetched]:
        fetched = await to_thread.run_sync(fetch, source, self._settings.upload_idle_s, limiter=self._threads)
        upload = None
        try:
            name = request.filename or unquote(urlsplit(source.url).path.rpartition("/")[2])
            asked = UploadRequest(
                length=fetched.length,
                filename=name,
                sha256=request.sha256,
                metadata=metadata_with(request.labels),
                source=source.label[:LABEL_MAX],
            )
            upload = await self._resumable.create(asked, tenant)
            return upload, fetched
        finally:
            if upload is None:
                await _hang_up(fetched)

    async def abandon(self, upload_id: str) -> None:
        """Fetch this slide no more, if it is being fetched: somebody removes the upload."""
        task = self._tasks.get(upload_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _source(self, request: ImportRequest, tenant: str) -> Source:
        if request.connector is not None:
            return source_of(request.connector, request.key or "", tenant, self._connectors)
        egress = Egress(
            field="url",
            hosts=self._settings.import_hosts,
            private=self._settings.import_private,
            refusal=ImportRefused,
            off="This server fetches nothing by address.",
            instead="an upload",
        )
        url = request.url or ""
        target = egress.parse_url(url)
        egress.check_literal(target)
        return Source(url=url, egress=egress, label=f"https://{target.netloc}{target.path}")

    async def _run(self, upload: Upload, fetched: Fetched) -> None:
        try:
            await self._receive(upload, fetched)
        except LDiffusionError as error:
            await self._refuse(upload.id, error)
        except Exception:  # nobody waits for this task: what is not said of the upload here is never said
            logger.exception("the import %s failed", upload.id)
            await self._refuse(upload.id, LDiffusionError("The server failed to take this slide; its log says why."))

    async def _refuse(self, upload_id: str, error: LDiffusionError) -> None:
        """Write down why an upload ended; again and again on a disk that does not take it, until the server stops."""
        while True:
            try:
                await self._resumable.refuse(upload_id, error)
            except NotFound:  # removed meanwhile
                return
            except (OSError, LDiffusionError):
                logger.exception("the end of the import %s could not be written and is tried again", upload_id)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _receive(self, upload: Upload, fetched: Fetched) -> None:
        limit_s = self._settings.import_timeout_s
        chunk = Chunk(offset=0, length=upload.length, source=upload.source)
        try:
            async with asyncio.timeout(limit_s):
                done = await self._resumable.append(upload.id, chunk, fetched.pieces(self._threads))
        except TimeoutError as error:
            raise ImportRefused(f"Fetching took more than {limit_s:g} seconds.") from error
        finally:
            await _hang_up(fetched)
        if not done.is_complete:
            raise ImportRefused(
                "The file ended before its end.", value=f"{done.offset} bytes", accepted=f"{done.length} bytes"
            )

    async def recover(self) -> None:
        """Say of imports that a stop of the server cut off that they were; one that cannot be told holds up nothing."""
        for upload in await self._resumable.cut_off_imports():
            try:
                await self._resumable.refuse(
                    upload.id, ImportRefused("The server was stopped while it fetched this slide.")
                )
            except (OSError, LDiffusionError):
                logger.exception("the end of the import %s could not be written", upload.id)

    async def stop(self) -> None:
        """End all fetching; `recover` says so at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hang_up(fetched: Fetched) -> None:
    with CancelScope(shield=True):
        await to_thread.run_sync(fetched.close)  # in a common thread: one of its own may be what it waits for


@asynccontextmanager
async def slide_imports(resumable: Resumable, settings: Settings) -> AsyncIterator[Imports]:
    """Give the imports of a gateway, with those mended that were cut off.

    Raises:
        RequestInvalid: The file of connectors makes no sense.
    """
    imports = Imports(resumable, settings, read_connectors(settings.import_connectors))
    await imports.recover()
    try:
        yield imports
    finally:
        await imports.stop()
