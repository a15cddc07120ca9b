"""Retention inside a gateway: sweeps from time to time, and puts on record what is gone."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from anyio import to_thread

from server.access.audit import AuditLog, Event
from workers.core.errors import QueueUnavailable
from workers.core.retention import Removed, Retention, Tell

PERIOD_S = 3600.0

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
                detail=f"{removed.reason}; {removed.size_bytes} bytes; slide {removed.slide_id}",
            )
        )

    return tell


async def sweep_for_ever(retention: Retention, period_s: float = PERIOD_S) -> None:
    """Sweep now and then again, until canceled. What goes wrong once is tried again at the next sweep."""
    while True:
        try:
            count = await to_thread.run_sync(retention.sweep, datetime.now(UTC))
        except (QueueUnavailable, OSError) as error:
            logger.warning("no sweep this time: %s", error)
        else:
            if count:
                logger.info("%d slides and jobs were past their time and are gone", count)
        await asyncio.sleep(period_s)
