"""A JPEG tile of a TIFF as a picture of its own: bytes are put together, nothing is decoded.

A TIFF keeps the tables of its tiles apart, and says the colours of them in its own way.
"""

import re

from workers.core.slides.tiff.codestream import Size
from workers.core.slides.tiff.tiled import JPEG, TiledLevel

RGB, YCBCR = 2, 6

SIDE_MAX = 2**16 - 1
"""Of a JPEG, px."""

_SOI, _EOI, _SOS, _TABLES, _DROPPED = 0xD8, 0xD9, 0xDA, (0xC4, 0xDB, 0xDD), (*range(0xE0, 0xF0), 0xFE)
_SEQUENTIAL = (0xC0, 0xC1)
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COLOURS = {RGB: 0, YCBCR: 1}
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00%c"
"""The marker by which a decoder knows the colours; its last byte is the transform."""


def is_usual(level: TiledLevel) -> bool:
    """Whether the tiles of a directory are JPEGs of three colours, as far as the directory says."""
    kind = (level.compression, level.bits, level.samples, level.is_chunky)
    return kind == (JPEG, 8, 3, True) and level.photometric in _COLOURS and max(level.tile) <= SIDE_MAX


def head_of(level: TiledLevel) -> bytes:
    """Return what stands before each tile of a directory: start, marker of its colours, tables."""
    parts, at = [bytes((0xFF, _SOI)), _ADOBE % _COLOURS[level.photometric]], 2
    while (found := _segment(level.tables, at)) is not None:
        marker, segment = found
        at += len(segment)
        if marker in _TABLES:
            parts.append(segment)
    return b"".join(parts)


def assembled(head: bytes, stored: bytes, size: Size) -> bytes | None:
    """Return a tile as a JPEG of its own.

    Notes and pictures in application markers, and what lies behind the end, stay out.

    Args:
        head: What comes before, see `head_of`.
        stored: The tile as the TIFF has it.
        size: (width, height) that it must have, px.

    Returns:
        None if it is no sequential 8-bit JPEG of three colours and this size, in one scan.
    """
    frame = b"\x08" + size[1].to_bytes(2, "big") + size[0].to_bytes(2, "big") + b"\x03"
    parts, at = [head], 2
    while (found := _segment(stored, at)) is not None:
        marker, segment = found
        at += len(segment)
        if marker in _SEQUENTIAL:
            if segment[4:10] != frame:
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


def _segment(data: bytes, at: int) -> tuple[int, bytes] | None:
    """Return the marker at a place and its segment, None where there is none; the first two bytes are the start."""
    if data[:2] != bytes((0xFF, _SOI)) or len(data) < at + 4 or data[at] != 0xFF:
        return None
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    segment = data[at : at + length]
    return (data[at + 1], segment) if length >= 4 and len(segment) == length else None
