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

from workers.core.errors.intake import DeidentifyRefused
from workers.core.slides.tiff.directories import Directory, Tiff, open_tiff
from workers.core.slides.tiff.values import Tag, exactly, reader_of

ZEROS_BYTES = 2**20
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
    with path.open("rb") as file:
        tiff = open_tiff(reader_of(file.fileno()), path.stat().st_size)
        if tiff is None or tiff.is_ndpi:
            raise _refusal(vendor)
        levels = [_level(tiff, directory, vendor) for directory in _level_directories(tiff)]
    _rewrite(path, levels, tiff)
    check_stripped(path, len(levels))


def _refusal(value: object) -> DeidentifyRefused:
    return DeidentifyRefused(
        "This server strips slides of what identifies a patient, and cannot do that with this format.",
        value=value,
        accepted="Aperio SVS, tiled pyramidal TIFF, DICOM",
    )


def _level_directories(tiff: Tiff) -> list[Directory]:
    """Return the directories that are levels: tiled, of the shape of the first, and called nothing else."""
    found: list[Directory] = []
    for number, directory in enumerate(tiff.chain()):
        text = _text(tiff, directory)
        if number == 0 and text.rstrip().endswith("OME>"):
            raise _refusal("OME-TIFF")
        if directory.number(tiff.read, Tag.COMPRESSION) == OLD_JPEG or Tag.SUB_DIRECTORIES in directory.tags:
            raise _refusal(f"directory {number} of this TIFF")
        is_named = _OTHER_PICTURE.search(text.partition("|")[0])  # behind it are Aperio's properties
        is_tiled = directory.tags.keys() >= {Tag.TILE_WIDTH, Tag.TILE_OFFSETS, Tag.TILE_SIZES}
        if is_tiled and not is_named and (not found or _is_reduced(_size(tiff, directory), _size(tiff, found[0]))):
            found.append(directory)
        elif number == 0:
            raise _refusal("a TIFF whose first directory is no level")
    return found


def _size(tiff: Tiff, directory: Directory) -> tuple[int, int]:
    """Return (width, height), px."""
    return directory.number(tiff.read, Tag.WIDTH), directory.number(tiff.read, Tag.HEIGHT)


def _is_reduced(size: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Whether a picture can be the first one, made smaller; a px of rounding on each side is let pass."""
    scale = whole[0] / size[0] if size[0] else 0.0
    return scale >= 1 and abs(size[1] - whole[1] / scale) <= max(2.0, 0.01 * size[1])


def _level(tiff: Tiff, directory: Directory, vendor: str) -> _Level:
    ranges, entries, texts = _tiles(tiff, directory), [], []
    for code, values in sorted(directory.tags.items()):
        is_text = code == Tag.DESCRIPTION and vendor == "aperio"
        if code not in KEPT_TAGS and not is_text:
            continue
        raw = exactly(tiff.read, values.entry_at, tiff.entry_bytes)
        if is_text:
            text = _description(tiff, directory).encode("ascii") + b"\0"
            if len(text) > values.length or len(text) <= tiff.word:
                raise _refusal("an Aperio slide with a description that is too short")
            count = struct.pack(tiff.offset_format, len(text))
            raw = raw[:4] + count + raw[4 + len(count) :]
            texts.append((values.at, text))
            ranges.append((values.at, values.at + len(text)))
        elif values.length > tiff.word:
            ranges.append((values.at, values.at + values.length))
        entries.append(raw)
    length = struct.calcsize(tiff.count_format) + len(entries) * tiff.entry_bytes + tiff.word
    ranges.append((directory.at, directory.at + length))
    return _Level(directory.at, tuple(entries), tuple(ranges), tuple(texts))


def _tiles(tiff: Tiff, directory: Directory) -> list[Range]:
    """Return where the tiles of a level lie."""
    starts, sizes = (directory.tags[tag].all(tiff.read).tolist() for tag in (Tag.TILE_OFFSETS, Tag.TILE_SIZES))
    return [(start, start + size) for start, size in zip(starts, sizes, strict=False)]


def _text(tiff: Tiff, directory: Directory) -> str:
    """Return the description of a directory, empty without; every byte is a letter of it."""
    values = directory.tags.get(Tag.DESCRIPTION)
    return "" if values is None else values.raw(tiff.read).rstrip(b"\0").decode("latin-1")


def _description(tiff: Tiff, directory: Directory) -> str:
    """Return the new description of an Aperio level: its size, and the numbers that the pixels need."""
    known = dict(part.partition("=")[::2] for part in _text(tiff, directory).split("|")[1:])
    known = {key.strip(): value.strip() for key, value in known.items()}
    numbers = [f"|{key} = {known[key]}" for key in APERIO_KEPT if _NUMBER.fullmatch(known.get(key, ""))]
    width, height = _size(tiff, directory)
    return f"{_APERIO_FIRST}\r\n{width}x{height}{''.join(numbers)}"


def _rewrite(path: Path, levels: list[_Level], tiff: Tiff) -> None:
    following = [level.offset for level in levels[1:]] + [0]
    kept = [(0, 16 if tiff.word == 8 else 8), *(each for level in levels for each in level.ranges)]
    with path.open("r+b") as file:
        for level, after in zip(levels, following, strict=True):
            file.seek(level.offset)
            file.write(struct.pack(tiff.count_format, len(level.entries)))
            file.write(b"".join(level.entries) + struct.pack(tiff.offset_format, after))
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
        tags = {tag.code for page in pages for tag in page.tags} - KEPT_TAGS - {Tag.DESCRIPTION}
        texts = [page.description for page in pages if Tag.DESCRIPTION in page.tags]
    if others or tags or len(pages) != levels or not all(_STRIPPED.fullmatch(text) for text in texts):
        raise _refusal(f"this TIFF: {others or sorted(tags) or texts} would stay")
