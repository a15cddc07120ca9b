"""Lines of the log: text for people, or JSON for programs, in which there is nothing that could name a patient.

JSON says which job, slide and request a line is about, as fields. Of what may hold a name of a file it keeps the kind:
an exception is its type and where it was raised, never its words; what others log is the template without its values;
text that somebody else made is marked as `Private` by who logs it, and left out.
"""

import errno
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from workers.core.errors.base import LDiffusionError
from workers.core.settings import LogFormat

HIDDEN = "…"
OURS = frozenset({"server", "workers", "models", "uvicorn", "__main__"})
"""First parts of loggers whose lines are written with care: our own, and the server's, whose paths are cut before."""

FRAMES = 12
_NAMED = re.compile(r"\b(job|slide|upload|batch)s? ([0-9a-f]{32})\b")
_ID = re.compile(r"[0-9a-f]{32}")

_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


class Private(str):
    """Text of somebody else, which may hold names: it is for the log that people read, and not for JSON."""

    __slots__ = ()


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Have the lines that this task writes meanwhile say what they are about; see `note`."""
    token = _about.set(dict(ids))
    try:
        yield
    finally:
        _about.reset(token)


def note(**ids: str) -> None:
    """Say more of what lines are about, within `about`."""
    known = _about.get()
    if known is not None:
        known.update(ids)


class JsonLines(logging.Formatter):
    """Makes a line of JSON of a record.

    Args:
        process: What runs here.
        more: Returns what else is known of what is going on, by field.
    """

    def __init__(self, process: str, more: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__()
        self._process = process
        self._more = more

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Whatever a record holds, there is one."""
        message = _message(record)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": message,
            **dict(_NAMED.findall(message)),
            **self._more(),
            **(_about.get() or {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def start_logs(
    process: str,
    log_format: LogFormat,
    text: str,
    note_of: Callable[[logging.LogRecord], bool] | None = None,
    more: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Write the log of this process on standard error.

    Args:
        process: What runs here.
        log_format: Of the lines.
        text: How a line looks for people, as `logging.Formatter` takes it.
        note_of: A filter that gives a record what `text` shows besides.
        more: For JSON, see `JsonLines`.
    """
    lines = logging.StreamHandler()
    if note_of is not None:
        lines.addFilter(note_of)
    lines.setFormatter(logging.Formatter(text) if log_format == "text" else JsonLines(process, more))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    if log_format == "json":
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda told: _log_uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error, trace))


def _message(record: logging.LogRecord) -> str:
    template = record.msg if isinstance(record.msg, str) else HIDDEN
    if record.name.partition(".")[0] not in OURS:
        return template if record.args else HIDDEN
    try:
        if isinstance(record.args, Mapping):  # the one value was a mapping, and whatever is in it
            return template.replace("%s", HIDDEN)
        return template % tuple(map(_shown, record.args)) if record.args else template
    except (TypeError, ValueError):
        return template


def _shown(value: object) -> object:
    """Return what a line says of a value: nothing of what somebody else may have written into it."""
    match value:
        case Private():
            return HIDDEN
        case bool() | int() | float() | str() | None:
            return value
        case LDiffusionError():
            return value.code
        case OSError(errno=int(number)):
            return f"{type(value).__name__} {errno.errorcode.get(number, number)}"
        case BaseException():
            return type(value).__name__
        case Path():
            return " ".join(_ID.findall(str(value))) or HIDDEN
    return HIDDEN


def _told(error: BaseException) -> dict[str, object]:
    """Return type and place of an exception, and the types of those behind it."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    told: dict[str, object] = {
        "type": str(_shown(error)),
        "at": [f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno} {each.name}" for each in frames],
    }
    cause = error.__cause__ or error.__context__
    if cause is not None:
        told["because"] = str(_shown(cause))
    return told
