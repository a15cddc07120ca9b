"""Retention inside a gateway: sweeps from time to time, and puts on record what is gone."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from anyio import to_thread

from server.access.audit import AuditLog, Event
from server.access.gate import Access
from server.catalogue.catalogue import Catalogue
from server.jobs.retention import Removed, Retention, Tell
from server.uploads.store import UploadStore
from workers.core.errors.base import QueueUnavailable, UploadNotFound

PERIOD_S = 3600.0
TELL_S = 60.0

logger = logging.getLogger(__name__)


def teller(audit: AuditLog, *forget: Callable[[Removed], None]) -> Tell:
    """Return what a `Retention` tells: the audit log, and whoever holds something of what is gone in memory."""

    def tell(removed: Removed) -> None:
        for drop in forget:
            drop(removed)
        audit.record(
            Event(
                action="slide_removed" if removed.kind == "slide" else "job_removed",
                by="server",
                path=f"/v1/{removed.kind}s/{removed.id}",
                detail=f"{removed.reason}; {removed.size_bytes} bytes; slide {removed.slide_id}"
                + ("" if removed.is_whole else "; files are left that could not be removed, and are tried again"),
            )
        )

    return tell


def upload_forgetter(upload_store: UploadStore) -> Callable[[Removed], None]:
    """Return what removes the record of the upload that a slide came of, with its names and metadata: same id."""

    def forget(removed: Removed) -> None:
        if removed.kind != "slide":
            return
        try:
            upload_store.remove(removed.id)
        except UploadNotFound:  # it came in one request, or its time was over
            pass
        except OSError:
            logger.exception("the record of upload %s stays until it expires", removed.id)

    return forget


def catalogue_forgetter(catalogue: Catalogue) -> Callable[[Removed], None]:
    """Return what lets the index know nothing more of what is gone."""

    def forget(removed: Removed) -> None:
        catalogue.forget(removed.kind, removed.id)

    return forget


async def tell_denied_requests_for_ever(access: Access, period_s: float = TELL_S) -> None:
    """Put on record how many strangers were refused, each minute and when canceled."""
    try:
        while True:
            await asyncio.sleep(period_s)
            try:
                for event in access.denied_requests.ended(time.monotonic()):
                    await to_thread.run_sync(access.audit.record, event)
            except Exception:  # whatever it is, the refusals of the next minute are to be told
                logger.exception("refusals could not be put on record")
    finally:
        for event in access.denied_requests.ended(math.inf):
            access.audit.record(event)


async def sweep_for_ever(retention: Retention, period_s: float = PERIOD_S) -> None:
    """Sweep now and then again, until canceled. What goes wrong once is tried again at the next sweep."""
    while True:
        try:
            count = await to_thread.run_sync(retention.sweep, datetime.now(UTC))
        except (QueueUnavailable, OSError) as error:
            logger.warning("no sweep this time: %s", error)
        except Exception:  # whatever it is, the slides that are past their time tomorrow must go too
            logger.exception("the sweep failed, and is tried again")
        else:
            if count:
                logger.info("%d slides and jobs were past their time and are gone", count)
        await asyncio.sleep(period_s)
