"""Label plane → polygons of all its objects, as GeoJSON that QuPath imports: exact and streamed, or made simpler.

Coordinates are level-0 px (a working corner × the exact scale), so an exact polygon's area is its pixels'. The file is
a function of the planes alone: not of region sizes, nor of how many rows were in memory.
"""

import gzip
import io
import json
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO

from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.sizing.preflight import require_room
from workers.core.storage.files import atomic_write
from workers.outputs.vector.borders import Boundary, assemble, cut, join, part
from workers.outputs.vector.contours import Shapes, Small, rings
from workers.outputs.vector.measures import measure
from workers.outputs.vector.simplify import simplify
from workers.outputs.vector.tracing import counted, trace
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane, exact

MANY_SHAPES = 2000
"""With more shapes than this they are written as detections: QuPath is slow with as many annotations."""
DECIMALS = 4
"""Decimals of a measurement, and of a coordinate where the scale is no whole number."""
COMPRESSION = 5
POINTS_AT_ONCE = 2**14
CORNERS_MAX = 4_000_000
"""Corners of all shapes together above which they are not made simpler: all of them are in memory then."""
BYTES_PER_CORNER = 450
"""Memory that making simpler takes for a corner, at most."""


Stain = Iterator[float] | None
"""Optical density of haematoxylin of each object, in order; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What shapes are drawn on: a plane of pixels over the slide.

    Args:
        name: Of the sheet; part of the identifiers of its polygons.
        l0_x: Level-0 position of each corner of its columns, as text.
        l0_y: The same of its rows.
        um2_per_pixel: Area of a pixel.
        classes: What its values mean.
        mpp: µm per px where shapes are objects of the job; None where their area is all that is measured.
    """

    name: str
    l0_x: Sequence[str]
    l0_y: Sequence[str]
    um2_per_pixel: Fraction
    classes: Sequence[ModelClass]
    mpp: Fraction | None = None

    @classmethod
    def from_plan(cls, plan: Plan) -> "Sheet":
        """Return the working plane."""
        plane, mpp = WorkingPlane.from_plan(plan), exact(plan.model_mpp)
        columns, rows = l0_texts(plane.scale_x, plan.w_width), l0_texts(plane.scale_y, plan.w_height)
        return cls(f"urn:ldiffusion:job:{plan.job_id}", columns, rows, mpp**2, plan.classes, mpp)


def write_geojson(path: Path, arrays: LabelArrays, plan: Plan, stain: Stain = None, sheet: Sheet | None = None) -> int:
    """Write `path` (.geojson.gz), one Feature per object of a class other than background.

    Args:
        path: Where to; replaced atomically.
        arrays: The planes of the job, or labels of the sheet.
        plan: The job's plan.
        stain: Becomes a measurement of an object.
        sheet: What they are drawn on; the working plane if not given. On another, the smallest shapes are written too.

    Returns:
        How many features were written.
    """
    with _collection(path, plan, {}) as text:
        shapes = counted(arrays, plan) if sheet is None else trace(arrays)
        return _write_features(text, shapes, sheet or Sheet.from_plan(plan), stain)


def write_simplified(
    path: Path, arrays: LabelArrays, plan: Plan, step_px: int, room_bytes: int = sys.maxsize, stain: Stain = None
) -> int:
    """Write `path` (.geojson.gz) with the same features, no border farther than a step from where it was.

    Identifiers and measurements are those of the exact shapes. All corners are in memory.

    Args:
        path: Where to; replaced atomically.
        arrays: The planes of the job.
        plan: The plan they were made for.
        step_px: Farthest distance from the exact border, working px.
        room_bytes: Memory that may be taken.
        stain: Becomes a measurement.

    Returns:
        How many features were written.

    Raises:
        ProductRefused: The shapes have more than `CORNERS_MAX` corners, or more than that memory holds.
    """
    batches = list(_few_corners(counted(arrays, plan), room_bytes))
    exact, firsts = join(boundary for shapes in batches for boundary in rings(shapes))
    borders = cut(exact)
    simpler = part(assemble(borders, simplify(borders, step_px)), firsts)
    count = len(firsts) - 1
    with _collection(path, plan, {"simplified_px": step_px}) as text:
        writer = _FeatureWriter(text, Sheet.from_plan(plan), _object_type(count), stain)
        for shapes in batches:
            writer.write(shapes, islice(simpler, len(shapes)))
    return count


@contextmanager
def _collection(path: Path, plan: Plan, more: dict[str, int]) -> Iterator[IO[str]]:
    """Open a collection for its features."""
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed,
        io.TextIOWrapper(io.BufferedWriter(packed, 2**18), "ascii", newline="\n") as text,
    ):
        bounds = plan.geometry.bounds or (0, 0, 0, 0)
        head = {"type": "FeatureCollection", "coordinate_space": "level0", "bounds_offset": bounds[:2], **more}
        text.write(json.dumps(head)[:-1] + ',"features":[')
        yield text
        text.write("\n]}\n")


def _few_corners(batches: Iterable[Shapes], room_bytes: int) -> Iterator[Shapes]:
    corners = 0
    for shapes in batches:
        corners += len(shapes.corners)
        if corners > CORNERS_MAX:
            message = "The polygons of this job have too many corners to be made simpler."
            raise ProductRefused(message, accepted=f"{CORNERS_MAX} corners; the exact polygons are there")
        require_room(BYTES_PER_CORNER * corners, room_bytes)
        yield shapes


def _object_type(count: int) -> str:
    return "detection" if count > MANY_SHAPES else "annotation"


def l0_texts(scale: Fraction, length: int) -> list[str]:
    """Return the level-0 position of working corners 0 … length, as decimal text without an exponent."""
    if scale.denominator == 1:
        return [str(w * scale.numerator) for w in range(length + 1)]
    unit = 10**DECIMALS
    texts = []
    for w in range(length + 1):
        whole, rest = divmod(round(w * scale * unit), unit)
        texts.append(f"{whole}.{rest:0{DECIMALS}d}".rstrip("0") if rest else str(whole))
    return texts


def _write_features(text: IO[str], batches: Iterable[Shapes], sheet: Sheet, stain: Stain) -> int:
    count = 0
    writer: _FeatureWriter | None = None
    waiting: list[Shapes] = []
    for shapes in batches:
        count += len(shapes)
        waiting.append(shapes)
        if count > MANY_SHAPES:
            writer = writer or _FeatureWriter(text, sheet, _object_type(count), stain)
            writer.write_exact(waiting)
            waiting.clear()
    if waiting:
        _FeatureWriter(text, sheet, _object_type(count), stain).write_exact(waiting)
    return count


class Names:
    """The identifiers of the shapes of a sheet."""

    def __init__(self, sheet: Sheet) -> None:
        self._width = len(sheet.l0_x) - 1
        self._sheet = uuid.uuid5(uuid.NAMESPACE_URL, sheet.name)

    def of(self, value: int, boundary: Boundary) -> str:
        """Return the UUID of a shape of class `value`: the same each time, of a sheet, a class and a first px.

        The first corner of its boundary is the upper left one of its first pixel: it names it whatever else changes.
        """
        w_x, w_y, _ = boundary
        return str(uuid.uuid5(self._sheet, f"{value}/{int(w_y[0]) * self._width + int(w_x[0])}"))


class _FeatureWriter:
    """Writes shapes as Features, one line each, ring by ring."""

    def __init__(self, text: IO[str], sheet: Sheet, object_type: str, stain: Stain) -> None:
        self._text = text
        self._separator = "\n"
        self._sheet = sheet
        self._stain = stain
        self._names = Names(sheet)
        self._properties = _properties(sheet.classes, object_type)

    def write_exact(self, batches: Sequence[Shapes]) -> None:
        """Write all shapes of all batches with their own boundaries."""
        for shapes in batches:
            self.write(shapes, rings(shapes))

    def write(self, shapes: Shapes, boundaries: Iterable[Boundary]) -> None:
        """Write shapes with these boundaries, each beginning at the first corner of its shape."""
        for value, measured, boundary in zip(shapes.value.tolist(), self._measured(shapes), boundaries, strict=True):
            self._write_feature(value, measured, boundary)

    def _measured(self, shapes: Shapes) -> Iterator[str]:
        """Yield the measurements of each shape, as JSON."""
        mpp = self._sheet.mpp
        if mpp is None:
            for pixels in shapes.pixels.tolist():
                yield json.dumps({"Area um^2": float(pixels * self._sheet.um2_per_pixel)}, separators=(",", ":"))
            return
        found = measure(shapes)
        numbers = (shapes.pixels, shapes.confidence, found.perimeter * float(mpp), found.circularity)
        for pixels, confidence, perimeter, circularity in zip(*(each.tolist() for each in numbers), strict=True):
            known = {
                "Area um^2": float(pixels * self._sheet.um2_per_pixel),
                "Mean probability": round(confidence / (255 * pixels), DECIMALS),
                "Perimeter um": round(perimeter, DECIMALS),
                "Circularity": round(circularity, DECIMALS),
            }
            if self._stain is not None:
                known["Hematoxylin OD mean"] = next(self._stain)
            yield json.dumps(known, separators=(",", ":"))

    def _write_feature(self, value: int, measured: str, boundary: Boundary) -> None:
        w_x, w_y, ends = boundary
        self._text.write(f'{self._separator}{{"type":"Feature","id":"{self._names.of(value, boundary)}",')
        self._text.write('"geometry":{"type":"Polygon","coordinates":[')
        begin = 0
        for end in ends.tolist():
            self._write_ring(w_x[begin:end], w_y[begin:end], "," if begin else "")
            begin = end
        self._text.write(f']}},"properties":{self._properties[value]},"measurements":{measured}}}}}')
        self._separator = ",\n"

    def _write_ring(self, w_x: Small, w_y: Small, lead: str) -> None:
        """Write one closed ring, a bounded number of points at a time: a tissue-wide shape may have millions."""
        l0_x, l0_y = self._sheet.l0_x, self._sheet.l0_y
        lead += "["
        for at in range(0, len(w_x), POINTS_AT_ONCE):
            columns = w_x[at : at + POINTS_AT_ONCE].tolist()
            rows = w_y[at : at + POINTS_AT_ONCE].tolist()
            points = [f"[{l0_x[x]},{l0_y[y]}]" for x, y in zip(columns, rows, strict=True)]
            self._text.write(lead + ",".join(points))
            lead = ","
        self._text.write(f",[{l0_x[int(w_x[0])]},{l0_y[int(w_y[0])]}]]")


def _properties(classes: Sequence[ModelClass], object_type: str) -> dict[int, str]:
    """Return the beginning of the `properties` of each class, up to its measurements."""
    texts = {}
    for each in classes:
        classification = {"name": each.name, "color": list(each.color)}
        known = {"objectType": object_type, "isLocked": True, "classification": classification}
        texts[each.index] = json.dumps(known, separators=(",", ":"))[:-1]
    return texts
