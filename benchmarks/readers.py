"""What it costs to read through confined children: `python -m benchmarks.readers [--slide SLIDE] [--repeat 5]`.

The tiles of a model are read from a slide, in this process and by a child, in turns: the same tiles, other ones in each
repeat. First from a slide that stays open, then as the regions of a job, for each of which a worker opens the slide.
No model runs, so this is the most that reading through children can cost. Then, of slides with JPEG tiles, how fast a
job reads against what decodes its tiles and against OpenSlide (`benchmarks.reader_rates`), and whether it sees the same
(`benchmarks.reader_pixels`).
"""

import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from statistics import median

import click
import numpy as np
import psutil

from benchmarks import reader_pixels, reader_rates
from benchmarks.gateway import made_slide
from benchmarks.report import Figure, figure
from workers.core.children.readers import Readers
from workers.core.command_line import CONTEXT
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane, best_level

HALO_PX = 64
UNKNOWN_MPP = 0.5

Origin = tuple[int, int]
Open = Callable[[], Slide]


@dataclass(frozen=True)
class Pass:
    """Some tiles, read once: seconds of the clock, CPU seconds of this process and its children, a sum over all px."""

    wall_s: float
    cpu_s: float
    total: int


@dataclass(frozen=True)
class Pair:
    """The same tiles, read in this process and through a child."""

    here: Pass
    child: Pass

    @property
    def wall_x(self) -> float:
        """How much longer it takes through a child."""
        return self.child.wall_s / self.here.wall_s

    @property
    def cpu_x(self) -> float:
        """How much more CPU it takes."""
        return self.child.cpu_s / self.here.cpu_s


def cpu_s() -> float:
    """Return the CPU seconds of this process and of all that it started and that live."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    times = [each.cpu_times() for each in psutil.Process().children(recursive=True)]
    return used.ru_utime + used.ru_stime + float(sum(each.user + each.system for each in times))


def measured(read: Callable[[], int]) -> Pass:
    """Read tiles and measure it."""
    started, used = time.perf_counter(), cpu_s()
    total = read()
    return Pass(time.perf_counter() - started, cpu_s() - used, total)


def tiles_of(slide: Slide, origins: list[Origin], side: int) -> int:
    """Read tiles as a job does; return the sum of their px."""
    mpp = slide.geometry.mpp_x or UNKNOWN_MPP
    plane = WorkingPlane.from_geometry(slide.geometry, mpp, None if slide.geometry.mpp_x else mpp)
    reader = PlaneReader(slide, plane, best_level(slide.geometry, plane))
    boxes = ((x - HALO_PX, y - HALO_PX, side + 2 * HALO_PX, side + 2 * HALO_PX) for x, y in origins)
    return sum(int(reader.read(*box).sum(dtype=np.int64)) for box in boxes)


def kept_open(opens: Open, origins: list[Origin], side: int) -> int:
    """Read tiles from a slide that is opened once."""
    with opens() as slide:
        return tiles_of(slide, origins, side)


def by_region(opens: Open, origins: list[Origin], side: int) -> int:
    """Read tiles each as a region of a job, for which the slide is opened."""
    return sum(kept_open(opens, [origin], side) for origin in origins)


def grids(slide: Slide, side: int, count: int, repeat: int) -> Iterator[list[Origin]]:
    """Yield for each repeat so many tiles next to each other, elsewhere on the slide as far as there is room."""
    across = max(1, isqrt(count))
    columns, rows = (max(1, length // side) for length in (slide.geometry.l0_width, slide.geometry.l0_height))
    for number in range(repeat):
        left, top = number * across % columns, number * across // columns * across % rows
        yield [((left + i % across) % columns * side, (top + i // across) % rows * side) for i in range(count)]


def pairs_of(path: Path, readers: Readers, side: int, count: int, repeat: int) -> dict[str, list[Pair]]:
    """Measure both ways of reading, in turns that begin with the one and with the other."""
    ways = {"kept open": kept_open, "by region": by_region}
    found: dict[str, list[Pair]] = {name: [] for name in ways}
    opens: dict[str, Open] = {"here": lambda: open_slide(path), "child": lambda: readers.open(path)}
    with open_slide(path) as slide:
        origins = list(grids(slide, side, count, repeat))
    for name, way in ways.items():
        for number, each in enumerate(origins):
            order = list(opens)[:: -1 if number % 2 else 1]
            passes = {key: measured(lambda key=key: way(opens[key], each, side)) for key in order}  # type: ignore[misc] # noqa: B023
            if passes["here"].total != passes["child"].total:
                raise RuntimeError("the two did not read the same")
            found[name].append(Pair(passes["here"], passes["child"]))
    return found


def figures_of(pairs: dict[str, list[Pair]]) -> list[Figure]:
    """Return the quotients: by the median of the repeats, with the smallest and largest of them."""

    def of(name: str, values: list[float]) -> Figure:
        return Figure(name, median(values), "x", (min(values), max(values)))

    return [
        of("attacks.child_overhead_x", [each.wall_x for each in pairs["kept open"]]),
        of("attacks.child_overhead_cpu_x", [each.cpu_x for each in pairs["kept open"]]),
        of("attacks.child_overhead_by_region_x", [each.wall_x for each in pairs["by region"]]),
        of("attacks.child_overhead_by_region_cpu_x", [each.cpu_x for each in pairs["by region"]]),
    ]


def table(pairs: dict[str, list[Pair]], count: int) -> Iterator[str]:
    """Yield a row for each repeat."""
    wall, cpu = f"{'here tiles/s':>14}{'child tiles/s':>15}{'times':>8}", f"{'here CPU s':>12}{'child CPU s':>13}"
    yield f"{'':>10}{wall}{cpu}{'times':>8}"
    for name, each in pairs.items():
        for pair in each:
            rates = f"{count / pair.here.wall_s:>14.2f}{count / pair.child.wall_s:>15.2f}{pair.wall_x:>8.2f}"
            yield f"{name:>10}{rates}{pair.here.cpu_s:>12.2f}{pair.child.cpu_s:>13.2f}{pair.cpu_x:>8.2f}"


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--slide", type=click.Path(path_type=Path), help="one is made if none is given")
@click.option("--side", type=click.IntRange(min=64), default=1024, help="of a tile, without its halo")
@click.option("--tiles", type=click.IntRange(min=1), default=16, help="of a repeat")
@click.option("--repeat", type=click.IntRange(min=1), default=5)
def main(slide: Path | None, side: int, tiles: int, repeat: int) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Readers(Settings())) as readers:
        path = slide or made_slide(Path(folder) / "made.tif")
        readers.open(path).close()  # from here on children can be made
        pairs = pairs_of(path, readers, side, tiles, repeat)
        turns = reader_rates.turns_of(path, Path(folder), side, tiles, repeat)
        pixels = list(reader_pixels.figures_of(path, Path(folder)))
    for row in (f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs", *table(pairs, tiles)):
        print(row)
    for row in reader_rates.table(turns):
        print(row)
    for each in (*figures_of(pairs), *reader_rates.figures_of(turns), *pixels):
        figure(*each)


if __name__ == "__main__":
    main()
