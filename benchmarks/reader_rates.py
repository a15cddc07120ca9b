"""How fast slides are read, against what decodes their tiles, and against OpenSlide: part of `benchmarks.readers`.

The tiles of a model are read as a worker reads them for a job: region by region, the slide opened for each, through a
confined child, which is new in each repeat. The measure is CPU seconds of all processes that take part.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import isqrt
from pathlib import Path
from statistics import median

import numpy as np
import openslide
import psutil
from imagecodecs import jpeg8_decode
from PIL import Image

from benchmarks.report import Figure
from workers.core.children.readers import Readers
from workers.core.settings import Settings
from workers.core.slides.slide import Pixels
from workers.core.slides.tiff.tiled import JPEG, TiledLevel, tiled_levels
from workers.core.slides.tiff.values import reader_of
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane

HALO_PX = 96
"""Of the shipped models."""

SCALES = {"": Fraction(1), "half_scale_": Fraction(2), "off_scale_": Fraction(500, 499)}
"""Level px per working px, by what stands in the names of their figures: the level's own scale, a slide of 40x read at
0.5 µm per px, and one of 0.499 µm per px at 0.5."""

COLOURS = {2: "RGB", 6: "YCBCR"}

Box = tuple[int, int, int, int]
"""x, y, width, height in working px."""


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock and of CPU."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Turn:
    """One repeat at one scale: the same part of the slide in three ways.

    Attributes:
        decoded_px: Of the stored tiles that the boxes touch.
        job: Read as a job.
        openslide: Read by OpenSlide's Python binding, and made smaller by PIL where the scale wants it.
        limit: Each of the stored tiles decoded once, by imagecodecs, into memory that is there.
    """

    decoded_px: int
    job: Spent
    openslide: Spent
    limit: Spent


def cpu_by_process() -> dict[int, float]:
    """Return CPU seconds to the microsecond, of this process and of all that it started and that live."""
    found = {0: time.process_time()}
    for child in psutil.Process().children(recursive=True):
        try:
            found[child.pid] = time.clock_gettime(~child.pid << 3 | 2)  # the kernel's number of that process's clock
        except OSError:  # it has just ended
            continue
    return found


def spent(work: Callable[[], object]) -> Spent:
    """Do work, and return what it took; a process that is new was started by it."""
    before, started = cpu_by_process(), time.perf_counter()
    work()
    wall_s = time.perf_counter() - started
    return Spent(wall_s, sum(used - before.get(pid, 0.0) for pid, used in cpu_by_process().items()))


def finest(path: Path) -> TiledLevel | None:
    """Return the first directory, if it is made of JPEG tiles."""
    with path.open("rb") as file:
        levels = tiled_levels(reader_of(file.fileno()), path.stat().st_size)
    usable = [each for each in levels[:1] if each.compression == JPEG and each.photometric in COLOURS]
    return usable[0] if usable else None


def touched(level: TiledLevel, boxes: list[Box], scale: Fraction) -> list[tuple[int, int]]:
    """Return (column, row) of the stored tiles that boxes touch, each once."""
    columns, rows = -(-level.width // level.tile[0]), -(-level.height // level.tile[1])
    found = set()
    for x, y, width, height in boxes:
        left, top = int(x * scale) // level.tile[0], int(y * scale) // level.tile[1]
        right, lower = -int(-(x + width) * scale // level.tile[0]), -int(-(y + height) * scale // level.tile[1])
        found |= set(product(range(max(left, 0), min(right, columns)), range(max(top, 0), min(lower, rows))))
    return sorted(found, key=lambda place: place[::-1])


def stored_bytes(path: Path, level: TiledLevel, places: list[tuple[int, int]]) -> list[bytes]:
    """Return stored tiles as they are."""
    with path.open("rb") as file:
        read = reader_of(file.fileno())
        return [stored for place in places if (stored := level.read(read, *place))]


def blocks(path: Path, level: TiledLevel, scale: Fraction, side: int, count: int) -> list[list[Box]]:
    """Return all squares of `count` tiles of a model, those of the most stored bytes first: jobs read tissue."""
    across = max(1, isqrt(count))
    step = across * side
    columns, rows = (max(1, int(length / scale) // step) for length in (level.width, level.height))
    found = []
    for row, col in product(range(rows), range(columns)):
        cells = product(range(row * across, (row + 1) * across), range(col * across, (col + 1) * across))
        full = side + 2 * HALO_PX
        boxes = [(x * side - HALO_PX, y * side - HALO_PX, full, full) for y, x in cells]
        found.append((sum(map(len, stored_bytes(path, level, touched(level, boxes, scale)))), boxes))
    return [boxes for _, boxes in sorted(found, key=lambda each: -each[0])]


def read_as_job(readers: Readers, path: Path, scale: Fraction, boxes: list[Box]) -> None:
    """Read boxes, each as a region of a job, from the finest level."""
    for box in boxes:
        with readers.open(path) as slide:
            plane = WorkingPlane(slide.geometry.l0_width, slide.geometry.l0_height, scale, scale)
            PlaneReader(slide, plane, 0).read(*box)


def read_by_openslide(path: Path, scale: Fraction, boxes: list[Box]) -> None:
    """Read boxes from a slide that OpenSlide has open once."""
    with openslide.OpenSlide(path) as slide:
        for x, y, width, height in boxes:
            size = (int(width * scale), int(height * scale))
            image = slide.read_region((int(x * scale), int(y * scale)), 0, size).convert("RGB")
            if scale != 1:
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            np.asarray(image)


def decode(level: TiledLevel, stored: list[bytes]) -> None:
    """Decode stored tiles."""
    out: Pixels = np.empty((level.tile[1], level.tile[0], 3), np.uint8)
    tables, colours = level.tables or None, COLOURS[level.photometric]
    for each in stored:
        jpeg8_decode(each, tables=tables, colorspace=colours, outcolorspace="RGB", out=out)


def turns_of(path: Path, folder: Path, side: int, count: int, repeat: int) -> dict[str, list[Turn]]:
    """Measure all scales, the ways in turns; empty where the slide has no JPEG tiles."""
    level = finest(path)
    found: dict[str, list[Turn]] = {name: [] for name in SCALES}
    if level is None:
        return {}
    with closing(Readers(Settings())) as readers:
        readers.open(path).close()  # from here on children can be made
        for name, scale in SCALES.items():
            squares = blocks(path, level, scale, side, count * (2 if scale < 2 else 1) ** 2)  # as much of the slide
            for number in range(repeat):
                boxes = squares[number % len(squares)]
                own = folder / f"{name}{number}{path.suffix}"  # another name: another slide, and so a new child
                shutil.copyfile(path, own)
                stored = stored_bytes(path, level, touched(level, boxes, scale))
                limit = spent(lambda stored=stored: decode(level, stored))  # type: ignore[misc]
                job = spent(lambda own=own, scale=scale, boxes=boxes: read_as_job(readers, own, scale, boxes))  # type: ignore[misc]
                other = spent(lambda own=own, scale=scale, boxes=boxes: read_by_openslide(own, scale, boxes))  # type: ignore[misc]
                own.unlink()
                found[name].append(Turn(len(stored) * level.tile[0] * level.tile[1], job, other, limit))
    return found


def figures_of(turns: dict[str, list[Turn]]) -> list[Figure]:
    """Return the quotients of CPU seconds: the median of the repeats, the smallest and the largest."""
    found = []
    for name, each in turns.items():
        for against in ("imagecodecs", "openslide"):
            values = [
                (turn.limit if against == "imagecodecs" else turn.openslide).cpu_s / turn.job.cpu_s for turn in each
            ]
            found.append(Figure(f"readers.{name}vs_{against}", median(values), "x", (min(values), max(values))))
    return found


def table(turns: dict[str, list[Turn]]) -> Iterator[str]:
    """Yield a row for each repeat."""
    yield f"{'':>12}{'decoded Mpx':>12}" + "".join(
        f"{each + ' CPU s, wall s':>26}" for each in ("job", "openslide", "limit")
    )
    for name, each in turns.items():
        for turn in each:
            ways = "".join(f"{way.cpu_s:>18.3f}{way.wall_s:>8.3f}" for way in (turn.job, turn.openslide, turn.limit))
            yield f"{name.rstrip('_') or 'own_scale':>12}{turn.decoded_px / 1e6:>12.1f}{ways}"
