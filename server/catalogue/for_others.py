"""What a gateway tells those of other data folders of its own, by the index that they share."""

import asyncio
import logging
from collections.abc import Callable

from anyio import to_thread

from server.catalogue.catalogue import Catalogue

PULL_S = 1.0
"""After how long others see what came or went: a look costs one question to the database, and few to the disk."""

TELL_S = 10.0
"""After how long others count what is under way: all records of uploads are read for it."""

logger = logging.getLogger(__name__)


async def tell_for_ever(catalogue: Catalogue, tell: Callable[[], None], period_s: float) -> None:
    """Do something for other gateways from time to time, until canceled; nothing where the index is not shared."""
    while catalogue.is_shared:
        await asyncio.sleep(period_s)
        try:
            await to_thread.run_sync(tell)
        except Exception:  # whatever it is, the next time it may do
            logger.exception("other gateways do not see what is new here")
