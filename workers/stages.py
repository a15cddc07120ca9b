"""The three stages from slide to result, as plain functions on a folder. They know nothing of queues.

    plan_job ──► plan.json, tissue.png, labels.zarr    segment_one ──► one chunk    finish_job ──► results, result.json

Each may run again after it was cut short: what is complete is kept or written anew with the same content.
"""

import logging
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from workers import trust
from workers.core.checks import Check, unchecked
from workers.core.digests import sha256_of
from workers.core.errors.base import ModelInvalid
from workers.core.label_layout import STORE
from workers.core.model.schemas import ModelCard, Precision
from workers.core.quality_schemas import LAYER
from workers.core.schemas import OUTPUTS, JobRequest, Plan, Provenance
from workers.core.sizing.memory import sizes_within
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.modality_match import require_modality
from workers.core.slides.resolution import resolve_mpp
from workers.core.slides.slide import Slide
from workers.core.storage.files import write_json
from workers.masks import QUALITY, TISSUE, area_of, find_masks, load_area
from workers.outputs.landed import NOBODY, Told, make_outputs, sweep_temporaries
from workers.outputs.provenance import describe
from workers.outputs.statistics import Statistics, read_statistics
from workers.pipeline import bad_tiles, stitch
from workers.pipeline.inference import Segmented, Segmenter, segment_regions
from workers.pipeline.objects import make_objects
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane, best_level, region_at, regions
from workers.process.cancellation import interruptible
from workers.process.heap import give_back
from workers.writers import writers_of

logger = logging.getLogger(__name__)

PLAN = "plan.json"
RESULT = "result.json"
RESULTS = OUTPUTS
EVERYTHING = (*OUTPUTS, LAYER, PLAN, TISSUE, QUALITY)
"""All files that a folder may hold beside its result."""


def plan_job(
    slide: Slide,
    info: SlideInfo,
    request: JobRequest,
    card: ModelCard,
    out_dir: Path,
    job_id: str,
    precision: Precision = "float32",
    room_bytes: int = sys.maxsize,
) -> Plan:
    """Lay the working plane, find the tissue, choose the regions.

    Args:
        slide: The open slide.
        info: What is known of it; of the image that the job is about.
        request: What was asked.
        card: The model.
        out_dir: Folder of the job; gets `tissue.png`, `quality.png`, `labels.zarr` and, last, `plan.json`.
        job_id: Id of the job; part of the identifiers of its polygons.
        precision: What the model computes in.
        room_bytes: Memory that a worker may take: the tiles follow from it.

    Returns:
        The plan, as written; a folder that holds the same one keeps the regions that have landed in it.

    Raises:
        JobTooLarge: Not even the smallest tiles fit into that memory.
        ModalityMismatch: The slide is fluorescence and the model is not, or the other way round.
        MppMissing, MppImplausible, MppOutOfRange: The slide's resolution is unknown or does not suit the model.
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    require_modality(info, request, card)
    mpp_x, mpp_y, source = resolve_mpp(info.geometry, request.mpp, card.mpp)
    plane = WorkingPlane.from_geometry(info.geometry, card.mpp, request.mpp)
    w_size = plane.w_width, plane.w_height
    sizes = sizes_within(card, request.region_px, precision, info.geometry, w_size, room_bytes, request.roi)
    with interruptible():
        masks = find_masks(slide, info, request, (mpp_x, mpp_y))
        area = area_of(masks.tissue, request.roi)
        chosen = tuple(region.index for region in regions(plane, sizes.region_px) if area.any(region, plane))
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
        region_px=sizes.region_px,
        tile_px=sizes.tile_px,
        halo_px=card.halo_px,
        stride_px=card.stride_px,
        seed=request.seed,
        regions=chosen,
        tissue=request.tissue,
        classes=card.classes,
        objects=card.objects,
        estimated_peak_bytes=sizes.peak_bytes,
        roi=request.roi,
        outputs=request.outputs,
        on_bad_tile=request.on_bad_tile,
        image=request.image,
        precision=precision,
        layer=request.quality,
        quality=masks.quality,
        exclude_quality=request.exclude_quality,
        warnings=trust.planned(
            info, request, card, (mpp_x, mpp_y), masks.share, masks.quality, masks.hues, masks.places
        ),
    )
    if read_plan(out_dir) != plan:
        (out_dir / PLAN).unlink(missing_ok=True)
        for folder in (STORE, bad_tiles.FOLDER):
            shutil.rmtree(out_dir / folder, ignore_errors=True)
        bad_tiles.note(out_dir, "plan", slide)
        masks.save(out_dir)
        stitch.create_label_array(out_dir, plan)
        write_json(out_dir / PLAN, plan)
    give_back()  # the overview
    return plan


def read_plan(out_dir: Path) -> Plan | None:
    """Return the plan of a folder; None if it has none, or one of another version of this program."""
    try:
        return Plan.model_validate_json((out_dir / PLAN).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def segment_one(
    slide: Slide, plan: Plan, index: int, engine: Segmenter, out_dir: Path, check: Check = unchecked
) -> tuple[float, float]:
    """Segment one region and write its chunk. Runs twice with the same bytes.

    Args:
        slide: The open slide.
        plan: The job's plan.
        index: Row-major index of the region.
        engine: The plan's model.
        out_dir: Folder of the job.
        check: Called before each tile and before the chunk is written; raises if the work is no longer wanted.

    Returns:
        Seconds it took, and what it was worth in forward passes of whole tiles.

    Raises:
        ModelInvalid: The model is not the one that was planned for.
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    started = time.perf_counter()
    require_model(plan, engine)
    plane = WorkingPlane.from_plan(plan)
    reader = PlaneReader(slide, plane, plan.level)
    region = region_at(plane, plan.region_px, index)
    tiles = 0.0
    with closing(segment_regions(reader, [region], engine, plan, load_area(out_dir, plan), check)) as results:
        for done in results:
            check()
            keep_region(slide, plan, done, out_dir)
            tiles += done.tiles
    return time.perf_counter() - started, tiles


def keep_region(slide: Slide, plan: Plan, done: Segmented, out_dir: Path) -> None:
    """Write the result of a region: first what could not be read of it, then the chunk, which says that it is done."""
    bad_tiles.note(out_dir, f"region-{done.region.index}", slide, done.holes)
    stitch.write_region(out_dir, plan, done.region, done.labels, done.confidence, done.interior)


def require_model(plan: Plan, engine: Segmenter) -> None:
    """Refuse a model that was changed after the job was planned.

    Raises:
        ModelInvalid: It was.
    """
    if engine.digest != plan.model_digest:
        raise ModelInvalid("The model was changed after the job was planned.", value=plan.model)


def finish_job(
    slide: Slide,
    info: SlideInfo,
    plan: Plan,
    out_dir: Path,
    *,
    created_at: datetime,
    timings_s: Mapping[str, float],
    told: Told = NOBODY,
    threads: int = 1,
) -> Provenance:
    """Make every output from `labels.zarr`, and `result.json` last: a folder that holds it is complete.

    Outputs that an earlier try completed are kept.

    Args:
        slide: The open slide, for the preview.
        info: What is stored of it.
        plan: The job's plan; all its regions have landed.
        out_dir: Folder of the job.
        created_at: When the job was asked for.
        timings_s: Seconds of the phases before this one.
        told: Who hears how it goes on, and may end it.
        threads: CPU threads that it may take.

    Returns:
        What stands in `result.json`.
    """
    timings = dict(timings_s)
    sweep_temporaries(out_dir)
    give_back()  # what inference kept
    if plan.objects.interior:
        told.announce("objects")
        started = time.perf_counter()
        with interruptible():
            make_objects(out_dir, plan, told.check)
        timings["objects"] = round(time.perf_counter() - started, 3)
    arrays = stitch.open_labels(out_dir)
    area = replace(load_area(out_dir, plan), holes=bad_tiles.read_bad_tiles(out_dir).holes)
    made = (*plan.outputs, *((LAYER,) if plan.layer else ()))
    prepare = partial(writers_of, slide, plan, arrays, area, out_dir, threads)
    landed = make_outputs(out_dir, made, prepare, slide, told)
    timings |= {name: landed[name].seconds for name in made}
    masks = (TISSUE, *((QUALITY,) if plan.quality is not None else ()))
    files = {name: landed[name].sha256 for name in made} | {name: sha256_of(out_dir / name) for name in (PLAN, *masks)}
    sizes_bytes = {name: (out_dir / name).stat().st_size for name in files}
    told.check()
    statistics = statistics_of(out_dir, plan)
    lost = bad_tiles.read_bad_tiles(out_dir).tiles
    warnings = trust.finished(plan, statistics, lost)
    provenance = describe(slide, info, plan, created_at, timings, files, sizes_bytes, lost, warnings)
    if statistics is not None:
        provenance = provenance.model_copy(update={"excluded_mm2": statistics.excluded_mm2})
    write_json(out_dir / RESULT, provenance)
    landed.close()
    return provenance


def statistics_of(out_dir: Path, plan: Plan) -> Statistics | None:
    """Return what stands in `statistics.json`; None if the job does not make it."""
    return read_statistics(out_dir) if "statistics.json" in plan.outputs else None
