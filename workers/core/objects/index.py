"""How `objects.index` lies on the disk: the table of objects for those who ask for a few of many. Workers write it.

A head, then a column of each field with one value per object in the order of `objects.parquet`, then the polygons in
blocks that are packed one by one. It is mapped, not read: an answer costs the columns that it looks at, and its blocks.

Frames: level-0 px of the full plane, as in `objects.parquet`.
"""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

NAME = "objects.index"
MAGIC = b"LDOBJ001"
HEAD = struct.Struct("<8sQ")
"""Magic, and how many objects there are."""
SIZE = struct.Struct("<I")
"""Bytes of a packed block, before it."""
FIELDS = {
    **dict.fromkeys(("xmin", "ymin", "xmax", "ymax", "x", "y", "area_um2", "confidence"), "<f8"),
    "block": "<u8",  # where the block with its polygon begins in the file
    "by_confidence": "<u4",  # the rows in this order, the lowest first
    "by_area": "<u4",
    "at": "<u4",  # where its polygon begins in the block
    "length": "<u4",  # and its length there; 0 where it is left out
    "class_index": "u1",
    "touches_border": "?",
    "id": "V16",
}
"""Of each column, widest first, so that all of them are aligned."""
BLOCK_BYTES = 2**16
"""Of polygons with which a block ends."""
SHAPE_BYTES_MAX = 2**24
"""A polygon that is longer, of a million corners, is left out."""


def columns_bytes(rows: int) -> int:
    """Return where the blocks begin."""
    return HEAD.size + rows * sum(np.dtype(kind).itemsize for kind in FIELDS.values())


class ObjectIndex:
    """An index that is complete. No file stays open; for any thread.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        magic, self.rows = HEAD.unpack(self._bytes[: HEAD.size].tobytes())
        if magic != MAGIC:
            message = f"{path} begins with {magic!r}, and an index of objects with {MAGIC!r}"
            raise ValueError(message)

    def column(self, name: str) -> NDArray[Any]:
        """Return one value per object, without reading them."""
        begin = HEAD.size
        for each, kind in FIELDS.items():
            size = self.rows * np.dtype(kind).itemsize
            if each == name:
                return self._bytes[begin : begin + size].view(kind)
            begin += size
        raise KeyError(name)

    def shape(self, row: int) -> bytes | None:
        """Return the polygon of an object in well-known binary, level-0 px; None if it is too long for the index."""
        block, at, length = (int(self.column(name)[row]) for name in ("block", "at", "length"))
        if not length:
            return None
        (size,) = SIZE.unpack(self._bytes[block : block + SIZE.size].tobytes())
        begin = block + SIZE.size
        unpacked = imagecodecs.zstd_decode(self._bytes[begin : begin + size].tobytes())
        return bytes(unpacked[at : at + length])
