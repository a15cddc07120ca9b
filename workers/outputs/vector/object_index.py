"""`objects.index`: the table of objects once more, in a form in which a few of many are found at once.

Made of `objects.parquet` alone, batch by batch; in memory is one row group of it, and one column while it is sorted.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workers.core.errors.base import ProductRefused
from workers.core.objects.index import BLOCK_BYTES, FIELDS, HEAD, MAGIC, SHAPE_BYTES_MAX, SIZE, columns_bytes

BATCH_ROWS = 2048
SORT_BYTES = 24
"""Of memory per object while the rows are sorted."""
PACK_LEVEL = 1
NUMBERS = ("x", "y", "area_um2", "confidence", "class_index", "touches_border")
BOX = ("xmin", "ymin", "xmax", "ymax")
READ = ["id", *NUMBERS, "bbox", "geometry"]


def write_index(path: Path, table: Path, room_bytes: int) -> int:
    """Write the index of a table of objects; return how many objects it has.

    Args:
        path: Where to.
        table: `objects.parquet`.
        room_bytes: Memory that may be taken.

    Raises:
        ProductRefused: There is no such table, or it has more objects than can be sorted.
    """
    if not table.exists():
        raise ProductRefused("The job made no table of objects.", value=table.name, accepted="outputs with it")
    with table.open("rb") as file:
        parquet = pq.ParquetFile(file)
        rows = parquet.metadata.num_rows
        if rows * SORT_BYTES > room_bytes:
            raise ProductRefused("There are too many objects for the worker's memory.", value=rows)
        with path.open("wb") as out:
            out.write(HEAD.pack(MAGIC, rows))
            out.truncate(columns_bytes(rows))
        columns = _columns(path, rows)
        with path.open("r+b") as out:
            out.seek(columns_bytes(rows))
            _fill(columns, out, parquet.iter_batches(BATCH_ROWS, columns=READ))
    for name in ("confidence", "area_um2"):
        columns[f"by_{name.removesuffix('_um2')}"][:] = np.argsort(columns[name], kind="stable")
    return int(rows)


def _columns(path: Path, rows: int) -> dict[str, NDArray[Any]]:
    """Return the columns of a fresh index, to be written to; they land in the file."""
    found: dict[str, NDArray[Any]] = {}
    begin = HEAD.size
    for name, kind in FIELDS.items():
        found[name] = np.memmap(path, kind, "r+", begin, (rows,)) if rows else np.empty(0, kind)
        begin += rows * np.dtype(kind).itemsize
    return found


def _fill(columns: dict[str, NDArray[Any]], out: IO[bytes], batches: Iterator[pa.RecordBatch]) -> None:
    blocks, row = _Blocks(columns, out), 0
    for batch in batches:
        here = slice(row, row + len(batch))
        for name in NUMBERS:
            columns[name][here] = batch.column(name).to_numpy(zero_copy_only=False)
        for name, side in zip(BOX, batch.column("bbox").flatten(), strict=True):
            columns[name][here] = side.to_numpy()
        ids = b"".join(uuid.UUID(each).bytes for each in batch.column("id").to_pylist())
        columns["id"][here] = np.frombuffer(ids, "V16")
        for at, shape in enumerate(batch.column("geometry")):
            blocks.add(row + at, shape.as_py())
        row += len(batch)
    blocks.flush()


class _Blocks:
    """Packs polygons as they come, many at once."""

    def __init__(self, columns: dict[str, NDArray[Any]], out: IO[bytes]) -> None:
        self._columns, self._out = columns, out
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, row: int, shape: bytes) -> None:
        """Take the polygon of a row."""
        if len(shape) > SHAPE_BYTES_MAX:
            return
        self._columns["block"][row] = self._out.tell()
        self._columns["at"][row] = self._size
        self._columns["length"][row] = len(shape)
        self._waiting.append(shape)
        self._size += len(shape)
        if self._size >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            packed = imagecodecs.zstd_encode(b"".join(self._waiting), level=PACK_LEVEL)
            self._out.write(SIZE.pack(len(packed)) + packed)
        self._waiting, self._size = [], 0
