"""Complete resumable uploads become slides in the background, and again after a restart.

    join → digest → what `server.intake.admission` does → ready | rejected

Every step can be cut off and done again: bytes are only ever moved within the upload's folder until the slide is
committed under the upload's own id.
"""

import asyncio
import hashlib
import logging
from pathlib import Path
from threading import Event

from anyio import to_thread

from server.intake.admission import Admission, Received
from server.intake.fair_queue import FairQueue
from server.uploads import tus
from server.uploads.records import Upload
from server.uploads.store import UploadStore
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import Invalid, LDiffusionError, Unavailable
from workers.core.schemas import ErrorBody
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store

HASH_BYTES = 4 * 2**20
AT_ONCE = 2
TRIES = 3

logger = logging.getLogger(__name__)


class Finalizer:
    """The uploads that are being checked, each in a task of the event loop."""

    def __init__(self, upload_store: UploadStore, store: Store, admission: Admission) -> None:
        self._upload_store = upload_store
        self._store = store
        self._admission = admission
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._crashes: dict[str, int] = {}
        self._fair_queue = FairQueue(AT_ONCE)
        self._stopping = Event()

    def start(self, upload: Upload) -> None:
        """Have an upload checked, unless it is already; its tenant takes turns with the others."""
        if upload.id in self._tasks or self._stopping.is_set():
            return
        task = asyncio.create_task(self._check(upload.id, upload.tenant), name=f"check of {upload.id}")
        self._tasks[upload.id] = task
        task.add_done_callback(lambda done: self._on_done(upload.id, done))

    async def resume(self) -> None:
        """Start what is complete and not being checked: after a restart, or after a check that failed."""
        uploads = await to_thread.run_sync(self._upload_store.list_uploads)
        for upload in uploads:
            if upload.state == "checking":
                self.start(upload)

    async def stop(self) -> None:
        """End all checks; they are taken up again at the next start."""
        self._stopping.set()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _on_done(self, upload_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[upload_id]
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._crashes.pop(upload_id, None)
            return
        logger.error("the check of upload %s failed and is tried again", upload_id, exc_info=error)
        if not isinstance(error, LDiffusionError):  # those are ours to mend: tried for as long as it takes
            self._crashes[upload_id] = self._crashes.get(upload_id, 0) + 1

    async def _check(self, upload_id: str, tenant: str) -> None:
        async with self._fair_queue.turn(tenant):
            upload = await to_thread.run_sync(self._upload_store.read, upload_id)
            if upload.state != "checking":
                return
            await to_thread.run_sync(self._end, upload, await self._ending(upload))

    async def _ending(self, upload: Upload) -> dict[str, object]:
        """Return what becomes of an upload, as fields of it."""
        if self._crashes.get(upload.id, 0) >= TRIES:
            error = LDiffusionError("The server failed to check this upload; its log says why.")
            return {"state": "rejected", "error": ErrorBody.model_validate(error.as_dict())}
        try:
            info = await self._admit(upload)
        except (Invalid, QuotaExceeded) as refusal:
            return {"state": "rejected", "error": ErrorBody.model_validate(refusal.as_dict())}
        return {"state": "ready", "slide_id": info.id}

    async def _admit(self, upload: Upload) -> SlideInfo:
        if await to_thread.run_sync(self._store.has_slide, upload.id):  # committed before a crash, and not yet said
            return await to_thread.run_sync(self._store.read_slide, upload.id)
        upload = await to_thread.run_sync(self._upload_store.join, upload)
        file = await to_thread.run_sync(self._upload_store.complete_file, upload.id)
        digest = await to_thread.run_sync(self._digest, file)
        labels = tus.parse_labels(tus.parse_metadata(upload.metadata).get("labels"))
        received = Received(upload.filename, upload.length, digest, upload.sha256, upload.tenant, labels)
        return await self._admission.admit(upload.id, file, received, self._upload_store.slide_folder(upload.id))

    def _digest(self, file: Path) -> str:
        """Return the SHA-256 of a file in hex, as it is on the disk; a stop ends it early."""
        summed = hashlib.sha256()
        with file.open("rb") as opened:
            while block := opened.read(HASH_BYTES):
                summed.update(block)
                if self._stopping.is_set():
                    raise Unavailable("The server is stopping.")
        return summed.hexdigest()

    def _end(self, upload: Upload, ending: dict[str, object]) -> None:
        fields = {**ending, "joined": len(upload.parts), "expires_at": self._upload_store.new_expiry()}
        self._upload_store.save(upload.model_copy(update=fields))
        self._upload_store.drop_bytes(upload.id)
