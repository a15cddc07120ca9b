"""Is a TIFF whole? Walks the directories without decoding a pixel: a file that was cut off, or that lies, is refused.

Knows classic TIFF, BigTIFF, and NDPI, which is classic TIFF with 64-bit offsets squeezed in.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.size_limits import check_count, check_pixels, check_tile

MAX_DIRECTORIES = 4096
MAX_TAGS = 4096
MAX_STRIP_PIXELS = 2**26
"""A strip is decoded as a whole: 200 MB of RGB."""

TIFF_MAGIC = {b"II*\0": ("<", 4), b"MM\0*": (">", 4), b"II+\0": ("<", 8), b"MM\0+": (">", 8)}
"""First bytes of a TIFF: byte order, and bytes of an offset."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TYPE_FORMAT = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

_BITS, _COMPRESSION, _SAMPLES = 258, 259, 277
_WIDTH, _HEIGHT, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT, _SUB_DIRECTORIES = 256, 257, 278, 322, 323, 330
_NDPI, _JPEG = 65420, 7
_CHUNKS = ((273, 279), (324, 325))
"""Tags of (offsets, byte counts), of strips and of tiles."""

_SINGLE = {_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT}
_CHECKED = _SINGLE | {_BITS, _SUB_DIRECTORIES, *_CHUNKS[0], *_CHUNKS[1]}
"""Tags that are looked at here. Where one could be read in two ways, a reader may see what was not checked."""

_SENSELESS = "A directory of this TIFF makes no sense."


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tag: type, count and where its values lie."""

    kind: int
    count: int
    offset: int


def check_tiff(path: Path) -> bool:
    """Check that all that the directories of a TIFF point to lies within the file.

    Returns:
        False if the file is no TIFF at all, and nothing was checked.

    Raises:
        SlideUnreadable: The file is cut off, its directories form a loop, or they make no sense.
        SlideTooLarge: A tile, a strip or the number of directories is past the limits.
    """
    with path.open("rb") as file:
        known = TIFF_MAGIC.get(file.read(4))
        if known is None:
            return False
        _Walker(file, path.stat().st_size, *known).check()
    return True


class _Walker:
    def __init__(self, file: BinaryIO, size: int, order: str, word: int) -> None:
        self._file = file
        self._size = size
        self._order = order
        self._word = word  # bytes of an offset
        self._ndpi = False

    def check(self) -> None:
        """Walk all directories, sub-directories too."""
        pending = [self._first()]
        seen: set[int] = set()
        while pending:
            offset = pending.pop()
            if offset == 0:
                continue
            if offset in seen:
                raise SlideUnreadable("The directories of this TIFF form a loop.", value=f"offset {offset}")
            seen.add(offset)
            if len(seen) > MAX_DIRECTORIES:
                raise SlideTooLarge(
                    "This TIFF holds too many directories.",
                    value=f"more than {MAX_DIRECTORIES}",
                    accepted=f"at most {MAX_DIRECTORIES}",
                )
            entries, following = self._directory(offset)
            self._check_sizes(entries)
            self._check_chunks(entries)
            pending.append(following)
            if _SUB_DIRECTORIES in entries:
                pending += [int(offset) for offset in self._numbers(entries[_SUB_DIRECTORIES])]

    def _first(self) -> int:
        """Return where the first directory lies; it alone tells an NDPI, by what lies at its 64-bit offset."""
        if self._word == 8:
            return self._unpack("Q", 8)
        wide = self._unpack("Q", 4)
        self._ndpi = self._is_ndpi(wide)
        return wide if self._ndpi else self._unpack("I", 4)

    def _is_ndpi(self, offset: int) -> bool:
        try:
            heads, _ = self._heads(offset)
        except SlideUnreadable:
            return False
        return any(tag == _NDPI for tag, _, _ in heads)

    def _heads(self, offset: int) -> tuple[list[tuple[int, int, int]], int]:
        """Return (tag, type, count) of all tags of the directory at `offset`, and where the first of them lies."""
        count_format, entry_bytes = ("Q", 20) if self._word == 8 else ("H", 12)
        count = self._unpack(count_format, offset)
        if count > MAX_TAGS:
            raise SlideUnreadable(_SENSELESS, value=f"{count} tags", accepted=f"at most {MAX_TAGS}")
        start = offset + struct.calcsize(f"={count_format}")
        raw = self._bytes(start, count * entry_bytes)
        entry_format = f"{self._order}HH{'Q' if self._word == 8 else 'I'}"
        return [struct.unpack_from(entry_format, raw, i * entry_bytes) for i in range(count)], start

    def _directory(self, offset: int) -> tuple[dict[int, _Entry], int]:
        """Return the tags of the directory at `offset`, and the offset of the next one."""
        heads, start = self._heads(offset)
        _check_heads(heads)
        entry_bytes = 20 if self._word == 8 else 12
        end = start + len(heads) * entry_bytes
        wide = self._ndpi and self._size >= 2**32
        high = self._unpack_many("I", end + 8, len(heads)) if wide else (0,) * len(heads)
        entries = {}
        for i, (tag, kind, number) in enumerate(heads):
            value_at = start + (i + 1) * entry_bytes - self._word
            if number * _TYPE_BYTES.get(kind, 0) > self._word:
                value_at = self._unpack("Q" if self._word == 8 else "I", value_at) + (high[i] << 32)
            entries[tag] = self._entry(tag, kind, number, value_at)
        return entries, self._unpack("Q" if self._word == 8 or wide else "I", end)

    def _entry(self, tag: int, kind: int, count: int, offset: int) -> _Entry:
        length = count * _TYPE_BYTES.get(kind, 0)
        if offset + length > self._size:
            raise _cut_off(f"tag {tag} ends at byte {offset + length}", self._size)
        return _Entry(kind, count, offset)

    def _check_sizes(self, entries: dict[int, _Entry]) -> None:
        tile = [self._number(entries, tag) for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
        check_tile("TIFF", *tile)
        samples, bits = self._number(entries, _SAMPLES, 1), self._number(entries, _BITS, 1)
        check_pixels("TIFF", tile[0] * tile[1] or self._strip_pixels(entries), samples, bits)

    def _strip_pixels(self, entries: dict[int, _Entry]) -> int:
        """Return the px of a strip that a reader decodes as a whole; those of an NDPI have restart points."""
        if self._ndpi and self._number(entries, _COMPRESSION) == _JPEG:
            return 0
        width, height = self._number(entries, _WIDTH), self._number(entries, _HEIGHT)
        rows = min(self._number(entries, _ROWS_PER_STRIP) or height, height)
        if width * rows > MAX_STRIP_PIXELS:
            raise SlideTooLarge(
                "This TIFF is not tiled and its strips are too large.",
                value=f"{width} x {rows}",
                accepted=f"a tiled TIFF, or strips of at most {MAX_STRIP_PIXELS} pixels",
            )
        return width * rows

    def _check_chunks(self, entries: dict[int, _Entry]) -> None:
        for offsets_tag, counts_tag in _CHUNKS:
            if offsets_tag not in entries or counts_tag not in entries:
                continue
            offsets, counts = self._numbers(entries[offsets_tag]), self._numbers(entries[counts_tag])
            size = np.uint64(self._size)
            pairs = min(len(offsets), len(counts))
            offsets, counts = offsets[:pairs], counts[:pairs]
            outside = np.flatnonzero((offsets > size) | (counts > size - np.minimum(offsets, size)))
            if outside.size:  # said like this because a hostile offset + count may pass 64 bits
                end = int(offsets[outside[0]]) + int(counts[outside[0]])
                raise _cut_off(f"a piece of its pixels ends at byte {end}", self._size)

    def _number(self, entries: dict[int, _Entry], tag: int, default: int = 0) -> int:
        """Return the largest value of a tag."""
        return int(self._numbers(entries[tag]).max(initial=0)) if tag in entries else default

    def _numbers(self, entry: _Entry) -> npt.NDArray[np.uint64]:
        """Return the values of a tag of whole numbers."""
        check_count("TIFF", entry.count)
        layout = np.dtype(self._order + _TYPE_FORMAT[entry.kind])
        return np.frombuffer(self._bytes(entry.offset, entry.count * layout.itemsize), layout).astype(np.uint64)

    def _unpack(self, kind: str, offset: int) -> int:
        return self._unpack_many(kind, offset, 1)[0]

    def _unpack_many(self, kind: str, offset: int, count: int) -> tuple[int, ...]:
        layout = f"{self._order}{count}{kind}"
        return struct.unpack(layout, self._bytes(offset, struct.calcsize(layout)))

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise _cut_off(f"a directory ends at byte {offset + length}", self._size)
        self._file.seek(offset)
        return self._file.read(length)


def _check_heads(heads: list[tuple[int, int, int]]) -> None:
    """Refuse (tag, type, count) that readers take in different ways: no whole numbers, several of one, a tag twice."""
    seen = set()
    for tag, kind, count in heads:
        if tag not in _CHECKED:
            continue
        if tag in seen or kind not in _TYPE_FORMAT or (tag in _SINGLE and count != 1):
            raise SlideUnreadable(
                _SENSELESS,
                value=f"tag {tag}, type {kind}, {count} values",
                accepted=f"each tag once, of whole numbers{', and one of them' if tag in _SINGLE else ''}",
            )
        seen.add(tag)


def _cut_off(claim: str, size: int) -> SlideUnreadable:
    return SlideUnreadable(f"The file is cut off: {claim}, but it holds {size} bytes.", value=f"{size} bytes")
