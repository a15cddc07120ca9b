"""From the bytes that came in to the files that are stored: named, unpacked, stripped.

A file that is stored as it came is moved. What is unpacked or stripped is made anew beside it each time, so a check
that was cut off is done again from the same bytes.
"""

import shutil
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from server.intake.deidentify import deidentify
from server.intake.slide_sets import unpack
from workers.core.digests import Opener, sha256_of, sha256_of_all
from workers.core.disk_room import check_room, disk_full_told
from workers.core.settings import Settings
from workers.core.slides.names import ARCHIVE, DICOM_MAGIC, extension_of, sniff_extension
from workers.core.storage.files import fsync_dir


@dataclass(frozen=True, slots=True)
class Prepared:
    """What will be stored.

    Attributes:
        first: The file that a reader opens.
        size_bytes: Of all files.
        sha256: Of what is stored, in hex, where that is not what came; see `SlideInfo.stored_sha256`.
        deidentified: It was stripped.
    """

    first: Path
    size_bytes: int
    sha256: str | None = None
    deidentified: bool = False


def prepare(file: Path, filename: str, folder: Path, settings: Settings, unpacked_max: int | None = None) -> Prepared:
    """Make the files of a slide in `folder`, from the bytes in `file`.

    Args:
        file: The bytes, durable, on the file system of `folder`; still there if they had to be unpacked or stripped.
        filename: Its extension says what it is, if it is known; else the bytes do.
        folder: Made if absent; what an earlier attempt left in it is removed.
        settings: Whether to strip, and the limits.
        unpacked_max: Bytes of an archive that the tenant has room for; None: the limits alone count.

    Raises:
        RequestInvalid, ArchiveRefused, SlideSetIncomplete, DeidentifyRefused, SlideUnreadable: The file is refused.
        QuotaExceeded: The archive unpacks to more than there is room for.
        DiskFull.
    """
    extension = extension_of(filename) or _sniffed(file, filename)
    is_stripped = settings.deidentify == "strip"
    folder.mkdir(exist_ok=True)
    if extension != ARCHIVE and not is_stripped:
        first = file.rename(folder / f"original{extension}")
        fsync_dir(folder)
        return Prepared(first, first.stat().st_size)
    _clear(folder, file)
    if extension == ARCHIVE:
        first = folder / unpack(file, folder, settings, unpacked_max).first
    else:
        first = _copy(file, folder / f"original{extension}", settings)
    if is_stripped:
        deidentify(first, settings)
        fsync_dir(folder)
    files = stored_files(folder, file)
    return Prepared(first, sum(path.stat().st_size for path in files), digest_of(files, folder), is_stripped)


def stored_files(folder: Path, *besides: Path) -> list[Path]:
    """Return every file of a slide, in the order of their names within `folder`, but for those named."""
    found = [path for path in folder.rglob("*") if path.is_file() and path not in besides]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def digest_of(files: list[Path], folder: Path, opener: Opener = FileIO) -> str:
    """Return the SHA-256 of one file, or of the lines `<sha256>  <name>` of several, in hex."""
    return sha256_of(files[0], opener) if len(files) == 1 else sha256_of_all(files, folder, opener)


def _sniffed(file: Path, filename: str) -> str:
    with file.open("rb") as opened:
        return sniff_extension(opened.read(DICOM_MAGIC.stop), filename)


def _clear(folder: Path, besides: Path) -> None:
    for path in folder.iterdir():
        if path == besides:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy(file: Path, target: Path, settings: Settings) -> Path:
    size = file.stat().st_size
    check_room(target.parent, size, settings.disk_reserve_bytes)
    with disk_full_told(size):
        return shutil.copyfile(file, target)
