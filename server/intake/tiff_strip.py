"""Makes a TIFF slide hold nothing but its levels: label, macro, thumbnail and identifying tags go, in place.

What stays is listed: the directories that are levels, of these the tags that a reader of pixels needs, and what those
point to. Every other byte of the file becomes zero, whether or not something pointed to it. For Aperio slides a new
ImageDescription is written that has the magnification and the resolution only.
"""

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import openslide
from tifffile import TiffFile, TiffPage
from tifffile.tifffile import TiffFormat

from workers.core.errors.intake import DeidentifyRefused

ZEROS_BYTES = 2**20
DESCRIPTION = 270
KEPT_TAGS = frozenset(
    (
        *(254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 282, 283, 284, 296, 317, 320),  # size, colour, resolution
        *(322, 323, 324, 325, 338, 339, 347, 529, 530, 531, 532, 32997, 34675),  # tiles and how to decode them
    )
)
"""Of a level. Not kept, among others: dates, artist, host, software, names, XMP, EXIF, GPS, private tags."""

OLD_JPEG = 6
"""Keeps what its tiles need behind tags of its own."""

APERIO_KEPT = ("AppMag", "MPP")
_APERIO_FIRST = "Aperio Image Library"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_OTHER_PICTURE = re.compile(r"\b(?:label|macro)\b", re.IGNORECASE)
_STRIPPED = re.compile(r"Aperio Image Library\r\n\d+x\d+(?:\|(?:AppMag|MPP) = [0-9.]+)*")

Range = tuple[int, int]
"""First byte, and the one after the last."""


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory that stays.

    Attributes:
        offset: Where it lies.
        entries: Its tags that stay, as they will be in the file.
        ranges: What they point to.
        texts: Where a new text goes, and which.
    """

    offset: int
    entries: tuple[bytes, ...]
    ranges: tuple[Range, ...]
    texts: tuple[tuple[int, bytes], ...]


def strip_tiff(path: Path) -> None:
    """Strip a TIFF slide in place, then read it again to see that it worked.

    Args:
        path: A file that may be changed; after an error it is of no use.

    Raises:
        DeidentifyRefused: It is of a format whose parts are not known well enough, or something would stay.
    """
    vendor = openslide.OpenSlide.detect_format(path)
    if vendor not in ("aperio", "generic-tiff"):
        raise _refusal(vendor or "a TIFF that openslide does not read")
    with TiffFile(path) as tiff:
        if tiff.is_ome:
            raise _refusal("OME-TIFF")
        levels = [_level(tiff, page, vendor) for page in _level_pages(tiff)]
        layout = tiff.tiff
    _rewrite(path, levels, layout)
    check_stripped(path, len(levels))


def _refusal(value: object) -> DeidentifyRefused:
    return DeidentifyRefused(
        "This server strips slides of what identifies a patient, and cannot do that with this format.",
        value=value,
        accepted="Aperio SVS, tiled pyramidal TIFF, DICOM",
    )


def _level_pages(tiff: TiffFile) -> list[TiffPage]:
    """Return the directories that are levels: tiled, of the shape of the first, and called nothing else."""
    found: list[TiffPage] = []
    for number, page in enumerate(tiff.pages):
        if not isinstance(page, TiffPage) or page.compression == OLD_JPEG or 330 in page.tags:
            raise _refusal(f"directory {number} of this TIFF")
        is_named = _OTHER_PICTURE.search(page.description.partition("|")[0])  # behind it are Aperio's properties
        if page.is_tiled and not is_named and (not found or _is_reduced(page, found[0])):
            found.append(page)
        elif number == 0:
            raise _refusal("a TIFF whose first directory is no level")
    return found


def _is_reduced(page: TiffPage, first: TiffPage) -> bool:
    """Whether a picture can be the first one, made smaller; a px of rounding on each side is let pass."""
    scale = first.imagewidth / page.imagewidth
    return scale >= 1 and abs(page.imagelength - first.imagelength / scale) <= max(2.0, 0.01 * page.imagelength)


def _level(tiff: TiffFile, page: TiffPage, vendor: str) -> _Level:
    layout = tiff.tiff
    entries, texts = [], []
    ranges = [(start, start + count) for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    for tag in page.tags:
        is_text = tag.code == DESCRIPTION and vendor == "aperio"
        if tag.code not in KEPT_TAGS and not is_text:
            continue
        raw = _read(tiff, tag.offset, layout.tagsize)
        if is_text:
            text = _description(page).encode("ascii") + b"\0"
            if len(text) > tag.valuebytecount or len(text) <= layout.offsetsize:
                raise _refusal("an Aperio slide with a description that is too short")
            count = struct.pack(layout.offsetformat, len(text))
            raw = raw[:4] + count + raw[4 + len(count) :]
            texts.append((tag.valueoffset, text))
            ranges.append((tag.valueoffset, tag.valueoffset + len(text)))
        elif tag.valuebytecount > layout.offsetsize:
            ranges.append((tag.valueoffset, tag.valueoffset + tag.valuebytecount))
        entries.append(raw)
    end = page.offset + layout.tagnosize + len(entries) * layout.tagsize + layout.offsetsize
    return _Level(page.offset, tuple(entries), ((page.offset, end), *ranges), tuple(texts))


def _read(tiff: TiffFile, offset: int, length: int) -> bytes:
    tiff.filehandle.seek(offset)
    return bytes(tiff.filehandle.read(length))


def _description(page: TiffPage) -> str:
    """Return the new description of an Aperio level: its size, and the numbers that the pixels need."""
    known = dict(part.partition("=")[::2] for part in page.description.split("|")[1:])
    known = {key.strip(): value.strip() for key, value in known.items()}
    numbers = [f"|{key} = {known[key]}" for key in APERIO_KEPT if _NUMBER.fullmatch(known.get(key, ""))]
    return f"{_APERIO_FIRST}\r\n{page.imagewidth}x{page.imagelength}{''.join(numbers)}"


def _rewrite(path: Path, levels: list[_Level], layout: TiffFormat) -> None:
    following = [level.offset for level in levels[1:]] + [0]
    kept = [(0, 16 if layout.offsetsize == 8 else 8), *(each for level in levels for each in level.ranges)]
    with path.open("r+b") as file:
        for level, after in zip(levels, following, strict=True):
            file.seek(level.offset)
            file.write(struct.pack(layout.tagnoformat, len(level.entries)))
            file.write(b"".join(level.entries) + struct.pack(layout.offsetformat, after))
            for offset, text in level.texts:
                file.seek(offset)
                file.write(text)
        for start, end in _gaps(kept, path.stat().st_size):
            _wipe(file, start, end)
        file.flush()
        os.fsync(file.fileno())


def _gaps(kept: Iterable[Range], size: int) -> Iterator[Range]:
    """Give what lies between ranges, which may overlap."""
    reached = 0
    for start, end in sorted(kept):
        if start > reached:
            yield reached, min(start, size)
        reached = max(reached, end)
    if reached < size:
        yield reached, size


def _wipe(file: BinaryIO, start: int, end: int) -> None:
    file.seek(start)
    file.writelines(bytes(min(ZEROS_BYTES, end - position)) for position in range(start, end, ZEROS_BYTES))


def check_stripped(path: Path, levels: int) -> None:
    """Read a stripped TIFF as others read it, and see that only its levels are left.

    Raises:
        DeidentifyRefused: Something else is.
    """
    with openslide.OpenSlide(path) as slide:
        others = sorted(slide.associated_images)
    with TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if isinstance(page, TiffPage)]
        tags = {tag.code for page in pages for tag in page.tags} - KEPT_TAGS - {DESCRIPTION}
        texts = [page.description for page in pages if DESCRIPTION in page.tags]
    if others or tags or len(pages) != levels or not all(_STRIPPED.fullmatch(text) for text in texts):
        raise _refusal(f"this TIFF: {others or sorted(tags) or texts} would stay")
