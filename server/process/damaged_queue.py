"""An append-only file that the queue server cannot read: set aside, so that the server starts without it.

What is asked and what came out lies in the store, and jobs that the queue does not know are queued again from there.
"""

import logging
import re
from datetime import UTC, datetime
from pathlib import Path

logger = logging.getLogger(__name__)

APPEND_ONLY_DIR = "appendonlydir"
LAST_LINES = 8

_COMPLAINT = re.compile(r"append.?only|append log|\bAOF\b|\bRDB\b|loading DB|load DB", re.IGNORECASE)
_GRAVE = re.compile(
    r"bad file format|unrecoverable|unexpected end|wrong signature|invalid|fatal|aborting|corrupt|exiting"
    r"|unknown command|error reading",
    re.IGNORECASE,
)


def complains(log: str) -> bool:
    """Whether the last lines of a server's log say that its append-only file is what it cannot start with."""
    last = log.splitlines()[-LAST_LINES:]
    return any(_COMPLAINT.search(line) and _GRAVE.search(line) for line in last)


def set_aside(folder: Path) -> Path | None:
    """Move the append-only files of a queue's folder out of the way; return where to, None if there are none."""
    damaged = folder / APPEND_ONLY_DIR
    if not damaged.is_dir():
        return None
    kept = folder / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    damaged.rename(kept)
    logger.warning(
        "the queue's append-only file cannot be read: it is set aside as %s, and every job that has not ended is "
        "queued again from the data folder",
        kept,
    )
    return kept
