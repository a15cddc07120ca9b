"""The audit log: who changed, fetched or was refused what. Append-only, each line with the digest of the last.

    <data>/audit.jsonl                  one JSON object a line, mode 0600
    <data>/audit-<first number>.jsonl   what was written before, once audit.jsonl had grown; never touched again
    <data>/audit.lock                   held by who appends

Whoever alters, removes or adds a line in between breaks the chain. Whoever can write the file can also cut off its
end, or write all of it anew: against that, `head` of a verification is to be kept where the server cannot write.

"""

import errno
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from server.access.principals import Means
from server.access.private_files import MODE, locked
from workers.core.errors.access import AuditBroken
from workers.core.frozen import Frozen
from workers.core.storage.files import fsync_dir

FILE, LOCK = "audit.jsonl", "audit.lock"
BEGINNING = "0" * 64
"""What stands for the digest of the line before the first."""

TEXT_MAX = 400
TAIL_BYTES = 64 * 1024
"""Many times more than a line can have."""

_OLD = re.compile(r"audit-(\d{12})\.jsonl")
_SECRET = re.compile(r"ldk_[^/\s]*|(?<=signature=)[^&\s]*", re.IGNORECASE)

Action = Literal[
    "change",
    "download",
    "viewed",
    "refusal",
    "key_created",
    "key_revoked",
    "slide_removed",
    "job_removed",
    "slide_checked",
]

logger = logging.getLogger(__name__)


class Event(Frozen):
    """What happened. Text is shortened, and what looks like a secret is left out of it, before it is written."""

    action: Action
    by: Means | Literal["command", "server"] | None = Field(default=None, description="None: nobody that is known.")
    tenant: str | None = None
    key_id: str | None = None
    remote: str | None = Field(default=None, description="Address of the other end of the connection.")
    method: str | None = None
    path: str | None = Field(default=None, description="Without its query.")
    status: int | None = Field(default=None, description="Of the answer; None if there was none.")
    code: str | None = Field(default=None, description="Of a refusal.")
    detail: str | None = None
    request_id: str | None = Field(default=None, description="Of the answer's X-Request-Id.")


class Line(Event):
    """One line of the log."""

    seq: int = Field(ge=1)
    at: AwareDatetime
    previous: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the line before, without its end.")


class Verified(Frozen):
    """What a whole chain has."""

    lines: int
    first: int = Field(description="Number of the first line that is there; 0 if there is none.")
    last: int
    torn: int = Field(description="Lines that were cut off when the server or its disk died.")
    head: str = Field(description="SHA-256 of the last line.")


class AuditLog:
    """The log of a data folder. Several processes may append at once. Every method blocks.

    Args:
        data_dir: The data folder.
        max_bytes: Size at which a new file is begun.
    """

    def __init__(self, data_dir: Path, max_bytes: int) -> None:
        self._folder = data_dir
        self._path = data_dir / FILE
        self._max_bytes = max_bytes

    def append(self, event: Event) -> None:
        """Write one line, durably.

        Raises:
            OSError: It could not be written, or may not be on the disk.
        """
        with locked(self._folder / LOCK):
            seq, previous = self._last()
            self._rotate()
            more = {"seq": seq + 1, "at": datetime.now(UTC), "previous": previous}
            line = Line.model_validate(_plain(event) | more)
            is_new = not self._path.exists()
            _append(self._path, json.dumps(line.model_dump(mode="json", exclude_none=True)).encode() + b"\n")
            if is_new:
                fsync_dir(self._folder)

    def record(self, event: Event) -> None:
        """Write one line; if that fails say so in the server's log and go on: a full disk must not forbid deleting."""
        try:
            self.append(event)
        except OSError as error:
            logger.critical("the audit log cannot be written (%s): %s", error.strerror, _plain(event))

    def files(self) -> list[Path]:
        """Return the files of the log, the oldest first."""
        old = sorted(path for path in self._folder.glob("audit-*.jsonl") if _OLD.fullmatch(path.name))
        return [*old, *([self._path] if self._path.exists() else [])]

    def verify(self, *, may_begin_later: bool = False) -> Verified:
        """Follow the chain from its first line to its last.

        Args:
            may_begin_later: Old files were taken away on purpose.

        Raises:
            AuditBroken: It names the first line that is not as it was written, or says that there is no folder.
        """
        if not self._folder.is_dir():
            raise AuditBroken("There is no data folder.", value=str(self._folder), accepted="that of a server")
        with locked(self._folder / LOCK):
            return _follow(_lines(self.files()), may_begin_later=may_begin_later)

    def _last(self) -> tuple[int, str]:
        """Number and digest of the last line of the newest file that has any; heals a line that was cut off."""
        _end_line(self._path)
        digest = None
        for path in reversed(self.files()):
            for raw in reversed(_tail(path)):
                digest = digest or hashlib.sha256(raw).hexdigest()
                if line := _parsed(raw):
                    return line.seq, digest
        return 0, digest or BEGINNING

    def _rotate(self) -> None:
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return
        with self._path.open("rb") as file:
            first = next((line.seq for raw in file if (line := _parsed(raw.rstrip(b"\n")))), 0)
        self._path.rename(self._folder / f"audit-{first:012d}.jsonl")
        fsync_dir(self._folder)


def _plain(event: Event) -> dict[str, object]:
    return {
        name: _SECRET.sub("…", value)[:TEXT_MAX] if isinstance(value, str) else value
        for name, value in event.model_dump().items()
    }


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        before, is_whole = os.fstat(descriptor).st_size, False
        try:
            is_whole = os.write(descriptor, line) == len(line)
            os.fsync(descriptor)
        finally:
            if not is_whole:
                os.ftruncate(descriptor, before)
        if not is_whole:
            raise OSError(errno.ENOSPC, "the disk took half a line")
    finally:
        os.close(descriptor)


def _end_line(path: Path) -> None:
    """Give a line that was cut off its end, so that it stands as what it is and the next begins afresh."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().split(b"\n")[:-1]


def _lines(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in files:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                yield f"{path.name}:{number}", raw.rstrip(b"\n")


def _parsed(raw: bytes) -> Line | None:
    try:
        return Line.model_validate_json(raw)
    except ValidationError:
        return None


def _follow(lines: Iterator[tuple[str, bytes]], *, may_begin_later: bool) -> Verified:
    count = first = last = torn = 0
    digest: str | None = None if may_begin_later else BEGINNING
    for where, raw in lines:
        line = _parsed(raw)
        if line is None:  # genuine if the next line knows its digest; the last of all is not known to anyone
            torn += 1
        else:
            if line.previous != digest and digest is not None:
                raise AuditBroken("The line before is not the one that was written.", value=where)
            if line.seq != (last + 1 if count or not may_begin_later else line.seq):
                raise AuditBroken("A line is missing.", value=where, accepted=f"number {last + 1}")
            count, first, last = count + 1, first or line.seq, line.seq
        digest = hashlib.sha256(raw).hexdigest()
    return Verified(lines=count, first=first, last=last, torn=torn, head=digest or BEGINNING)
