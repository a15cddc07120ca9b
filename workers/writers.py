"""How each output of a job is written, and what outputs take from one another."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from workers import trust
from workers.core.quality_schemas import LAYER
from workers.core.schemas import Plan
from workers.core.slides.slide import Slide
from workers.core.storage.files import Draft
from workers.masks import left_out, load_quality
from workers.outputs.landed import Writers
from workers.outputs.levels import Levels
from workers.outputs.preview import write_preview
from workers.outputs.pyramid import write_labels, write_overlay
from workers.outputs.statistics import count_pixels, read_statistics, write_statistics
from workers.outputs.vector.counts import ClassObjects, count_objects
from workers.outputs.vector.object_table import Source, read_counts, read_haematoxylin, write_objects
from workers.outputs.vector.quality_layer import write_quality
from workers.outputs.vector.vectorize import Stain, write_geojson
from workers.pipeline import bad_tiles
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import Area
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane
from workers.process.beside import Beside
from workers.process.heap import give_back

OBJECT_TABLE: Final = "objects.parquet"
REGIONS: Final = "regions.geojson.gz"
STATISTICS: Final = "statistics.json"
PYRAMIDS: Final = ("overlay.ome.tif", "labels.ome.tif")


@contextmanager
def writers_of(
    slide: Slide, plan: Plan, arrays: LabelArrays, area: Area, out_dir: Path, threads: int, todo: Sequence[str]
) -> Iterator[Writers]:
    """Give how to write each result, in order, as long as the context lasts: what they share goes with it.

    Objects are traced once, for table and polygons. With two threads that is done beside the pyramids, and beside what
    statistics count: these read no slide, and each result still comes when it is its turn.

    Args:
        slide: The open slide.
        plan: The job's plan.
        arrays: Its planes.
        area: What it is about.
        out_dir: Folder of the job.
        threads: How many it may take.
        todo: What will be made, in this order.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps tens of MB that others then cannot have
    counts = cache(lambda: count_pixels(arrays, area, plan, left_out(out_dir, plan)))
    source = Source(arrays, plan, PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level), area.roi, area.holes)
    with (
        Levels(arrays.labels, out_dir) as levels,
        Draft(out_dir / OBJECT_TABLE) as table,
        Draft(out_dir / REGIONS) as polygons,
        Beside() as beside,
    ):
        regions = polygons.temporary if {OBJECT_TABLE, REGIONS} <= set(todo) else None
        traced = None
        if threads > 1 and _is_after_pyramids(todo):
            traced = beside.begin(lambda check: write_objects(table.temporary, source, regions, check))

        def objects(path: Path) -> None:
            if traced is None:
                write_objects(path, source, regions)
                return
            if STATISTICS in todo:
                counts()
            traced.result()
            table.keep()

        yield {
            "overlay.ome.tif": lambda path: write_overlay(path, levels, plan),
            "labels.ome.tif": lambda path: write_labels(path, levels, plan),
            OBJECT_TABLE: objects,
            REGIONS: lambda path: write_regions(path, arrays, plan, polygons),
            STATISTICS: lambda path: write_statistics(path, counts(), plan, _counts_of(path, arrays, plan)),
            "preview.png": lambda path: _write_preview(path, slide, arrays, plan),
            LAYER: lambda path: write_quality(path, load_quality(path.parent, plan), plan),
        }


def _is_after_pyramids(todo: Sequence[str]) -> bool:
    """Whether the table comes after pyramids and nothing else: others may read the slide, which has one reader."""
    before = todo[: todo.index(OBJECT_TABLE)] if OBJECT_TABLE in todo else ()
    return bool(before) and set(before) <= set(PYRAMIDS)


def stain_of(out_dir: Path, plan: Plan) -> Stain:
    """Return the haematoxylin of each polygon of a job, in order; None if the job has no table of objects."""
    table = out_dir / OBJECT_TABLE
    return read_haematoxylin(table) if OBJECT_TABLE in plan.outputs and table.exists() else None


def write_regions(path: Path, arrays: LabelArrays, plan: Plan, polygons: Draft) -> None:
    """Write the polygons: those that were written together with the table, or else now."""
    if polygons.temporary.exists():
        polygons.keep()
    else:
        write_geojson(path, arrays, plan, stain_of(path.parent, plan))


def _counts_of(path: Path, arrays: LabelArrays, plan: Plan) -> dict[int, ClassObjects]:
    """Return the objects of each class for the statistics at a path: from the table, or else traced for them alone."""
    is_counted = OBJECT_TABLE in plan.outputs
    return read_counts(path.with_name(OBJECT_TABLE)) if is_counted else count_objects(arrays, plan)


def _write_preview(path: Path, slide: Slide, arrays: LabelArrays, plan: Plan) -> None:
    give_back()  # what tracing kept
    statistics, lost = read_statistics(path.parent), bad_tiles.read_bad_tiles(path.parent).tiles
    write_preview(path, slide, arrays, plan, statistics, trust.finished(plan, statistics, lost))
