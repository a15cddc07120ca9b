"""The JPEG tiles that a slide's file holds, given as they are: nothing is decoded, nothing is lost.

A TIFF keeps the tables of its tiles apart, and says the colours of them in its own way. Put together here they are
pictures that any viewer shows with the pixels that OpenSlide reads. Of which formats they may be given is said by each
format: `Format.stored_tiles`. What is not of the usual kind is not given, and is then decoded as every other slide is.
"""

import io
import os
import re
import weakref
from pathlib import Path

import numpy as np
from PIL import Image

from server.viewing.tiff_tiles import JPEG, TiledLevel, reader_at_hand, tiled_levels
from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import gives_stored_tiles
from workers.core.slides.slide import Pixels
from workers.core.slides.tiff.values import Reader, reader_of

RGB, YCBCR = 2, 6
REDUCTIONS = (2, 4, 8)
"""Steps between stored px that a JPEG can be decoded at at once."""

_SOI, _EOI, _SOS, _TABLES, _DROPPED = 0xD8, 0xD9, 0xDA, (0xC4, 0xDB, 0xDD), (*range(0xE0, 0xF0), 0xFE)
_SEQUENTIAL = (0xC0, 0xC1)
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COLOURS = {RGB: 0, YCBCR: 1}
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00%c"
"""The marker by which a decoder knows the colours; its last byte is the transform."""


class StoredTiles:
    """The JPEG tiles of a slide that its Deep Zoom grid consists of. For any thread; holds the file open meanwhile.

    Args:
        path: The slide's file.
        info: The slide.
        tile_px: Side of the tiles of the grid.
    """

    def __init__(self, path: Path, info: SlideInfo, tile_px: int) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, file)
        self._read, self._read_at_hand = reader_of(file), reader_at_hand(file)
        self._levels = _by_step(self._read, os.fstat(file).st_size, info, tile_px)
        self._heads = {step: _head(level) for step, level in self._levels.items()}

    def tile(self, step: int, col: int, row: int) -> bytes | None:
        """Return a tile as a JPEG, None if it is not to be had without decoding: at an edge, absent, of another kind.

        Args:
            step: Level-0 px per px of the tile's level.
            col: Of the grid.
            row: Of the grid.
        """
        return self._stored(self._read, step, col, row) if step in self._levels else None

    def tile_at_hand(self, step: int, col: int, row: int) -> bytes | None:
        """Return what `tile` does if it takes no wait for a disk, else None; may be called where nothing may block."""
        try:
            return self._stored(self._read_at_hand, step, col, row) if step in self._levels else None
        except BlockingIOError:
            return None

    def reduced(self, step: int, col: int, row: int) -> Pixels | None:
        """Return a tile of a level that the slide has not, from the tiles of one that is 2, 4 or 8 times as fine.

        Each is decoded at the smaller size at once, which averages it within its frequencies.

        Returns:
            uint8 (tile_px, tile_px, 3), or None if it is not to be had so.
        """
        factor = next((each for each in REDUCTIONS if step % each == 0 and step // each in self._levels), None)
        if factor is None:
            return None
        fine = step // factor
        side = self._levels[fine].tile[0]
        part = side // factor
        if part * factor != side:
            return None
        out = np.empty((side, side, 3), np.uint8)
        for y in range(factor):
            for x in range(factor):
                stored = self._stored(self._read, fine, col * factor + x, row * factor + y)
                pixels = None if stored is None else decoded_at(stored, part)
                if pixels is None:
                    return None
                out[y * part : (y + 1) * part, x * part : (x + 1) * part] = pixels
        return out

    def _stored(self, read: Reader, step: int, col: int, row: int) -> bytes | None:
        level = self._levels[step]
        side = level.tile[0]
        if (col + 1) * side > level.width or (row + 1) * side > level.height:
            return None
        return assembled(self._heads[step], level.read(read, col, row), side)


def assembled(head: bytes, stored: bytes, side: int) -> bytes | None:
    """Return a tile as a JPEG of its own.

    Notes and pictures in application markers, and what lies behind the end, stay out.

    Args:
        head: What comes before: start, colour marker, tables.
        stored: The tile as the TIFF has it.
        side: Px that it must have.

    Returns:
        None if it is no sequential 8-bit JPEG of three colours and this size, in one scan.
    """
    parts, at = [head], 2
    while (found := _segment(stored, at)) is not None:
        marker, segment = found
        at += len(segment)
        if marker in _SEQUENTIAL:
            if segment[4:10] != b"\x08" + side.to_bytes(2, "big") * 2 + b"\x03":
                return None
        elif marker in _DROPPED:
            continue
        elif marker == _SOS:
            end = _END_OF_SCAN.search(stored, at)
            if segment[4:5] != b"\x03" or end is None or end[0][1] != _EOI:
                return None
            return b"".join((*parts, segment, stored[at : end.end()]))
        elif marker not in _TABLES:
            return None
        parts.append(segment)
    return None


def decoded_at(stored: bytes, side: int) -> Pixels | None:
    """Decode a JPEG at a smaller size, a half, a quarter or an eighth of its own; None if it is damaged.

    Returns:
        uint8 (side, side, 3).
    """
    try:
        with Image.open(io.BytesIO(stored), formats=["JPEG"]) as image:
            image.draft("RGB", (side, side))
            pixels = np.asarray(image.convert("RGB"))
    except OSError:
        return None
    return pixels if pixels.shape[:2] == (side, side) else None


def _by_step(read: Reader, size: int, info: SlideInfo, tile_px: int) -> dict[int, TiledLevel]:
    """Return the directories that hold a level of the grid as JPEG, by level-0 px per px."""
    if not gives_stored_tiles(info.vendor, info.backend):
        return {}
    whole = (info.geometry.l0_width, info.geometry.l0_height)
    found: dict[int, TiledLevel] = {}
    try:
        directories = tiled_levels(read, size)
    except (SlideUnreadable, SlideTooLarge):  # whoever decodes it says what is wrong
        return {}
    for sides in ((level.width, level.height) for level in info.geometry.levels):
        same = [each for each in directories if (each.width, each.height) == sides]
        step = max(1, round(whole[0] / sides[0]))
        is_exact = all(abs(own * step - l0) < step for own, l0 in zip(sides, whole, strict=True))
        if len(same) == 1 and is_exact and step & (step - 1) == 0 and _is_usual(same[0], tile_px):
            found[step] = same[0]
    return found


def _is_usual(level: TiledLevel, tile_px: int) -> bool:
    kind = (level.compression, level.bits, level.samples, level.is_chunky, level.tile)
    return kind == (JPEG, 8, 3, True, (tile_px, tile_px)) and level.photometric in _COLOURS


def _head(level: TiledLevel) -> bytes:
    parts, at = [bytes((0xFF, _SOI)), _ADOBE % _COLOURS[level.photometric]], 2
    while (found := _segment(level.tables, at)) is not None:
        marker, segment = found
        at += len(segment)
        if marker in _TABLES:
            parts.append(segment)
    return b"".join(parts)


def _segment(data: bytes, at: int) -> tuple[int, bytes] | None:
    """Return the marker at a place and its segment, None where there is none; the first two bytes are the start."""
    if data[:2] != bytes((0xFF, _SOI)) or len(data) < at + 4 or data[at] != 0xFF:
        return None
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    segment = data[at : at + length]
    return (data[at + 1], segment) if length >= 4 and len(segment) == length else None
