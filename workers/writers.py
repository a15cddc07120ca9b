"""How each output of a job is written, and what outputs take from one another."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
from workers.outputs.statistics import read_statistics, write_statistics
from workers.outputs.vector.counts import count_objects
from workers.outputs.vector.object_table import Source, read_counts, read_haematoxylin, write_objects
from workers.outputs.vector.quality_layer import write_quality
from workers.outputs.vector.vectorize import Stain, write_geojson
from workers.pipeline import bad_tiles
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import Area
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane

OBJECT_TABLE: Final = "objects.parquet"
REGIONS: Final = "regions.geojson.gz"


@contextmanager
def writers_of(
    slide: Slide, plan: Plan, arrays: LabelArrays, area: Area, out_dir: Path, todo: Collection[str]
) -> Iterator[Writers]:
    """Give how to write each result, in order, as long as the context lasts: what they share goes with it.

    Args:
        slide: The open slide.
        plan: The job's plan.
        arrays: Its planes.
        area: What it is about.
        out_dir: Folder of the job.
        todo: What will be made. The polygons are written together with the table, in one pass over the planes.
    """
    both = {OBJECT_TABLE, REGIONS} <= set(todo)
    with Levels(arrays.labels, out_dir) as levels, Draft(out_dir / REGIONS) as polygons:
        drawn = polygons if both else None
        yield {
            "overlay.ome.tif": lambda path: write_overlay(path, levels, plan),
            "labels.ome.tif": lambda path: write_labels(path, levels, plan),
            OBJECT_TABLE: lambda path: _write_objects(path, slide, arrays, plan, area, drawn),
            REGIONS: lambda path: write_regions(path, arrays, plan, polygons),
            "statistics.json": lambda path: _write_statistics(path, arrays, plan, area),
            "preview.png": lambda path: _write_preview(path, slide, arrays, plan),
            LAYER: lambda path: write_quality(path, load_quality(path.parent, plan), plan),
        }


def stain_of(out_dir: Path, plan: Plan) -> Stain:
    """Return the haematoxylin of each polygon of a job, in order; None if the job has no table of objects."""
    table = out_dir / OBJECT_TABLE
    return read_haematoxylin(table) if OBJECT_TABLE in plan.outputs and table.exists() else None


def _write_objects(
    path: Path, slide: Slide, arrays: LabelArrays, plan: Plan, area: Area, polygons: Draft | None
) -> None:
    reader = PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level)
    source = Source(arrays, plan, reader, area.roi, area.holes)
    write_objects(path, source, None if polygons is None else polygons.temporary)


def write_regions(path: Path, arrays: LabelArrays, plan: Plan, polygons: Draft) -> None:
    """Write the polygons: those that were written together with the table, or else now."""
    if polygons.temporary.exists():
        polygons.keep()
    else:
        write_geojson(path, arrays, plan, stain_of(path.parent, plan))


def _write_statistics(path: Path, arrays: LabelArrays, plan: Plan, area: Area) -> None:
    is_counted = OBJECT_TABLE in plan.outputs
    counts = read_counts(path.with_name(OBJECT_TABLE)) if is_counted else count_objects(arrays, plan)
    write_statistics(path, arrays, area, plan, counts, left_out(path.parent, plan))


def _write_preview(path: Path, slide: Slide, arrays: LabelArrays, plan: Plan) -> None:
    statistics, lost = read_statistics(path.parent), bad_tiles.read_bad_tiles(path.parent).tiles
    write_preview(path, slide, arrays, plan, statistics, trust.finished(plan, statistics, lost))
