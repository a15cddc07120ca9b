"""Shapes as GeoJSON that QuPath imports, one Feature a line, as they come: what is written is not in memory."""

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.outputs.vector.borders import Boundary
from workers.outputs.vector.contours import Shapes, Small, split_rings
from workers.outputs.vector.sheet import DECIMALS, Drawn, Sheet

MANY_SHAPES = 2000
"""With more shapes than this they are written as detections: QuPath is slow with as many annotations."""
COMPRESSION = 5
POINTS_AT_ONCE = 2**14
PIECES_AT_ONCE = 2**15
"""Pieces of text that are gathered before they are written."""

Stains = Sequence[float] | None
"""Optical density of haematoxylin of each of some shapes; None where it is not known."""


@contextmanager
def collection(path: Path, plan: Plan, more: dict[str, int]) -> Iterator[IO[str]]:
    """Open a packed collection for its features; `more` stands in its head."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed,
        io.TextIOWrapper(io.BufferedWriter(packed, 2**18), "ascii", newline="\n") as text,
    ):
        bounds = plan.geometry.bounds or (0, 0, 0, 0)
        head = {"type": "FeatureCollection", "coordinate_space": "level0", "bounds_offset": bounds[:2], **more}
        text.write(json.dumps(head)[:-1] + ',"features":[')
        yield text
        text.write("\n]}\n")


class Features:
    """Writes the shapes of a plane as they come. The first ones wait until it is known whether there are many.

    Args:
        text: An open collection.
        sheet: What they are drawn on.
    """

    def __init__(self, text: IO[str], sheet: Sheet) -> None:
        self.count = 0
        self._text = text
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
        self._writer = self._writer or FeatureWriter(self._text, self._sheet, self.count)
        for shapes, stains in self._waiting:
            self._writer.write(Drawn.on(self._sheet, shapes), stains)
        self._waiting.clear()


class FeatureWriter:
    """Writes shapes as Features, ring by ring.

    Args:
        text: An open collection.
        sheet: What they are drawn on.
        count: How many there are in all, or so many that there are too many for annotations.
    """

    def __init__(self, text: IO[str], sheet: Sheet, count: int) -> None:
        self._text = text
        self._separator = "\n"
        self._sheet = sheet
        self._properties = _properties(sheet.classes, "detection" if count > MANY_SHAPES else "annotation")
        self._l0_x = np.array([f",[{each}," for each in sheet.l0_x], object)
        self._l0_y = np.array([f"{each}]" for each in sheet.l0_y], object)
        self._pieces: list[str] = []

    def write(self, drawn: Drawn, stains: Stains = None, boundaries: Iterable[Boundary] | None = None) -> None:
        """Write shapes, with these boundaries instead of their own if there are any."""
        rings_of = split_rings(drawn.shapes, drawn.w_x, drawn.w_y, drawn.ends) if boundaries is None else boundaries
        told = zip(drawn.ids, drawn.shapes.value.tolist(), self._measured(drawn, stains), rings_of, strict=True)
        for name, value, measured, (w_x, w_y, ends) in told:
            self._pieces.append(f'{self._separator}{{"type":"Feature","id":"{name}",')
            self._pieces.append('"geometry":{"type":"Polygon","coordinates":[')
            begin = 0
            for end in ends.tolist():
                self._write_ring(w_x[begin:end], w_y[begin:end], "," if begin else "")
                begin = end
            self._pieces.append(f']}},"properties":{self._properties[value]},"measurements":{measured}}}}}')
            self._separator = ",\n"
        self._flush()

    def _write_ring(self, w_x: Small, w_y: Small, lead: str) -> None:
        """Write one closed ring, a bounded number of points at a time: a tissue-wide shape may have millions."""
        texts = self._points(w_x[:POINTS_AT_ONCE], w_y[:POINTS_AT_ONCE])
        first = texts[:2]
        texts[0] = f"{lead}[{first[0][1:]}"
        self._pieces += texts
        for at in range(POINTS_AT_ONCE, len(w_x), POINTS_AT_ONCE):
            self._pieces += self._points(w_x[at : at + POINTS_AT_ONCE], w_y[at : at + POINTS_AT_ONCE])
            self._flush()
        self._pieces += first
        self._pieces.append("]")
        if len(self._pieces) > PIECES_AT_ONCE:
            self._flush()

    def _points(self, w_x: Small, w_y: Small) -> list[str]:
        """Return the texts of points, two of each, a comma before it."""
        texts = [""] * (2 * len(w_x))
        texts[::2], texts[1::2] = self._l0_x[w_x].tolist(), self._l0_y[w_y].tolist()
        return texts

    def _flush(self) -> None:
        self._text.write("".join(self._pieces))
        self._pieces.clear()

    def _measured(self, drawn: Drawn, stains: Stains) -> Iterator[str]:
        """Yield the measurements of each shape, as JSON."""
        over, under = self._sheet.um2_per_pixel.as_integer_ratio()  # as exact as the fraction, and many times as fast
        shapes, mpp, found = drawn.shapes, self._sheet.mpp, drawn.measures
        if mpp is None or found is None:
            for pixels in shapes.pixels.tolist():
                yield f'{{"Area um^2":{pixels * over / under!r}}}'
            return
        numbers = (shapes.pixels, shapes.confidence, found.perimeter * float(mpp), found.circularity)
        stained = [""] * len(shapes) if stains is None else [f',"Hematoxylin OD mean":{each!r}' for each in stains]
        told = zip(*(each.tolist() for each in numbers), stained, strict=True)
        for pixels, confidence, perimeter, circularity, stain in told:
            yield (
                f'{{"Area um^2":{pixels * over / under!r}'
                f',"Mean probability":{round(confidence / (255 * pixels), DECIMALS)!r}'
                f',"Perimeter um":{round(perimeter, DECIMALS)!r}'
                f',"Circularity":{round(circularity, DECIMALS)!r}{stain}}}'
            )


def _properties(classes: Sequence[ModelClass], object_type: str) -> dict[int, str]:
    """Return the beginning of the `properties` of each class, up to its measurements."""
    texts = {}
    for each in classes:
        classification = {"name": each.name, "color": list(each.color)}
        known = {"objectType": object_type, "isLocked": True, "classification": classification}
        texts[each.index] = json.dumps(known, separators=(",", ":"))[:-1]
    return texts
