"""The table of objects, `objects.parquet`: one row for each polygon, in the same order, as GeoParquet 1.1.

Written in row groups of a fixed number of rows while the planes are traced, so memory does not grow with the objects.
Pixels are read from the slide a second time, for the stain alone. The file is a function of planes and slide: not of
region sizes, workers, or how many rows were in memory, and nothing in it says when it was made.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workers.core.checks import Check, unchecked
from workers.core.schemas import Plan
from workers.core.storage.files import atomic_write
from workers.outputs.stain import UNIT, ZERO, haematoxylin
from workers.outputs.vector.counts import ClassObjects, Counter
from workers.outputs.vector.geojson import Features, collection
from workers.outputs.vector.measures import measure
from workers.outputs.vector.sheet import DECIMALS, Drawn, Sheet
from workers.outputs.vector.tracing import trace
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import RoiMask, without
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import Box, WorkingPlane, exact

ROWS = 2**14
"""Rows of a row group."""
GROUP_BYTES = 2**26
"""Bytes of polygons with which a row group ends before it has as many rows."""
PIECE_PX = 2**20
"""Pixels that are read from the slide at once."""
COUNTS = b"ldiffusion:objects"
"""Metadata of the file: how many objects of each class there are, those left out included."""

NUMBERS = (
    *("x", "y", "area_um2", "perimeter_um", "major_axis_um", "minor_axis_um", "circularity"),
    *("haematoxylin_od", "confidence"),
)
BOX = ("xmin", "ymin", "xmax", "ymax")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("class", pa.string()),
        ("class_index", pa.uint8()),
        *((name, pa.float64()) for name in NUMBERS[:2]),
        ("bbox", pa.struct([(name, pa.float64()) for name in BOX])),
        *((name, pa.float64()) for name in NUMBERS[2:]),
        ("touches_border", pa.bool_()),
        ("geometry", pa.binary()),
    ]
)
GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": None,
            "orientation": "counterclockwise",
            "covering": {"bbox": {name: ["bbox", name] for name in BOX}},
        }
    },
}


@dataclass(frozen=True)
class Source:
    """What the rows are measured on.

    Args:
        arrays: The planes of the job.
        plan: Its plan.
        reader: Reads the pixels of the working plane.
        roi: The region of interest; None takes the whole plane.
        holes: Boxes of the working plane that could not be read.
    """

    arrays: LabelArrays
    plan: Plan
    reader: PlaneReader
    roi: RoiMask | None = None
    holes: tuple[Box, ...] = ()

    def weights(self, w_y: int, w_x: int, block: NDArray[np.unsignedinteger]) -> Sequence[NDArray[np.unsignedinteger]]:
        """Return, of a block of the plane, the haematoxylin where there are objects, and 1 where something ends."""
        rows, columns = block.shape
        stain, high = np.zeros(block.shape, np.uint16), max(1, PIECE_PX // columns)
        for top in range(0, rows, high):
            inside = np.flatnonzero(block[top : top + high] != 0)  # a mask takes three times as long to pick by
            if len(inside):
                pixels = self.reader.read(w_x, w_y + top, columns, min(high, rows - top)).reshape(-1, 3)
                stain[top : top + high].reshape(-1)[inside] = haematoxylin(pixels.take(inside, axis=0))
        return stain, self._ends(w_y, w_x, rows, columns).astype(np.uint8)

    def _ends(self, w_y: int, w_x: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Return bool (rows, columns): beside a px, or on it, is what does not belong to the job."""
        width, height = self.plan.w_width, self.plan.w_height
        if self.roi is None and not self.holes:
            ends = np.zeros((rows, columns), bool)
            ends[:1], ends[-1:] = w_y == 0, w_y + rows == height
            ends[:, :1] |= w_x == 0
            ends[:, -1:] |= w_x + columns == width
            return ends
        inside = np.zeros((rows + 2, columns + 2), bool)
        top, bottom = max(w_y - 1, 0), min(w_y + rows + 1, height)
        left, right = max(w_x - 1, 0), min(w_x + columns + 1, width)
        box = Box(left, top, right - left, bottom - top)
        mask = np.ones((box.height, box.width), bool) if self.roi is None else self.roi.crop(box, self.reader.plane)
        place = slice(top - w_y + 1, bottom - w_y + 1), slice(left - w_x + 1, right - w_x + 1)
        inside[place] = without(mask, (left, top), self.holes)
        beside = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        return ~(beside & inside[1:-1, 1:-1])


def write_objects(
    path: Path, source: Source, regions: Path | None = None, check: Check = unchecked
) -> dict[int, ClassObjects]:
    """Write `path` (.parquet), one row per object that is large enough.

    Args:
        path: Where to; replaced atomically.
        source: The planes, and what the rows are measured on.
        regions: Where to write the same objects to as polygons, of the same pass over the planes and as
            `vectorize.write_geojson` does with the haematoxylin of this table; whoever gives it puts it in its place.
        check: Called again and again; raises if the work is no longer wanted.

    Returns:
        How many objects there are of each class index, as it stands in the file too.

    Raises:
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    counter, sheet = Counter(source.plan), Sheet.from_plan(source.plan)
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as file,  # opened here: a name that is not UTF-8 is none to the writer
        pq.ParquetWriter(file, SCHEMA, compression="zstd", use_dictionary=["class"]) as writer,
        nullcontext() if regions is None else collection(regions, source.plan, {}) as packed,
    ):
        table, features = _Table(writer, source.plan, sheet), None if packed is None else Features(packed, sheet)
        for shapes in trace(source.arrays, source.weights, 2, check):
            for few in counter.add(shapes).parts():
                check()
                drawn = Drawn.on(sheet, few)
                stains = table.add(drawn)
                if features is not None:
                    features.add(drawn, stains)
        table.flush()
        if features is not None:
            features.finish()
        known = {index: count.model_dump() for index, count in counter.counts.items()}
        writer.add_key_value_metadata({"geo": json.dumps(GEO), COUNTS.decode(): json.dumps(known)})
    return counter.counts


def read_counts(path: Path) -> dict[int, ClassObjects]:
    """Return how many objects of each class index a table was made of."""
    with path.open("rb") as file:
        known = json.loads(pq.read_metadata(file).metadata[COUNTS])
    return {int(index): ClassObjects.model_validate(count) for index, count in known.items()}


def read_haematoxylin(path: Path) -> Iterator[float]:
    """Yield the optical density of each object of a table, in order."""
    with path.open("rb") as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=ROWS, columns=["haematoxylin_od"]):
            yield from batch.column(0).to_pylist()


@dataclass
class _Table:
    """Gathers rows and writes them as row groups that end at the same rows, however they came."""

    writer: Any
    plan: Plan
    sheet: Sheet
    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        plane, sheet = WorkingPlane.from_plan(self.plan), self.sheet
        self._scale = float(plane.scale_x), float(plane.scale_y)
        self._l0_x, self._l0_y = (np.array([float(text) for text in side]) for side in (sheet.l0_x, sheet.l0_y))

    def add(self, drawn: Drawn) -> NDArray[np.float64]:
        """Take the next rows; return the optical density of each, as it is written."""
        polygons = self._well_known_binary(drawn)
        table = self._columns(drawn, polygons)
        begin = 0
        for at, polygon in enumerate(polygons, 1):
            self.rows += 1
            self.size += len(polygon)
            if self.rows == ROWS or self.size >= GROUP_BYTES:
                self.waiting.append(table.slice(begin, at - begin))
                begin = at
                self.flush()
        self.waiting.append(table.slice(begin))
        stains: NDArray[np.float64] = table["haematoxylin_od"].to_numpy()
        return stains

    def flush(self) -> None:
        """End the row group."""
        if self.rows:
            self.writer.write_table(pa.concat_tables(self.waiting).combine_chunks(), row_group_size=self.rows)
        self.waiting, self.rows, self.size = [], 0, 0

    def _columns(self, drawn: Drawn, polygons: list[bytes]) -> pa.Table:
        shapes, found, mpp = drawn.shapes, drawn.measures or measure(drawn.shapes), self.plan.model_mpp
        pixels = shapes.pixels
        confidence, stain, ends = shapes.sums
        names = {each.index: each.name for each in self.plan.classes}
        box = (self._l0_x[found.x0], self._l0_y[found.y0], self._l0_x[found.x1], self._l0_y[found.y1])
        numbers = (
            *(found.x * self._scale[0], found.y * self._scale[1], pixels * float(exact(mpp) ** 2)),
            *(found.perimeter * mpp, found.major * mpp, found.minor * mpp, found.circularity),
            *((stain / pixels - ZERO) / UNIT, confidence / (255 * pixels)),
        )
        columns = {
            "id": pa.array(drawn.ids, pa.string()),
            "class": [names[value] for value in shapes.value.tolist()],
            "class_index": shapes.value,
            "bbox": pa.StructArray.from_arrays([pa.array(side) for side in box], names=BOX),
            "touches_border": ends > 0,
            "geometry": polygons,
        } | {name: np.round(each, DECIMALS) for name, each in zip(NUMBERS, numbers, strict=True)}
        return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)

    def _well_known_binary(self, drawn: Drawn) -> list[bytes]:
        """Return the polygon of each shape: the points of all rings are laid out at once, each ring closed."""
        outlines = drawn.outlines
        closed, points_of_ring = outlines.closed()
        xy = np.empty((len(closed), 2), "<f8")
        xy[:, 0], xy[:, 1] = self._l0_x[outlines.w_x[closed]], self._l0_y[outlines.w_y[closed]]
        points = memoryview(xy.tobytes())  # its parts are copied once, into their polygons
        counts = points_of_ring.tolist()
        rings = np.diff(outlines.firsts).tolist()
        polygons, ring, at = [], 0, 0
        for number in rings:
            pieces: list[bytes | memoryview] = [struct.pack("<BII", 1, 3, number)]
            for count in counts[ring : ring + number]:
                pieces += struct.pack("<I", count), points[at : at + 16 * count]
                at += 16 * count
            polygons.append(b"".join(pieces))
            ring += number
        return polygons
