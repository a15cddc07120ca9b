"""Where the tiles of a tiled TIFF lie: its directories, read without its pixels. Classic TIFF and BigTIFF.

Of the places of tiles only where the table of them lies is kept, so that the memory does not grow with the slide.
"""

import os
import struct
from collections.abc import Callable
from typing import NamedTuple, Self

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.tiff_structure import TIFF_MAGIC

MAX_DIRECTORIES = 256
MAX_TAGS = 1024
MAX_TABLES_BYTES = 64 * 1024
MAX_OFFSET = 2**62
JPEG = 7

_FORMATS = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _SIZES, _TABLES = 322, 323, 324, 325, 347


Reader = Callable[[int, int], bytes]
"""Gives bytes of the file: where they begin, how many. Fewer if the file ends."""


def reader_of(file: int) -> Reader:
    """Return the reader of an open file; for any thread."""
    return lambda at, length: os.pread(file, length, at)


def reader_at_hand(file: int) -> Reader:
    """Return a reader that never waits for the disk.

    It raises BlockingIOError where the kernel has not all of the bytes in memory, or cannot tell.
    """

    def read(at: int, length: int) -> bytes:
        data = bytearray(length)
        try:
            got = os.preadv(file, [data], at, os.RWF_NOWAIT)
        except OSError as error:  # some file systems do not know the wish
            raise BlockingIOError from error
        if got < length:
            raise BlockingIOError
        return bytes(data)

    return read


class Values(NamedTuple):
    """The values of one tag: where they lie, and how each is packed."""

    at: int
    length: int
    layout: str

    def one(self, read: Reader, index: int) -> int:
        """Return a value that is a whole number.

        Raises:
            SlideUnreadable: There is none of this index.
        """
        size = struct.calcsize(self.layout)
        if not 0 <= index < self.length:
            raise _senseless(f"value {index} of {self.length}")
        return int(struct.unpack(self.layout, _bytes(read, self.at + index * size, size))[0])


class TiledLevel(NamedTuple):
    """A directory whose pixels are in tiles.

    Attributes:
        width: Px.
        height: Px.
        tile: (width, height) of a tile, px.
        bits: Of the first sample.
        samples: Per pixel.
        is_chunky: The samples of a pixel lie together.
        tables: JPEGTables as they are, empty without.
    """

    width: int
    height: int
    tile: tuple[int, int]
    compression: int
    photometric: int
    bits: int
    samples: int
    is_chunky: bool
    tables: bytes
    offsets: Values
    sizes: Values

    def read(self, read: Reader, col: int, row: int) -> bytes:
        """Return the stored bytes of a tile; none if the file has no such tile, which a TIFF may, or an absurd one.

        Raises:
            SlideUnreadable: The file ends before they do.
        """
        index = row * -(-self.width // self.tile[0]) + col
        size = self.sizes.one(read, index)
        most = self.tile[0] * self.tile[1] * self.samples * 2 + MAX_TABLES_BYTES
        return _bytes(read, self.offsets.one(read, index), size) if 0 < size <= most else b""


def tiled_levels(read: Reader) -> list[TiledLevel]:
    """Return the tiled directories of a TIFF's main chain, in their order; none if it is no TIFF.

    Raises:
        SlideUnreadable: It makes no sense.
        OSError: It cannot be read.
    """
    return _Directories.of(read).tiled()


class _Directories(NamedTuple):
    read: Reader
    order: str
    word: int
    """Bytes of an offset; 0: no TIFF."""

    @classmethod
    def of(cls, read: Reader) -> Self:
        return cls(read, *TIFF_MAGIC.get(read(0, 4), ("", 0)))

    def tiled(self) -> list[TiledLevel]:
        found: list[TiledLevel] = []
        seen: set[int] = set()
        following = self._number("Q", 8) if self.word == 8 else self._number("I", 4) if self.word else 0
        while following:
            if following in seen or len(seen) >= MAX_DIRECTORIES:
                raise _senseless("a chain of directories that does not end")
            seen.add(following)
            tags, following = self._directory(following)
            if {_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _SIZES} <= tags.keys():
                found.append(self._level(tags))
        return found

    def _directory(self, at: int) -> tuple[dict[int, Values], int]:
        count_format, entry = ("Q", 20) if self.word == 8 else ("H", 12)
        count = self._number(count_format, at)
        if count > MAX_TAGS:
            raise _senseless(f"{count} tags")
        start = at + struct.calcsize(count_format)
        raw = _bytes(self.read, start, count * entry)
        offset_format = "Q" if self.word == 8 else "I"
        tags = {}
        for i in range(count):
            tag, kind, length = struct.unpack_from(f"{self.order}HH{offset_format}", raw, i * entry)
            if kind not in _FORMATS:
                continue
            layout = self.order + _FORMATS[kind]
            values_at = start + (i + 1) * entry - self.word
            if length * struct.calcsize(layout) > self.word:
                values_at = self._number(offset_format, values_at)
            tags[tag] = Values(values_at, length, layout)
        return tags, self._number(offset_format, start + count * entry)

    def _level(self, tags: dict[int, Values]) -> TiledLevel:
        def first(tag: int, default: int) -> int:
            return tags[tag].one(self.read, 0) if tag in tags else default

        tables = tags.get(_TABLES, Values(0, 0, "B"))
        if tables.length > MAX_TABLES_BYTES:
            raise _senseless(f"{tables.length} bytes of JPEG tables")
        tile = first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0)
        if 0 in tile:
            raise _senseless("tiles without a pixel")
        return TiledLevel(
            width=first(_WIDTH, 0),
            height=first(_HEIGHT, 0),
            tile=tile,
            compression=first(_COMPRESSION, 1),
            photometric=first(_PHOTOMETRIC, 0),
            bits=first(_BITS, 1),
            samples=first(_SAMPLES, 1),
            is_chunky=first(_PLANAR, 1) == 1,
            tables=_bytes(self.read, tables.at, tables.length),
            offsets=tags[_OFFSETS],
            sizes=tags[_SIZES],
        )

    def _number(self, kind: str, at: int) -> int:
        layout = self.order + kind
        return int(struct.unpack(layout, _bytes(self.read, at, struct.calcsize(layout)))[0])


def _bytes(read: Reader, at: int, length: int) -> bytes:
    data = read(at, length) if at < MAX_OFFSET else b""
    if len(data) < length:
        raise _senseless(f"bytes {at} to {at + length}")
    return data


def _senseless(what: str) -> SlideUnreadable:
    return SlideUnreadable("The directories of this TIFF make no sense.", value=what)
