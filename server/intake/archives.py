"""Zip archives of strangers: which entries may be looked at, and taking one out without believing its headers.

No path of an archive ever becomes a path on the disk: who takes an entry out says where to.
"""

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.core.disk_room import disk_full_told
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import DiskFull
from workers.core.errors.intake import ArchiveRefused
from workers.core.slides.names import JUNK

ENTRIES_MAX = 10_000
DEPTH_MAX = 8
NAME_MAX_BYTES = 255
RATIO_MAX = 200
"""Bytes that one packed byte may become. Slides hold compressed pixels; one white picture in between may pass by
`RATIO_FREE_BYTES`."""

RATIO_FREE_BYTES = 16 * 2**20
BLOCK_BYTES = 2**20

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])(?:\..*)?", re.IGNORECASE)


@contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive.

    Raises:
        ArchiveRefused: It is none, or it is damaged; also when that shows within the context.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, ValueError) as error:
        raise ArchiveRefused("The archive is damaged, or no zip.", value=error, accepted="a zip archive") from error


def entries_of(
    archive: zipfile.ZipFile, most: int | None = None, deepest: int = DEPTH_MAX, *, may_repeat: bool = False
) -> list[zipfile.ZipInfo]:
    """Return the files of an archive, without folders and what file managers add, after a look at every entry.

    Args:
        archive: The archive.
        most: Entries it may have, if not `ENTRIES_MAX`.
        deepest: Components that a name may have.
        may_repeat: A name may stand there twice, as where files were written again: nothing is taken out.

    Raises:
        ArchiveRefused: There are too many, or one is no plain file, is encrypted, or has a name that could mean
            another place, a device, or the same file as another.
    """
    found = archive.infolist()
    most = ENTRIES_MAX if most is None else most
    if len(found) > most:
        raise ArchiveRefused("The archive has too many entries.", value=len(found), accepted=f"at most {most}")
    seen: set[str] = set()
    for entry in found:
        check_name(entry.orig_filename, deepest)
        _check_kind(entry)
        folded = unicodedata.normalize("NFKC", entry.orig_filename.removesuffix("/")).casefold()
        if folded in seen and not may_repeat:
            raise _refusal("Two entries of the archive have the same name, or one that differs in case only.", entry)
        seen.add(folded)
    return [entry for entry in found if not entry.is_dir() and not JUNK.fullmatch(entry.orig_filename)]


def check_name(name: str, deepest: int = DEPTH_MAX) -> None:
    """Refuse the name of an entry unless it is a plain relative path on every system.

    Args:
        name: As it stands in the archive.
        deepest: Components it may have.

    Raises:
        ArchiveRefused.
    """
    components = name.removesuffix("/").split("/")
    if "\\" in name or ":" in name or any(unicodedata.category(letter)[0] == "C" for letter in name):
        reason = "holds a character that names must not have"
    elif name.startswith("/"):
        reason = "is an absolute path"
    elif any(part in ("", ".", "..") for part in components):
        reason = "leads to another folder"
    elif any(_DEVICE.fullmatch(part) or part[-1] == "." or part[-1].isspace() for part in components):
        reason = "means a device or another name on some systems"
    elif len(components) > deepest or any(len(part.encode()) > NAME_MAX_BYTES for part in components):
        reason = "is too long or too deep"
    else:
        return
    raise ArchiveRefused(f"The name of an entry of the archive {reason}.", value=ascii(name[:200]))


def _check_kind(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    wanted = stat.S_IFDIR if entry.is_dir() else stat.S_IFREG
    if kind not in (0, wanted):
        raise _refusal("An entry of the archive is a link or a device.", entry)
    if entry.flag_bits & _ENCRYPTED:
        raise _refusal("An entry of the archive is encrypted.", entry)
    if entry.compress_type not in _METHODS:
        raise _refusal("An entry of the archive is packed by a method that is not taken.", entry, "deflate, or stored")


def _refusal(sentence: str, entry: zipfile.ZipInfo, accepted: str | None = None) -> ArchiveRefused:
    return ArchiveRefused(sentence, value=ascii(entry.orig_filename[:200]), accepted=accepted)


class Budget:
    """Bytes that may still come out of an archive.

    Args:
        total_bytes: Of all entries together.
        room_bytes: What the disk has room for.
        packed_bytes: Size of the archive itself.
        quota_bytes: What its tenant has room for; None: no limit.
    """

    def __init__(self, total_bytes: int, room_bytes: int, packed_bytes: int, quota_bytes: int | None = None) -> None:
        self.used = 0
        self._total = total_bytes
        self._room = room_bytes
        self._packed = packed_bytes
        self._quota = quota_bytes

    def take(self, entry: zipfile.ZipInfo, taken: int, more: int) -> None:
        """Count bytes that came out, before they are written.

        Args:
            entry: Where they came from.
            taken: Bytes that came out of it before.
            more: Bytes that came out now.

        Raises:
            ArchiveRefused: These are too many.
            QuotaExceeded: The tenant has no room for them.
            DiskFull: The disk has no room for them.
        """
        self.used += more
        if self.used > self._total:
            raise ArchiveRefused(
                "The archive unpacks to more bytes than a slide may have.",
                value=f"more than {self._total} bytes",
                accepted=f"at most {self._total} bytes",
            )
        if self._quota is not None and self.used > self._quota:
            raise QuotaExceeded(
                "The tenant has no room for what this archive unpacks to; delete slides first.",
                value=f"more than {self._quota} bytes",
                accepted=f"at most {self._quota} bytes",
            )
        if self.used > self._room:
            raise DiskFull("The server's disk has too little room for this slide.", value=f"{self.used} bytes")
        out, packed = max((taken + more, entry.compress_size), (self.used, self._packed), key=_ratio)
        if out > RATIO_FREE_BYTES and out > RATIO_MAX * packed:
            raise _refusal(
                "The archive unpacks to too many times its size.", entry, f"at most {RATIO_MAX} bytes of one byte"
            )


def _ratio(sizes: tuple[int, int]) -> float:
    return sizes[0] / max(sizes[1], 1) if sizes[0] > RATIO_FREE_BYTES else 0.0


def take_out(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: Budget) -> None:
    """Write the bytes of an entry to a new file, durably; counted while they are inflated.

    Args:
        archive: Where it is.
        entry: Which one.
        target: A path that nothing has; no link is followed.
        budget: What all entries may have together.

    Raises:
        ArchiveRefused: They are too many, or not as many as the archive says.
        QuotaExceeded, DiskFull: There is no room for them.
        zipfile.BadZipFile: They do not have their checksum; `opened_archive` tells it.
    """
    taken = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with disk_full_told(entry.file_size), os.fdopen(descriptor, "wb") as writer, archive.open(entry) as reader:
        while block := reader.read(BLOCK_BYTES):
            budget.take(entry, taken, len(block))
            taken += len(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    if taken != entry.file_size:
        raise _refusal("An entry of the archive does not have the size it claims.", entry, f"{entry.file_size} bytes")
