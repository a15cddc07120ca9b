"""`corrections.jsonl` beside a job's results: a line for each revision, only ever added to.

A line counts once its newline is there, and the answer comes after it is on the disk: what a death cuts off was not
acknowledged, is passed over when the file is read, and is cut away before the next line is added.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from workers.core.corrections.schemas import Revision
from workers.core.disk_room import storage_error
from workers.core.errors.base import StorageFault
from workers.core.errors.review import CorrectionsChanged, CorrectionsFull
from workers.core.storage.files import fsync_dir
from workers.core.store import job_missing

FILE = "corrections.jsonl"
FILE_MAX_BYTES = 2**24
"""Most bytes of one job's corrections: tens of thousands of nuclei, outlines and all."""

_PIECE_BYTES = 2**20


def latest_revision(folder: Path) -> int:
    """Return the number of the latest revision of a job's folder; 0 if nothing was corrected."""
    count = 0
    with suppress(FileNotFoundError), (folder / FILE).open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            count += piece.count(b"\n")
    return count


def read_revisions(folder: Path) -> tuple[Revision, ...]:
    """Return all revisions of a job's folder, the first one first.

    Raises:
        StorageFault: A line cannot be read.
    """
    try:
        return parsed((folder / FILE).read_bytes(), folder.name)
    except FileNotFoundError:
        return ()


def append(
    folder: Path,
    based_on: int,
    made: Callable[[tuple[Revision, ...]], Revision],
    told: Callable[[bytes], None] = lambda _: None,
) -> tuple[tuple[Revision, ...], int]:
    """Add a revision, which is on the disk when this returns. One at a time.

    Args:
        folder: Of the job.
        based_on: The revision that whoever corrects has seen.
        made: Makes the revision, given all that came before; what it raises leaves the file as it was.
        told: Is given all lines once the new one is on the disk, before anybody can add another.

    Returns:
        All revisions, the new one last, and by how many bytes the file has grown.

    Raises:
        JobNotFound: There is no such folder.
        CorrectionsChanged: There is a later revision than `based_on`, or none of this number.
        CorrectionsFull: The file is as large as it may be.
        DiskFull, StorageFault: The disk does not take it; the file is as it was.
    """
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise job_missing(folder.name) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = _read(descriptor)
        known = parsed(before, folder.name)
        if len(known) != based_on:
            raise CorrectionsChanged(
                "The corrections are not those that yours begin with.",
                value=based_on,
                accepted=f"revision {len(known)}",
            )
        revision = made(known)
        line = revision.model_dump_json(exclude_none=True).encode() + b"\n"
        whole = before.rfind(b"\n") + 1
        if whole + len(line) > FILE_MAX_BYTES:
            raise CorrectionsFull(
                "This job has no room for more corrections.", value=f"{whole} bytes", accepted=f"{FILE_MAX_BYTES} bytes"
            )
        _write(descriptor, whole, line)
        fsync_dir(folder)
        told(before[:whole] + line)
    except FileNotFoundError as error:  # deleted meanwhile
        raise job_missing(folder.name) from error
    finally:
        os.close(descriptor)
    return (*known, revision), whole + len(line) - len(before)


def torn_bytes(folder: Path) -> int:
    """Return how many bytes of a line that is not whole the file ends with; 0 if there are none, or no file."""
    with suppress(FileNotFoundError), (folder / FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # not in the middle of a line that is being written
        content = file.read()
        return len(content) - content.rfind(b"\n") - 1
    return 0


def cut_torn(folder: Path) -> None:
    """Cut away a line that is not whole: nobody was told that it is there."""
    with (folder / FILE).open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(file.read().rfind(b"\n") + 1)
        os.fsync(file.fileno())


def parsed(content: bytes, job_id: str) -> tuple[Revision, ...]:
    """Return the revisions of whole lines.

    Raises:
        StorageFault: A line cannot be read, or one is missing.
    """
    try:
        revisions = tuple(Revision.model_validate_json(line) for line in content.split(b"\n")[:-1])
    except ValidationError as error:
        raise StorageFault("A line of the job's corrections cannot be read.", value=job_id) from error
    if [each.revision for each in revisions] != list(range(1, len(revisions) + 1)):
        raise StorageFault("Revisions of the job's corrections are missing.", value=job_id)
    return revisions


def _read(descriptor: int) -> bytes:
    pieces, at = [], 0
    while piece := os.pread(descriptor, _PIECE_BYTES, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _write(descriptor: int, whole: int, line: bytes) -> None:
    """Write a line behind the last whole one; where it does not get to the disk, nothing of it stays."""
    try:
        os.ftruncate(descriptor, whole)
        written = 0
        while written < len(line):
            written += os.write(descriptor, line[written:])
        os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(descriptor, whole)
        known = storage_error(error)
        if known is None:
            raise
        raise known from error
