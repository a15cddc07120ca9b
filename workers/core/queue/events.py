"""What happens to a job, as a short stream in Redis that clients can follow and take up again where they stopped.

Every entry is written in the transaction that makes it true, but that of a job's first turn, which follows it at once.
Its id, `<milliseconds>-<number>`, only ever grows.
"""

import re
from typing import Any, Literal

from workers.core.errors.base import RequestInvalid
from workers.core.frozen import Frozen
from workers.core.schemas import JobState

EVENTS_MAX = 500
"""Entries that are kept of a job; an older one is of no use to who shows where the job stands."""

EVENTS_TTL_S = 3600
"""How long the stream of a job that has ended stays."""

EventKind = Literal["state", "progress", "end"]
_ID = re.compile(r"\d{1,19}-\d{1,19}")


class Progress(Frozen):
    """Data of an event: where the job stands. Each says all, so a client may miss any but the last."""

    state: JobState
    phase: str | None = None
    regions_done: int = 0
    regions_total: int | None = None
    tiles_per_s: float | None = None
    eta_s: float | None = None


def events_key(job_id: str) -> str:
    """Return the key of a job's stream."""
    return f"ldiffusion:events:{job_id}"


def add_event(pipe: Any, job_id: str, kind: EventKind, progress: Progress) -> None:
    """Append an event, as part of a transaction."""
    entry = {"event": kind, "data": progress.model_dump_json()}
    pipe.xadd(events_key(job_id), entry, maxlen=EVENTS_MAX, approximate=False)
    if kind == "end":
        pipe.expire(events_key(job_id), EVENTS_TTL_S)


def parse_event_id(text: str | None) -> str | None:
    """Return the id that a client has seen last; None if it has seen none.

    Raises:
        RequestInvalid: It is no id of an event.
    """
    if not text:
        return None
    if not _ID.fullmatch(text):
        raise RequestInvalid(
            "Last-Event-ID: that is no id of an event.", value=text[:100], accepted="an id as it came, such as 1700-0"
        )
    return text
