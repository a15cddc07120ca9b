"""How many px a stored tile says it has, in the header of its own codestream: read before anything decodes it.

A tile of 13 kB may say that it is 8000 px wide, and a decoder that believes it takes a gigabyte. PNG, JPEG, JPEG 2000,
JPEG XL and WebP say their size themselves; other codecs of TIFF do not, and give no more bytes than a tile has.
"""

import struct
from collections.abc import Callable
from typing import Final

from workers.core.errors.base import SlideUnreadable

Size = tuple[int, int]
"""(width, height) in px."""

HEADER_BYTES: Final = 4096
"""As much of a tile is looked at; a JPEG's tables and comments before its size may be longer, see `size_of`."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def jpeg_size(data: bytes) -> Size | None:
    """Return the size in the frame header of a JPEG; None if there is none in these bytes."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker in _JPEG_FRAMES and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def jpeg_is_ycbcr(data: bytes) -> bool | None:
    """Return whether three colours of a JPEG are YCbCr, as its own header has it; None where it does not tell.

    Adobe's and JFIF's segments say so, the names R, G and B of components deny it, and only YCbCr is subsampled.
    """
    at, found = 2, None
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data) and data[at] == 0xFF:
        marker, segment = data[at + 1], data[at + 4 :]
        if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) > 11:
            return segment[11] == 1
        if marker == 0xE0 and segment[:4] == b"JFIF":
            found = True
        elif marker in _JPEG_FRAMES and len(segment) >= 15 and segment[5] == 3:
            names, sampling = segment[6:15:3], segment[7:15:3]
            return False if names == b"RGB" else found or (True if len(set(sampling)) > 1 else None)
        at += 2 if marker in _JPEG_ALONE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def png_size(data: bytes) -> Size | None:
    """Return the size in the IHDR of a PNG."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def jpeg2000_size(data: bytes) -> Size | None:
    """Return the size in the SIZ segment of a JPEG 2000 codestream, bare or in the boxes of JP2."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 24:
        return None
    right, lower, left, upper = struct.unpack_from(">IIII", data, at + 8)
    return right - left, lower - upper


def webp_size(data: bytes) -> Size | None:
    """Return the size in the first chunk of a WebP: lossy, lossless or extended."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_BITS: Final = (9, 13, 18, 30)


def jpegxl_size(data: bytes) -> Size | None:
    """Return the size in the SizeHeader of a JPEG XL codestream, bare or in boxes (ISO/IEC 18181-1, section D.2)."""
    at = data.find(b"\xff\x0a")
    if at < 0 or len(data) < at + 12:
        return None
    stream = int.from_bytes(data[at + 2 : at + 12], "little")
    taken = 0

    def bits(count: int) -> int:
        nonlocal taken
        value = stream >> taken & ((1 << count) - 1)
        taken += count
        return value

    is_small = bits(1)

    def length() -> int:
        return 8 * (bits(5) + 1) if is_small else bits(_JXL_BITS[bits(2)]) + 1

    height = length()
    ratio = bits(3)
    if ratio == 0:
        return length(), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


READERS: Final[dict[int, Callable[[bytes], Size | None]]] = {
    7: jpeg_size,
    33003: jpeg2000_size,
    33004: jpeg2000_size,
    33005: jpeg2000_size,
    34712: jpeg2000_size,
    34933: png_size,
    34927: webp_size,
    50001: webp_size,
    50002: jpegxl_size,
    52546: jpegxl_size,
}
"""By the number of a TIFF's compression."""


def check_size(compression: int, data: bytes, width: int, height: int, *, is_whole: bool = False) -> None:
    """Refuse a tile whose own header says another size than the file says of it.

    Args:
        compression: The TIFF's.
        data: The beginning of the stored tile; see `is_whole`.
        width: Px that the tile is to have.
        height: Px.
        is_whole: The bytes are the whole tile: one without a size in it is refused as well.

    Raises:
        SlideUnreadable: It does.
    """
    reader = READERS.get(compression)
    size = reader(data) if reader else (width, height)
    if size is None and not is_whole:
        return
    if size != (width, height):
        raise SlideUnreadable(
            "A stored tile says of itself that it has another size than the slide says of its tiles.",
            value="no size" if size is None else f"{size[0]} x {size[1]}",
            accepted=f"{width} x {height}",
        )
