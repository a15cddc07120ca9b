"""The chunks of an array of a Zarr, one at a time: found, bounded, decoded. Samples of 8 bits alone.

What a Zarr can say and is not understood here is refused by name, before a chunk is read.
"""

from collections import OrderedDict
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.zarr.codecs import (
    ACCEPTED,
    BYTES,
    CRC32C,
    SHARDING,
    decoded,
    most_packed,
    packers,
)
from workers.core.slides.readers.zarr.entries import Entries
from workers.core.slides.readers.zarr.metadata import ArraySaid, Named, Said, parsed
from workers.core.slides.size_limits import check_pixels
from workers.core.slides.slide import PARSER_ERRORS, Pixels

OWNER = "OME-Zarr"
UINT8 = ("uint8", "|u1", "<u1", ">u1", "u1")
MAX_IN_SHARD = 2**16
"""Chunks of one shard: their places are held in memory."""

TABLES_KEPT = 16
_ABSENT = 2**64 - 1
_FILL_MAX = 255

Index = tuple[int, ...]


class _Sharding(Said):
    codecs: tuple[Named, ...]
    index_codecs: tuple[Named, ...]
    index_location: Literal["start", "end"] = "end"


class ZarrArray:
    """An array of 8-bit samples.

    Args:
        entries: Where its files lie; closed by whoever opened them.
        said: Its metadata.

    Raises:
        SlideUnreadable: Its samples, its codecs or its fill value are not understood.
        SlideTooLarge: A chunk of it is past the limits.
    """

    def __init__(self, entries: Entries, said: ArraySaid) -> None:
        self._entries = entries
        self.said = said
        self.chunk = said.chunk
        if said.data_type not in UINT8:
            raise SlideUnreadable(
                "The bit depth of this OME-Zarr is not understood.",
                value=said.data_type[:100],
                accepted="8 bits, unsigned",
            )
        check_pixels(OWNER, prod(self.chunk), 1, 8)
        self.fill = _fill(said.fill)
        self._sharding = _sharding(said)
        self._packers = packers([each.spec for each in self._sharding.codecs] if self._sharding else said.codecs)
        self._in_shard = tuple(stored // side for stored, side in zip(said.stored, self.chunk, strict=True))
        self._tables: OrderedDict[str, npt.NDArray[np.uint64] | None] = OrderedDict()
        if self._sharding:
            check_shards(self._sharding, prod(self._in_shard))

    def read(self, index: Index) -> Pixels | None:
        """Return a chunk, uint8 of the chunk's shape; None if it is not stored, and all of it is `fill`.

        Raises:
            ValueError, RuntimeError, OSError, zlib.error: It is damaged, or not as large as it has to be.
        """
        size = prod(self.chunk)
        data = self._sharded(index, size) if self._sharding else self._entries.read(self.key(index), most_packed(size))
        if data is None:
            return None
        samples = np.frombuffer(decoded(data, self._packers, size), np.uint8)
        return samples.reshape(self.chunk, order=self.said.order)

    def key(self, index: Index) -> str:
        """Return the key of the file that holds a chunk."""
        return self.said.key(tuple(at // count for at, count in zip(index, self._in_shard, strict=True)))

    def is_stored(self, index: Index) -> bool:
        """Whether a chunk is there, or would be if it were not damaged."""
        try:
            if self._sharding is None:
                return self._entries.size(self.key(index)) is not None
            return self._place(index) is not None
        except PARSER_ERRORS:  # said by whoever reads it
            return True

    def _sharded(self, index: Index, size: int) -> bytes | None:
        place = self._place(index)
        if place is None:
            return None
        if place[1] > most_packed(size):
            raise ValueError(f"a chunk of {place[1]} bytes within a shard")
        return self._entries.part(self.key(index), *place)

    def _place(self, index: Index) -> tuple[int, int] | None:
        """Return where a chunk begins in its shard, and its bytes; None if it is not stored."""
        table = self._table(self.key(index))
        if table is None:
            return None
        start, length = map(int, table[tuple(at % count for at, count in zip(index, self._in_shard, strict=True))])
        return None if start == length == _ABSENT else (start, length)

    def _table(self, key: str) -> npt.NDArray[np.uint64] | None:
        """Return where the chunks of a shard lie, (…, start and length); None if the shard is not stored."""
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        sharding, whole = self._sharding, self._entries.size(key)
        table = None
        if whole is not None and sharding is not None:
            names = packers([each.spec for each in sharding.index_codecs])
            size = prod(self._in_shard) * 16
            packed = size + 4 * len(names)
            data = self._entries.part(key, whole - packed if sharding.index_location == "end" else 0, packed)
            table = np.frombuffer(decoded(data, names, size), "<u8").reshape(*self._in_shard, 2)
        self._tables[key] = table
        while len(self._tables) > TABLES_KEPT:
            self._tables.popitem(last=False)
        return table


def _sharding(said: ArraySaid) -> _Sharding | None:
    if said.codecs and said.codecs[0][0] == SHARDING and len(said.codecs) == 1:
        return parsed(_Sharding, dict(said.codecs[0][1]), said.path)
    return None


def check_shards(sharding: _Sharding, count: int) -> None:
    """Refuse shards of too many chunks, and tables of their places that are packed.

    Raises:
        SlideUnreadable.
    """
    names = [each.name for each in sharding.index_codecs]
    if names not in ([BYTES], [BYTES, CRC32C]) or sharding.index_codecs[0].spec[1].get("endian") == "big":
        raise SlideUnreadable(
            "The shards of this OME-Zarr are not understood.",
            value=", ".join(names)[:100],
            accepted=f"a table of little-endian numbers, with {CRC32C} or without; within, {ACCEPTED}",
        )
    if count > MAX_IN_SHARD:
        raise SlideUnreadable(
            "A shard of this OME-Zarr has too many chunks.", value=count, accepted=f"at most {MAX_IN_SHARD}"
        )


def _fill(said: object) -> int | None:
    if said is None:
        return None
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said <= _FILL_MAX:
        raise SlideUnreadable(
            "The fill value of this OME-Zarr is not understood.", value=ascii(str(said)[:100]), accepted="0 to 255"
        )
    return said
