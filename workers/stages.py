"""The three stages from slide to result, as plain functions on a folder. They know nothing of queues.

    plan_job ──► plan.json, tissue.png, labels.zarr    segment_one ──► one chunk    finish_job ──► results, result.json

Each may run again after it was cut short: what is complete is kept or written anew with the same content.
"""

import hashlib
import importlib.metadata
import logging
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from workers import stitch
from workers.core.errors import ModelInvalid
from workers.core.resolution import resolve_mpp
from workers.core.schemas import JobRequest, ModelCard, Plan, Provenance, SlideGeometry, SlideInfo
from workers.core.slides import Slide
from workers.core.store import write_json
from workers.inference import Check, Segmenter, segment_regions, unchecked
from workers.plane import BLOCK_PX, CACHED_BLOCKS, PlaneReader
from workers.preview import write_preview
from workers.pyramid import write_labels, write_overlay
from workers.statistics import Statistics, write_statistics
from workers.stitch import LabelArrays
from workers.tiling import WorkingPlane, best_level, ceil_to, region_at, regions
from workers.tissue import TissueMask
from workers.vectorize import write_geojson

logger = logging.getLogger(__name__)

PLAN = "plan.json"
TISSUE = "tissue.png"
RESULT = "result.json"
RESULTS = ("overlay.ome.tif", "labels.ome.tif", "regions.geojson.gz", "statistics.json", "preview.png")

PROCESS_BYTES = 600 * 2**20
"""Resident memory of a worker with torch and a small model before its first tile."""

BYTES_PER_TILE_PX = 700
"""Activations of the network per px of a tile with its halo."""

VERSIONS_OF = (
    "ldiffusion-server",
    "numpy",
    "openslide-bin",
    "openslide-python",
    "tifffile",
    "tiffslide",
    "torch",
    "zarr",
)


def plan_job(slide: Slide, info: SlideInfo, request: JobRequest, card: ModelCard, out_dir: Path, job_id: str) -> Plan:
    """Lay the working plane, find the tissue, choose the regions.

    A folder that holds the same plan already keeps the regions that have landed in it.

    Args:
        slide: The open slide.
        info: What is stored of it.
        request: What was asked.
        card: The model.
        out_dir: Folder of the job; gets `tissue.png`, `labels.zarr` and, last, `plan.json`.
        job_id: Id of the job; part of the identifiers of its polygons.

    Returns:
        The plan, as written.

    Raises:
        MppMissing, MppOutOfRange: The slide's resolution is unknown or does not suit the model.
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    mpp_x, mpp_y, source = resolve_mpp(info.geometry, request.mpp, card.mpp)
    plane = WorkingPlane.from_geometry(info.geometry, card.mpp, request.mpp)
    tissue = TissueMask.from_slide(slide) if request.tissue else TissueMask.everywhere(info.geometry)
    region_px = request.region_px or card.tile_px
    plan = Plan(
        job_id=job_id,
        slide_id=info.id,
        slide_sha256=info.sha256,
        model=card.name,
        model_digest=card.digest,
        geometry=info.geometry,
        mpp_x=mpp_x,
        mpp_y=mpp_y,
        mpp_source=source,
        model_mpp=card.mpp,
        level=best_level(info.geometry, plane),
        w_width=plane.w_width,
        w_height=plane.w_height,
        region_px=region_px,
        tile_px=card.tile_px,
        halo_px=card.halo_px,
        stride_px=card.stride_px,
        seed=request.seed,
        regions=tuple(region.index for region in regions(plane, region_px) if tissue.any(region, plane)),
        tissue=request.tissue,
        classes=card.classes,
        estimated_peak_bytes=estimated_peak_bytes(card, region_px, info.geometry),
    )
    if read_plan(out_dir) != plan:
        (out_dir / PLAN).unlink(missing_ok=True)
        shutil.rmtree(out_dir / stitch.STORE, ignore_errors=True)
        tissue.save(out_dir / TISSUE)
        stitch.create_label_array(out_dir, plan)
        write_json(out_dir / PLAN, plan)
    return plan


def read_plan(out_dir: Path) -> Plan | None:
    """Return the plan of a folder; None if it has none, or one of another version of this program."""
    try:
        return Plan.model_validate_json((out_dir / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def estimated_peak_bytes(card: ModelCard, region_px: int, geometry: SlideGeometry) -> int:
    """Estimate the memory of a worker on the CPU; it does not grow with the slide.

    The process, the network's activations over a tile with its halo, the reader's cached blocks, the tiles read
    ahead, and labels and confidence of a region, once as made and once as compressed.
    """
    side = card.tile_px + 2 * ceil_to(card.halo_px, card.stride_px)
    cache = min(CACHED_BLOCKS * BLOCK_PX**2, geometry.l0_width * geometry.l0_height) * 3
    return PROCESS_BYTES + BYTES_PER_TILE_PX * side**2 + cache + 4 * 3 * side**2 + 4 * region_px**2


def segment_one(
    slide: Slide, plan: Plan, index: int, engine: Segmenter, out_dir: Path, check: Check = unchecked
) -> float:
    """Segment one region and write its chunk. Runs twice with the same bytes.

    Args:
        slide: The open slide.
        plan: The job's plan.
        index: Row-major index of the region.
        engine: The plan's model.
        out_dir: Folder of the job.
        check: Called before each tile and before the chunk is written; raises if the work is no longer wanted.

    Returns:
        Seconds it took.

    Raises:
        ModelInvalid: The model is not the one that was planned for.
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    started = time.perf_counter()
    require_model(plan, engine)
    plane = WorkingPlane.from_plan(plan)
    reader = PlaneReader(slide, plane, plan.level)
    region = region_at(plane, plan.region_px, index)
    with closing(segment_regions(reader, [region], engine, plan, load_tissue(out_dir), check)) as results:
        for done, labels, confidence in results:
            check()
            stitch.write_region(out_dir, plan, done, labels, confidence)
    return time.perf_counter() - started


def require_model(plan: Plan, engine: Segmenter) -> None:
    """Refuse a model that was changed after the job was planned.

    Raises:
        ModelInvalid: It was.
    """
    if engine.digest != plan.model_digest:
        raise ModelInvalid("The model was changed after the job was planned.", value=plan.model)


def load_tissue(out_dir: Path) -> TissueMask:
    """Return the tissue mask of a job's folder. The last ones stay in memory: many regions ask for the same."""
    path = out_dir / TISSUE
    return _load_tissue(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_tissue(path: Path, mtime_ns: int) -> TissueMask:  # noqa: ARG001 (part of the key: the file may be new)
    return TissueMask.load(path)


def finish_job(
    slide: Slide,
    info: SlideInfo,
    plan: Plan,
    out_dir: Path,
    *,
    created_at: datetime,
    timings_s: Mapping[str, float],
    check: Check = unchecked,
) -> Provenance:
    """Make every output from `labels.zarr`, and `result.json` last: a folder that holds it is complete.

    Args:
        slide: The open slide, for the preview.
        info: What is stored of it.
        plan: The job's plan; all its regions have landed.
        out_dir: Folder of the job.
        created_at: When the job was asked for.
        timings_s: Seconds of the phases before this one.
        check: Called before each output; raises if the work is no longer wanted.

    Returns:
        What stands in `result.json`.
    """
    arrays = stitch.open_labels(out_dir)
    timings = dict(timings_s)
    for name, write in _outputs(slide, plan, arrays, load_tissue(out_dir)).items():
        check()
        started = time.perf_counter()
        write(out_dir / name)
        timings[name] = round(time.perf_counter() - started, 3)
        logger.info("%s of job %s in %.1f s", name, plan.job_id, timings[name])
    files = {name: _sha256(out_dir / name) for name in (*RESULTS, PLAN, TISSUE)}
    check()
    provenance = _provenance(slide, info, plan, created_at, timings, files)
    write_json(out_dir / RESULT, provenance)
    return provenance


def read_statistics(out_dir: Path) -> Statistics:
    """Return what stands in `statistics.json`."""
    return Statistics.model_validate_json((out_dir / "statistics.json").read_bytes())


def _outputs(
    slide: Slide, plan: Plan, arrays: LabelArrays, tissue: TissueMask
) -> Mapping[str, Callable[[Path], object]]:
    """Return how to write each result, in order."""
    return {
        "overlay.ome.tif": lambda path: write_overlay(path, arrays, plan),
        "labels.ome.tif": lambda path: write_labels(path, arrays, plan),
        "regions.geojson.gz": lambda path: write_geojson(path, arrays, plan),
        "statistics.json": lambda path: write_statistics(path, arrays, tissue, plan),
        "preview.png": lambda path: write_preview(path, slide, arrays, plan, read_statistics(path.parent)),
    }


def _provenance(
    slide: Slide,
    info: SlideInfo,
    plan: Plan,
    created_at: datetime,
    timings_s: dict[str, float],
    files: dict[str, str],
) -> Provenance:
    shared = plan.model_dump(include=set(Provenance.model_fields) - {"regions"})
    return Provenance(
        **shared,
        slide_filename=info.filename,
        regions=len(plan.regions),
        backend=slide.backend,
        versions=versions(),
        timings_s=timings_s,
        files=files,
        created_at=created_at,
        finished_at=datetime.now(UTC),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
