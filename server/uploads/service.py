"""What a client may do with a resumable upload: make it, add to it, join parts, ask, remove.

create → chunk, chunk, … → complete → `server.uploads.finalize` in the background → ready | rejected
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial

from anyio import CancelScope, to_thread

from server.access.quotas import Quotas
from server.intake.admission import Admission
from server.uploads.checkpoints import Checkpoints
from server.uploads.finalize import Finalizer
from server.uploads.locks import Lock, Locks
from server.uploads.records import Part, Upload
from server.uploads.requests import Chunk, UploadRequest, check_chunk, check_offset
from server.uploads.store import UploadStore
from server.uploads.writer import UploadWriter
from server.web.counting.counters import UPLOADED_BYTES
from workers.core.disk_room import check_size
from workers.core.errors.base import (
    HeaderInvalid,
    LDiffusionError,
    UploadEmpty,
    UploadJoined,
    UploadLocked,
    UploadUnfinished,
)
from workers.core.schemas import ErrorBody
from workers.core.settings import Settings
from workers.core.slides.names import display_name, extension_of
from workers.core.store import Store, new_id

SWEEP_S = 30.0

logger = logging.getLogger(__name__)


class Resumable:
    """Takes resumable uploads."""

    def __init__(
        self, upload_store: UploadStore, locks: Locks, finalizer: Finalizer, quotas: Quotas, settings: Settings
    ) -> None:
        self._upload_store = upload_store
        self._quotas = quotas
        self._locks = locks
        self._finalizer = finalizer
        self._settings = settings

    async def create(self, request: UploadRequest, tenant: str) -> Upload:
        """Make a new upload; one that is joined from parts is complete at once.

        Raises:
            UploadEmpty, UploadTooLarge, RequestInvalid: It can never be.
            DiskFull, QuotaExceeded, UploadsExceeded: It cannot be now.
            UploadNotFound, UploadExpired, UploadUnfinished, UploadLocked, HeaderInvalid: A part cannot be joined.
        """
        name = display_name(request.filename)
        extension_of(name)
        async with AsyncExitStack() as stack:
            for part_id in request.parts:
                await stack.enter_async_context(self._locks.hold(part_id))
            parts = [await self._part(part_id) for part_id in request.parts]
            length = sum(part.length for part in parts) if request.length is None else request.length
            if length == 0:
                raise UploadEmpty("The upload is to hold no bytes.", value=0, accepted="a slide")
            check_size(length, self._settings.upload_max_bytes)
            upload = Upload(
                id=new_id(),
                tenant=tenant,
                state="checking" if parts else "uploading",
                length=length,
                offset=length if parts else 0,
                filename=name,
                sha256=request.sha256,
                metadata=request.metadata,
                is_part=request.is_part,
                parts=tuple(parts),
                source=request.source,
                made_by=request.made_by,
                created_at=datetime.now(UTC),
                expires_at=self._upload_store.new_expiry() if parts else self._upload_store.empty_expiry(),
            )
            # Parts are stored already, and count as what they are.
            async with self._quotas.room(tenant, length) if not parts else nullcontext():
                await to_thread.run_sync(self._upload_store.create, upload)
        if upload.state == "checking":
            self._finalizer.start(upload)
        return upload

    async def _part(self, part_id: str) -> Part:
        upload = await self.read(part_id)
        if not upload.is_part:
            raise HeaderInvalid("Upload-Concat: it names an upload that is no part.", value=part_id)
        if not upload.is_complete:
            raise UploadUnfinished(
                "A part is not complete yet.", value=f"{upload.offset} bytes", accepted=f"{upload.length} bytes"
            )
        return Part(id=part_id, length=upload.length)

    async def create_with(
        self, request: UploadRequest, tenant: str, chunk: Chunk, pieces: AsyncIterator[bytes]
    ) -> Upload:
        """Make a new upload and add its first bytes; nothing stays if they are not taken.

        Raises:
            As `create` and `append`.
        """
        if request.parts:
            raise UploadJoined("An upload that is joined from parts takes no bytes.", accepted="no body")
        upload = await self.create(request, tenant)
        taken = False
        try:
            upload = await self.append(upload.id, chunk, pieces)
            taken = True
        finally:
            if not taken:  # the client was not told the address
                with CancelScope(shield=True):
                    await to_thread.run_sync(self._upload_store.remove, upload.id)
        return upload

    async def append(self, upload_id: str, chunk: Chunk, pieces: AsyncIterator[bytes]) -> Upload:
        """Add a chunk. When this returns, its bytes are on the disk; a complete upload is then checked.

        A chunk that is cut off keeps what arrived, unless it has a checksum.

        Raises:
            UploadNotFound, UploadExpired, UploadJoined, OffsetMismatch, UploadLocked, UploadTooLarge: Before a byte.
            UploadIncomplete, UploadLocked, UploadTooLarge, ChecksumMismatch, DiskFull: On the way.
        """
        check_chunk(await self.read(upload_id), chunk)
        async with self._locks.hold(upload_id) as lock:
            upload = await self.read(upload_id)
            check_offset(upload, chunk)  # not before: where the upload ends is only known while nobody adds to it
            if not upload.is_complete:
                upload = await self._receive(upload, chunk, lock.blocks(pieces, self._settings.upload_idle_s), lock)
        if upload.state == "checking":
            self._finalizer.start(upload)
        return upload

    async def _receive(self, upload: Upload, chunk: Chunk, blocks: AsyncIterator[bytes], lock: Lock) -> Upload:
        place = self._upload_store.data_file(upload.id), upload.offset, upload.length
        opened = partial(UploadWriter, *place, chunk.checksum, self._settings.disk_reserve_bytes)
        with await to_thread.run_sync(opened) as appender:
            checkpoints = Checkpoints(partial(self._acknowledge, appender=appender), upload)
            whole = False
            try:
                async for block in blocks:
                    await to_thread.run_sync(appender.write, block)
                    if chunk.checksum is None:
                        await checkpoints.tend(appender.offset - appender.synced)
                    lock.renew()
                appender.verify()
                whole = True
            finally:
                with CancelScope(shield=True):
                    upload = await checkpoints.end()
                    if whole or chunk.checksum is None:
                        upload = await to_thread.run_sync(self._acknowledge, upload, appender)
                    else:
                        await to_thread.run_sync(appender.drop)
        return upload

    def _acknowledge(self, upload: Upload, appender: UploadWriter) -> Upload:
        """Sync, then say so: the order is the promise."""
        if appender.offset == upload.offset:
            return upload
        offset = appender.sync()
        count = offset - upload.offset
        complete = offset == upload.length and not upload.is_part
        upload = upload.model_copy(
            update={
                "offset": offset,
                "state": "checking" if complete else "uploading",
                "expires_at": self._upload_store.new_expiry(),
            }
        )
        self._upload_store.save(upload)
        UPLOADED_BYTES.labels("tus" if upload.source is None else "import").inc(count)
        return upload

    async def position(self, upload_id: str) -> Upload:
        """Return an upload to somebody who is about to go on with it; a broken request lets go of it first.

        Raises:
            UploadNotFound, UploadExpired.
        """
        await self.read(upload_id)
        await self._locks.settle(upload_id)
        return await self.read(upload_id)

    async def read(self, upload_id: str) -> Upload:
        """Return an upload as it is.

        Raises:
            UploadNotFound, UploadExpired.
        """
        return await to_thread.run_sync(self._upload_store.read, upload_id)

    async def owner(self, upload_id: str) -> str:
        """Return the tenant whose upload this is, or was before it expired.

        Raises:
            UploadNotFound.
        """
        return await to_thread.run_sync(self._upload_store.owner, upload_id)

    async def maker(self, upload_id: str) -> str | None:
        """Return the id of the key that made an upload; None if it was no key, or there is no such upload."""
        return await to_thread.run_sync(self._upload_store.maker, upload_id)

    async def list_uploads(self, tenant: str) -> list[Upload]:
        """Return uploads of a tenant that are no parts, the newest first."""
        uploads = await to_thread.run_sync(self._upload_store.list_uploads)
        return [upload for upload in uploads if upload.tenant == tenant and not upload.is_part]

    async def remove(self, upload_id: str) -> None:
        """Remove an upload; a slide that came of it stays.

        Raises:
            UploadNotFound, UploadExpired.
            UploadLocked: Another request is adding to it, or it is being checked.
        """
        await self.read(upload_id)
        async with self._locks.hold(upload_id):
            if (await self.read(upload_id)).state == "checking":
                raise UploadLocked("This upload is being checked.", value=upload_id, accepted="a checked upload")
            await to_thread.run_sync(self._upload_store.remove, upload_id)

    async def cut_off_imports(self) -> list[Upload]:
        """Return what the server was fetching; at its start, what it fetches no more."""
        uploads = await to_thread.run_sync(self._upload_store.list_uploads)
        return [upload for upload in uploads if upload.source is not None and upload.state == "uploading"]

    async def refuse(self, upload_id: str, error: LDiffusionError) -> None:
        """End an upload that the server could not fetch; one whose bytes are all there is checked like any other.

        Raises:
            UploadNotFound, UploadExpired, UploadLocked.
        """
        async with self._locks.hold(upload_id):
            upload = await self.read(upload_id)
            if upload.state != "uploading":
                return
            ending = {"state": "rejected", "error": ErrorBody.model_validate(error.as_dict())}
            await to_thread.run_sync(
                self._upload_store.drop_bytes, upload_id
            )  # first: what follows wants room on the disk
            await to_thread.run_sync(self._upload_store.save, upload.model_copy(update=ending))

    async def keep_tidy(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            try:
                await self.sweep()
            except Exception:  # whatever it was: without this loop nothing expires, and no check is taken up again
                logger.exception("the sweep of uploads failed")
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Remove what has expired, and see to it that what is complete is checked."""
        await self._finalizer.resume()
        for upload_id in await to_thread.run_sync(self._upload_store.expired):
            if not self._locks.is_held(upload_id):
                try:
                    async with self._locks.hold(upload_id):
                        await to_thread.run_sync(self._upload_store.expire, upload_id)
                except (OSError, LDiffusionError):  # the next one may well go, and this one the next time
                    logger.exception("the expired upload %s could not be removed", upload_id)


@asynccontextmanager
async def resumable_uploads(
    upload_store: UploadStore, store: Store, settings: Settings, admission: Admission, quotas: Quotas
) -> AsyncIterator[Resumable]:
    """Mend what was left half-made, take up the checks that were cut off, and keep the folder tidy meanwhile."""
    await to_thread.run_sync(upload_store.recover)
    finalizer = Finalizer(upload_store, store, admission)
    resumable = Resumable(upload_store, Locks(settings.upload_lease_s), finalizer, quotas, settings)
    tidying = asyncio.create_task(resumable.keep_tidy(), name="sweep of uploads")
    try:
        yield resumable
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await finalizer.stop()
