"""Stored slides are read again from time to time and compared with what was stored: disks forget.

What is found stands in `slide.json`, where `GET /v1/slides/{id}` shows it and the submission of jobs heeds it, and in
the audit log.
"""

import asyncio
import errno
import logging
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from io import FileIO
from pathlib import Path
from threading import Event as Flag
from typing import Any

from anyio import CapacityLimiter, to_thread

from server.access.audit import AuditLog, Event
from server.intake.slide_records import change_slide
from server.intake.unpack import digest_of, stored_files
from workers.core.errors.base import SlideNotFound, Unavailable
from workers.core.errors.jobs import SlideDamaged
from workers.core.settings import Settings
from workers.core.slide_schemas import Integrity, SlideInfo
from workers.core.store import Store

PERIOD_S = 3600.0
BYTES_PER_S = 64 * 2**20
"""How fast is read: a disk has others to serve. That is 160 TiB in 30 days."""

DAMAGED_AGAIN = timedelta(days=1)
"""What was damaged is looked at again sooner: somebody may have put it back."""

LOST = (errno.EIO, errno.ENOENT, errno.EBADMSG, errno.EUCLEAN)
"""What a disk says that has lost bytes. Other errors, such as too many open files, say nothing of the slide."""

logger = logging.getLogger(__name__)


class Scrub:
    """Reads slides again whose last check is `rehash_days` ago; none if that is 0. Every method blocks.

    Args:
        store: The data folder.
        settings: For the days.
        audit: Has a line for each check.
    """

    def __init__(self, store: Store, settings: Settings, audit: AuditLog) -> None:
        self._store = store
        self._days = settings.rehash_days
        self._audit = audit
        self._stopping = Flag()

    def stop(self) -> None:
        """End the check that is under way; it is begun again another time."""
        self._stopping.set()

    def check_due(self, now: datetime) -> int:
        """Check what is due, the longest unchecked first; return how many slides were.

        Raises:
            Unavailable: `stop` was called meanwhile.
            DiskFull: What was found cannot be written down.
        """
        due = [info for info in self._store.list_slides() if self._days and self._due_at(info) <= now]
        for info in sorted(due, key=self._due_at):
            try:
                self._check(info, now)
            except OSError:
                logger.exception("slide %s could not be checked, and stays due", info.id)
        return len(due)

    def _due_at(self, info: SlideInfo) -> datetime:
        last = info.integrity
        if last is None:
            return info.created_at + timedelta(days=self._days)
        return last.checked_at + (timedelta(days=self._days) if last.ok else DAMAGED_AGAIN)

    def _check(self, info: SlideInfo, now: datetime) -> None:
        expected, ok = info.stored_sha256 or info.sha256, False
        try:
            found = self._digest(self._store.slide_dir(info.id))
            ok, said = found == expected, f"stored as {expected}, read as {found}"
        except OSError as error:
            if error.errno not in LOST:
                raise
            said = f"stored as {expected}, cannot be read: {error.strerror}"
        try:
            found_now = {"integrity": Integrity(checked_at=now, ok=ok)}
            change_slide(self._store, info.id, lambda current: current.model_copy(update=found_now))
        except SlideNotFound:  # deleted meanwhile: whatever was read means nothing
            return
        if not ok:
            logger.critical("slide %s is damaged: %s", info.id, said)
        self._audit.record(
            Event(
                action="slide_checked",
                by="server",
                tenant=info.tenant,
                path=f"/v1/slides/{info.id}",
                code=None if ok else SlideDamaged.code,
                detail=said,
            )
        )

    def _digest(self, folder: Path) -> str:
        files = stored_files(folder, folder / "slide.json")
        return digest_of(files, folder, partial(_SlowFile, stopping=self._stopping))


class _SlowFile(FileIO):
    """A file that is read from the disk and not from memory, at a bounded pace, until told to stop."""

    def __init__(self, path: Path, stopping: Flag) -> None:
        super().__init__(path)
        self._stopping = stopping
        os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        if self._stopping.wait(count / BYTES_PER_S):
            raise Unavailable("The server is stopping.")
        return count


async def scrub_for_ever(scrub: Scrub, period_s: float = PERIOD_S) -> None:
    """Check what is due now and then again, until canceled. What goes wrong once is tried again the next time."""
    thread = CapacityLimiter(1)
    try:
        while True:
            try:
                await to_thread.run_sync(scrub.check_due, datetime.now(UTC), limiter=thread, abandon_on_cancel=True)
            except Exception:  # whatever it is, the slides that are due tomorrow are to be read too
                logger.exception("the check of stored slides failed, and is tried again")
            await asyncio.sleep(period_s)
    finally:
        scrub.stop()
