"""The values of a TIFF's tags: where they lie, and how they are read when somebody asks.

Every byte comes through a `Reader`, which may be one that never waits for the disk.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.size_limits import check_count

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by the number of its type."""

WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""How `struct` and numpy call the types that are whole numbers without a sign."""

MAX_OFFSET = 2**62
"""No file system holds a file that ends behind it."""

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
        except OSError as error:  # some file systems do not know the flag
            raise BlockingIOError from error
        if got < length:
            raise BlockingIOError
        return bytes(data)

    return read


class Tag(IntEnum):
    """Numbers of the tags that say where pixels lie and how they are coded."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    DESCRIPTION = 270
    STRIP_OFFSETS = 273
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_SIZES = 279
    PLANAR = 284
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_SIZES = 325
    SUB_DIRECTORIES = 330
    EXTRA_SAMPLES = 338
    JPEG_TABLES = 347


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one tag, not read yet.

    Attributes:
        entry_at: Where the directory names them, bytes from the beginning of the file, as all places here.
        at: Where the first one lies.
        kind: Number of their type.
        count: How many there are.
        order: Byte order, `<` or `>`.
    """

    entry_at: int
    at: int
    kind: int
    count: int
    order: str

    @property
    def length(self) -> int:
        """Bytes of all of them; 0 for a type that is not known."""
        return self.count * TYPE_BYTES.get(self.kind, 0)

    def one(self, read: Reader, index: int = 0) -> int:
        """Return one of the whole numbers.

        Raises:
            SlideUnreadable: There is none of this index, or they are no whole numbers.
        """
        layout = self._layout()
        if not 0 <= index < self.count:
            raise senseless(f"value {index} of {self.count}")
        size = struct.calcsize(layout)
        return int(struct.unpack(layout, exactly(read, self.at + index * size, size))[0])

    def all(self, read: Reader) -> npt.NDArray[np.uint64]:
        """Return all of the whole numbers.

        Raises:
            SlideUnreadable: They are no whole numbers.
            SlideTooLarge: There are more than a slide can have tiles.
        """
        check_count("TIFF", self.count)
        return np.frombuffer(self.raw(read), np.dtype(self._layout())).astype(np.uint64)

    def raw(self, read: Reader) -> bytes:
        """Return their bytes as the file has them."""
        return exactly(read, self.at, self.length)

    def _layout(self) -> str:
        if self.kind not in WHOLE_NUMBERS:
            raise senseless(f"values of type {self.kind}", "whole numbers")
        return self.order + WHOLE_NUMBERS[self.kind]


def exactly(read: Reader, at: int, length: int) -> bytes:
    """Return bytes of a file, all that are asked for.

    Raises:
        SlideUnreadable: The file ends before.
        OSError: It cannot be read.
    """
    data = read(at, length) if at + length < MAX_OFFSET else b""
    if len(data) < length:
        raise SlideUnreadable("The file is cut off.", value=f"bytes {at} to {at + length}")
    return data


def cut_off(claim: str, size: int) -> SlideUnreadable:
    """Return the error of a file that ends before something that it claims to hold."""
    return SlideUnreadable(f"The file is cut off: {claim}, but it holds {size} bytes.", value=f"{size} bytes")


def senseless(value: str, accepted: str | None = None) -> SlideUnreadable:
    """Return the error of a directory with something that no reader could use."""
    return SlideUnreadable("A directory of this TIFF makes no sense.", value=value, accepted=accepted)
