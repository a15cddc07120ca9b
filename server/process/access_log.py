"""What the log tells of a request: its path, as far as that is an address of ours, and nothing of what it carried.

The query holds the names of files and the signatures of links, and a path that is no address of ours may hold anything.
"""

import logging
import re

HIDDEN = "…"
PARTS = 5
"""What uvicorn tells of a request: client, method, path with query, version, status."""

_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[a-z0-9_-]{0,64}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

POLL = re.compile(
    r'"(?:GET|HEAD) [^\s?]*?(/healthz|/readyz|/v1/jobs/[0-9a-f]{32}'
    r"|/v1/(slides|jobs)/[0-9a-f]{32}/\w+_files/\d+/\d+_\d+\.\w+)"
    r' HTTP/[\d.]+" (200|304)$'
)
"""What is asked every second for ever, or a hundred times for a view, and answered well, is not worth a log line."""


def told_path(target: str) -> str:
    """Return what the log says instead of the target of a request: no query, no part that may be somebody's name.

    Args:
        target: Path and query, percent-encoded.
    """
    told: list[str] = []
    for part in target.partition("?")[0].split("/"):
        is_ours = bool(told) and (told[-1] == "assets" or any(_ID.fullmatch(before) for before in told))
        told.append(part if (_NAME if is_ours and part else _WORD).fullmatch(part) else HIDDEN)
    return "/".join(told)


def keep_private(record: logging.LogRecord) -> bool:
    """Take out of the record of an access what nobody should read in a log; a filter that keeps every record."""
    if isinstance(record.args, tuple) and len(record.args) == PARTS:
        client, method, target, version, status = record.args
        record.args = client, method, told_path(str(target)), version, status
    return True


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether an access belongs into the log."""
    return POLL.search(record.getMessage()) is None


def guard_access_log() -> None:
    """Have every line of the log of accesses be private, and none be of what is asked all the time."""
    accesses = logging.getLogger("uvicorn.access")
    accesses.addFilter(keep_private)
    accesses.addFilter(is_worth_a_line)
