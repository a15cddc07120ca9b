"""How each output of a job is written, and what outputs take from one another."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from workers import trust
from workers.core.quality_schemas import LAYER
from workers.core.schemas import Plan
from workers.core.slides.slide import Slide
from workers.masks import left_out, load_quality
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


def writers_of(
    slide: Slide, plan: Plan, arrays: LabelArrays, area: Area, levels: Levels
) -> Mapping[str, Callable[[Path], object]]:
    """Return how to write each result, in order."""
    return {
        "overlay.ome.tif": lambda path: write_overlay(path, levels, plan),
        "labels.ome.tif": lambda path: write_labels(path, levels, plan),
        OBJECT_TABLE: lambda path: _write_objects(path, slide, arrays, plan, area),
        "regions.geojson.gz": lambda path: write_geojson(path, arrays, plan, stain_of(path.parent, plan)),
        "statistics.json": lambda path: _write_statistics(path, arrays, plan, area),
        "preview.png": lambda path: _write_preview(path, slide, arrays, plan),
        LAYER: lambda path: write_quality(path, load_quality(path.parent, plan), plan),
    }


def stain_of(out_dir: Path, plan: Plan) -> Stain:
    """Return the haematoxylin of each polygon of a job, in order; None if the job has no table of objects."""
    table = out_dir / OBJECT_TABLE
    return read_haematoxylin(table) if OBJECT_TABLE in plan.outputs and table.exists() else None


def _write_objects(path: Path, slide: Slide, arrays: LabelArrays, plan: Plan, area: Area) -> None:
    reader = PlaneReader(slide, WorkingPlane.from_plan(plan), plan.level)
    write_objects(path, Source(arrays, plan, reader, area.roi, area.holes))


def _write_statistics(path: Path, arrays: LabelArrays, plan: Plan, area: Area) -> None:
    is_counted = OBJECT_TABLE in plan.outputs
    counts = read_counts(path.with_name(OBJECT_TABLE)) if is_counted else count_objects(arrays, plan)
    write_statistics(path, arrays, area, plan, counts, left_out(path.parent, plan))


def _write_preview(path: Path, slide: Slide, arrays: LabelArrays, plan: Plan) -> None:
    statistics, lost = read_statistics(path.parent), bad_tiles.read_bad_tiles(path.parent).tiles
    write_preview(path, slide, arrays, plan, statistics, trust.finished(plan, statistics, lost))
