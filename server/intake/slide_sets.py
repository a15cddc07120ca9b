"""Slides of several files, uploaded as one zip: a MIRAX slide with its folder, or the instances of a DICOM series.

`unpack` is the gateway's side. `python -m server.intake.slide_sets` is the child's: it looks at every entry, chooses
the files of the slide by name, and writes them under names of ours:

    original.mrxs, original/Slidedat.ini, original/Data0000.dat …
    original-0000.dcm, original-0001.dcm …        the one with the most pixels is the first

`Store.slide_file` then finds what a reader opens; the others lie where it looks for them.
"""

import os
import re
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from server.intake.archives import Budget, entries_of, opened_archive, take_out
from server.intake.sandbox import limits_of, run_confined, serve_confined
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import SlideSetIncomplete
from workers.core.frozen import Frozen
from workers.core.settings import Settings
from workers.core.slides import mirax
from workers.core.slides.slide import PARSER_ERRORS
from workers.core.storage.files import fsync_dir

DICOM_NAME = re.compile(r".*\.(?:dcm|dicom)|[0-9.]{1,64}|[A-Z0-9_]{1,16}", re.IGNORECASE)
"""Files of a series: with an extension, named by a UID, or as on a medium."""

DICOM_INDEX = "DICOMDIR"
HEADER_TAGS = ["SOPClassUID", "SeriesInstanceUID", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "ImageType"]
ACCEPTED = "a zip of slide.mrxs with the folder slide, or of the .dcm files of one series"


class UnpackOrder(Frozen):
    """What to unpack into the folder where the child works."""

    archive: str
    max_bytes: int
    room_bytes: int
    quota_bytes: int | None = None


class Unpacked(Frozen):
    """What came out."""

    kind: Literal["mirax", "dicom"]
    first: str
    size_bytes: int


def unpack(archive: Path, folder: Path, settings: Settings, quota_bytes: int | None = None) -> Unpacked:
    """Unpack an uploaded archive into a folder, in a child process with limits.

    Args:
        archive: The zip.
        folder: Holds nothing, or the archive alone.
        settings: The limits; no slide may have more bytes than an upload.
        quota_bytes: What its tenant has room for; None: no limit.

    Raises:
        ArchiveRefused, SlideSetIncomplete, SlideUnreadable: The archive is refused.
        QuotaExceeded: It unpacks to more than its tenant has room for.
        DiskFull: What is in it does not fit on the disk.
    """
    order = UnpackOrder(
        archive=os.path.relpath(archive, folder),
        max_bytes=settings.upload_max_bytes,
        room_bytes=max(0, shutil.disk_usage(folder).free - settings.disk_reserve_bytes),
        quota_bytes=quota_bytes,
    )
    limits = limits_of(settings, settings.upload_max_bytes, settings.unpack_timeout_s).model_copy(
        update={"also_reads": (order.archive,)}
    )
    return run_confined("server.intake.slide_sets", order, Unpacked, folder, limits, settings.unpack_timeout_s)


def unpack_here(order: UnpackOrder) -> Unpacked:
    """Unpack into the current folder: the child's work.

    Raises:
        ArchiveRefused, SlideSetIncomplete, SlideUnreadable, QuotaExceeded, DiskFull.
    """
    path = Path(order.archive)
    with opened_archive(path) as archive:
        layout = mirax_layout(entries := entries_of(archive)) or dicom_layout(entries)
        budget = Budget(order.max_bytes, order.room_bytes, path.stat().st_size, order.quota_bytes)
        for entry, target in layout.items():
            target.parent.mkdir(exist_ok=True)
            take_out(archive, entry, target, budget)
    first = next(iter(layout.values()))
    kind: Literal["mirax", "dicom"] = "mirax" if first.suffix == mirax.EXTENSION else "dicom"
    if kind == "dicom":
        first = sort_instances(list(layout.values()))
    for folder in {target.parent for target in layout.values()} | {Path()}:
        fsync_dir(folder)
    return Unpacked(kind=kind, first=first.name, size_bytes=budget.used)


def mirax_layout(entries: Sequence[zipfile.ZipInfo]) -> dict[zipfile.ZipInfo, Path]:
    """Return what is taken out of an archive with a MIRAX slide, and where to; nothing if it holds none.

    Raises:
        SlideSetIncomplete: There is more than one slide, its folder is missing, or there is something else.
    """
    fronts = [entry for entry in entries if entry.filename.lower().endswith(mirax.EXTENSION)]
    if not fronts:
        return {}
    front = PurePosixPath(fronts[0].filename)
    if len(fronts) > 1:
        raise SlideSetIncomplete("The archive holds several slides.", value=len(fronts), accepted=ACCEPTED)
    layout = {fronts[0]: Path(f"original{mirax.EXTENSION}")}
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.parent == front.with_suffix("") and path.name.lower() == mirax.TABLE.lower():
            layout[entry] = Path("original", mirax.TABLE)
        elif path.parent == front.with_suffix("") and mirax.PART.fullmatch(path.name):
            layout[entry] = Path("original", path.name)
        elif path != front:
            raise _stranger(entry)
    if Path("original", mirax.TABLE) not in layout.values():
        raise SlideSetIncomplete(
            f"{front.name} came without its folder {front.stem}, which holds the pixels.",
            value=front.name,
            accepted=ACCEPTED,
        )
    return layout


def dicom_layout(entries: Sequence[zipfile.ZipInfo]) -> dict[zipfile.ZipInfo, Path]:
    """Return what is taken out of an archive with a DICOM series, and where to.

    Raises:
        SlideSetIncomplete: There is nothing, or something else.
    """
    instances = [entry for entry in entries if PurePosixPath(entry.filename).name.upper() != DICOM_INDEX]
    for entry in instances:
        if not DICOM_NAME.fullmatch(PurePosixPath(entry.filename).name):
            raise _stranger(entry)
    if not instances:
        raise SlideSetIncomplete("The archive holds no slide.", accepted=ACCEPTED)
    instances.sort(key=lambda entry: entry.filename)
    return {entry: Path(f"unsorted-{number:04d}") for number, entry in enumerate(instances)}


def sort_instances(files: Sequence[Path]) -> Path:
    """Give the instances of one series their names, those with most pixels first; return the first.

    Raises:
        SlideUnreadable: A file is no instance of a whole-slide image.
        SlideSetIncomplete: They belong to several series.
    """
    headers = {path: _header(path) for path in files}
    series = {str(header.get("SeriesInstanceUID")) for header in headers.values()}
    if len(series) > 1:
        raise SlideSetIncomplete("The archive holds several DICOM series.", value=len(series), accepted="one series")
    ordered = sorted(files, key=lambda path: (-_pixels(headers[path]), path.name))
    for number, path in enumerate(ordered):
        path.rename(f"original-{number:04d}.dcm")
    return Path("original-0000.dcm")


def _header(path: Path) -> pydicom.Dataset:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
    except (InvalidDicomError, EOFError, *PARSER_ERRORS) as error:
        raise SlideUnreadable("A file of the archive is no DICOM instance.", accepted=ACCEPTED) from error
    if header.get("SOPClassUID") != VLWholeSlideMicroscopyImageStorage:
        raise SlideUnreadable(
            "A DICOM instance of the archive is no whole-slide image.",
            value=header.get("SOPClassUID"),
            accepted=f"VL Whole Slide Microscopy ({VLWholeSlideMicroscopyImageStorage})",
        )
    return header


def _pixels(header: pydicom.Dataset) -> int:
    """Total pixels of a volume image; nothing for a label or an overview, which must not be the first."""
    if "VOLUME" not in (header.get("ImageType") or ()):
        return 0
    return int(header.get("TotalPixelMatrixColumns") or 0) * int(header.get("TotalPixelMatrixRows") or 0)


def _stranger(entry: zipfile.ZipInfo) -> SlideSetIncomplete:
    return SlideSetIncomplete(
        "The archive holds a file that is no part of the slide.", value=ascii(entry.filename[:200]), accepted=ACCEPTED
    )


if __name__ == "__main__":
    sys.exit(serve_confined(sys.argv[1:], UnpackOrder, unpack_here))
