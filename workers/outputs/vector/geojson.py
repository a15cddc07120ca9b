"""Shapes as GeoJSON that QuPath imports, one Feature a line, as they come: what is written is not in memory.

The text of many shapes is made at once: pieces of it lie in one table, a list of places in the table is the text, and
Arrow copies the pieces there.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import igzip
from numpy.typing import NDArray

from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.outputs.vector.contours import Outlines, Shapes, Small
from workers.outputs.vector.sheet import DECIMALS, Drawn, Sheet

MANY_SHAPES = 2000
"""With more shapes than this they are written as detections: QuPath is slow with as many annotations."""
COMPRESSION = 2
"""Of ISA-L, which has four, 0 to 3: a third of the time of the last one, and a sixth more bytes."""
BLOCK_BYTES = 2**18
PIECES_AT_ONCE = 2**16
"""Pieces of text that are laid out at once: a tissue-wide shape may have millions."""

Stains = Sequence[float] | NDArray[np.float64] | None
"""Optical density of haematoxylin of each of some shapes; None where it is not known."""


class Blocks:
    """Passes on what it is given in blocks of one size: what ISA-L makes of bytes depends on how they come.

    Args:
        pack: Takes a block.
    """

    def __init__(self, pack: Callable[[memoryview], object]) -> None:
        self._pack = pack
        self._held = bytearray()

    def write(self, text: bytes | memoryview) -> None:
        """Take more."""
        self._held += text
        whole = len(self._held) // BLOCK_BYTES * BLOCK_BYTES
        with memoryview(self._held) as held:
            for at in range(0, whole, BLOCK_BYTES):
                self._pack(held[at : at + BLOCK_BYTES])
        del self._held[:whole]

    def flush(self) -> None:
        """Pass on the rest, once there is no more."""
        self._pack(memoryview(self._held))
        self._held = bytearray()


@contextmanager
def collection(path: Path, plan: Plan, more: dict[str, int]) -> Iterator[Blocks]:
    """Open a packed collection for its features; `more` stands in its head."""
    gzip_file: Any = igzip.IGzipFile  # comes without types
    with path.open("wb") as raw, gzip_file("", "wb", COMPRESSION, raw, mtime=0) as packed:
        blocks = Blocks(packed.write)
        bounds = plan.geometry.bounds or (0, 0, 0, 0)
        head = {"type": "FeatureCollection", "coordinate_space": "level0", "bounds_offset": bounds[:2], **more}
        blocks.write(json.dumps(head)[:-1].encode() + b',"features":[')
        yield blocks
        blocks.write(b"\n]}\n")
        blocks.flush()


class Features:
    """Writes the shapes of a plane as they come. The first ones wait until it is known whether there are many.

    Args:
        file: An open collection.
        sheet: What they are drawn on.
    """

    def __init__(self, file: Blocks, sheet: Sheet) -> None:
        self.count = 0
        self._file = file
        self._sheet = sheet
        self._writer: FeatureWriter | None = None
        self._waiting: list[tuple[Shapes, Stains]] = []

    def add(self, drawn: Drawn, stains: Stains = None) -> None:
        """Take the next shapes."""
        self.count += len(drawn.shapes)
        if self._writer is None and self.count <= MANY_SHAPES:
            self._waiting.append((drawn.shapes, stains))
            return
        self.finish()
        if self._writer is not None:
            self._writer.write(drawn, stains)

    def finish(self) -> None:
        """Write what waits."""
        self._writer = self._writer or FeatureWriter(self._file, self._sheet, self.count)
        for shapes, stains in self._waiting:
            self._writer.write(Drawn.on(self._sheet, shapes), stains)
        self._waiting.clear()


class FeatureWriter:
    """Writes shapes as Features.

    Args:
        file: An open collection.
        sheet: What they are drawn on.
        count: How many there are in all, or so many that there are too many for annotations.
    """

    def __init__(self, file: Blocks, sheet: Sheet, count: int) -> None:
        self._file = file
        self._sheet = sheet
        self._is_first = True
        object_type = "detection" if count > MANY_SHAPES else "annotation"
        self._classes = {each.index: _properties(each, object_type) for each in sheet.classes}
        self._points = _Points(sheet)

    def write(self, drawn: Drawn, stains: Stains = None) -> None:
        """Write the next shapes."""
        if not len(drawn.shapes):
            return
        heads = _joined(',\n{"type":"Feature","id":"', drawn.ids, '","geometry":{"type":"Polygon","coordinates":[[')
        for number, text in enumerate(self._points.laid(drawn.outlines, heads, self._tails(drawn, stains))):
            self._file.write(text[1:] if self._is_first and number == 0 else text)
        self._is_first = False

    def _tails(self, drawn: Drawn, stains: Stains) -> pa.Array:
        """Return what stands behind the coordinates of each shape."""
        over, under = self._sheet.um2_per_pixel.as_integer_ratio()  # as exact as the fraction, and many times as fast
        shapes, mpp, found = drawn.shapes, self._sheet.mpp, drawn.measures
        measured: dict[str, Any] = {"Area um^2": [pixels * over / under for pixels in shapes.pixels.tolist()]}
        if mpp is not None and found is not None:
            measured |= {
                "Mean probability": np.round(shapes.confidence / (255 * shapes.pixels), DECIMALS),
                "Perimeter um": np.round(found.perimeter * float(mpp), DECIMALS),
                "Circularity": np.round(found.circularity, DECIMALS),
            }
            if stains is not None:
                measured["Hematoxylin OD mean"] = stains
        pieces: list[Any] = []
        for name, numbers in measured.items():
            pieces += [f'{"," if pieces else ""}"{name}":', pc.cast(pa.array(numbers, pa.float64()), pa.string())]
        known = [f']]}},"properties":{self._classes[value]},"measurements":{{' for value in shapes.value.tolist()]
        return _joined(known, *pieces, "}}}")


class _Points:
    """Lays out the text of shapes.

    Args:
        sheet: What they are drawn on.
    """

    def __init__(self, sheet: Sheet) -> None:
        columns, rows, comma = pa.array(sheet.l0_x), pa.array(sheet.l0_y), ","
        self._known = [
            _joined("[", columns, comma),  # the first point of a ring, and the others
            _joined(",[", columns, comma),
            _joined(rows, "]"),
            pa.array(["],["]),
        ]
        self._further = len(columns)
        self._rows = 2 * len(columns)
        self._between = self._rows + len(rows)

    def laid(self, outlines: Outlines, heads: pa.Array, tails: pa.Array) -> Iterator[memoryview]:
        """Yield the text of all shapes: the head of each, the coordinates of its rings, its tail."""
        table = pa.concat_arrays([*self._known, heads, tails])
        order = self._order(outlines)
        for at in range(0, len(order), PIECES_AT_ONCE):
            taken = table.take(pa.array(order[at : at + PIECES_AT_ONCE]))
            _, ends, text = taken.buffers()
            yield memoryview(text)[: np.frombuffer(ends, np.int32)[len(taken)]]

    def _order(self, outlines: Outlines) -> Small:
        """Return the places in the table of all pieces, in the order of the text."""
        firsts = outlines.firsts
        closed, points = outlines.closed()
        rings, shapes = len(points), len(firsts) - 1
        is_last = np.zeros(rings, bool)
        is_last[firsts[1:] - 1] = True
        pieces_before = np.arange(1, rings + 1) + np.cumsum(is_last) - is_last  # that are no points
        opens = 2 * (np.cumsum(points) - points) + pieces_before - 1
        order = np.full(2 * int(points.sum()) + rings + shapes, self._between, np.int32)
        order[opens[firsts[:-1]]] = np.arange(shapes) + self._between + 1
        order[(opens + 2 * points + 1)[is_last]] = np.arange(shapes) + self._between + 1 + shapes
        place = 2 * np.arange(len(closed)) + np.repeat(pieces_before, points)
        order[place] = outlines.w_x[closed] + self._further
        order[opens + 1] -= self._further
        order[place + 1] = outlines.w_y[closed] + self._rows
        return order


def _joined(*pieces: Any) -> pa.Array:
    """Return texts that are joined piece by piece; a text alone is the same in all."""
    arrays = [each if isinstance(each, str | pa.Array) else pa.array(each, pa.string()) for each in pieces]
    return pc.binary_join_element_wise(*arrays, "")


def _properties(known: ModelClass, object_type: str) -> str:
    """Return the beginning of the `properties` of a class, up to its measurements."""
    classification = {"name": known.name, "color": list(known.color)}
    told = {"objectType": object_type, "isLocked": True, "classification": classification}
    return json.dumps(told, separators=(",", ":"))[:-1]
