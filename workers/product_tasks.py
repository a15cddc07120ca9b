"""Makes a product of a succeeded job from its label plane: one queue task, run when somebody asked for the product.

Everything is written beside its place and moved there whole; the record with the digest is written last. A job that
is deleted meanwhile takes the product with it.
"""

import logging
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from workers import tasks, writers
from workers.core.corrections.log import read_revisions
from workers.core.corrections.standing import standing
from workers.core.digests import sha256_of, sha256_of_all
from workers.core.errors.base import (
    JobNotFound,
    LDiffusionError,
    ProductRefused,
    QueueUnavailable,
    ResultNotReady,
    SlideNotFound,
)
from workers.core.errors.jobs import OutOfMemory
from workers.core.job_files import count_size
from workers.core.objects.index import NAME as OBJECT_INDEX
from workers.core.products import FOLDER, SIMPLIFIED, Made, Products, revision_of
from workers.core.queue.leases import Leases
from workers.core.schemas import Plan
from workers.core.slides.slide import Slide
from workers.core.store import Store
from workers.core.stored.slides import slide_at_hand
from workers.core.telemetry.tallies import ENDS, TALLIES, TASKS, add_phase
from workers.outputs.dicom_ann import write_annotations
from workers.outputs.dicom_seg import Coding, write_segmentation
from workers.outputs.levels import Levels
from workers.outputs.ome_zarr import write_ome_zarr
from workers.outputs.pyramid import Layout, write_confidence, write_overlay
from workers.outputs.report import write_report
from workers.outputs.training_folder import Judged, write_training_folder
from workers.outputs.vector.features import write_features
from workers.outputs.vector.object_index import write_index
from workers.outputs.vector.vectorize import Stain, write_geojson, write_simplified
from workers.pipeline import stitch
from workers.pipeline.plane import PlaneReader
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane
from workers.process.watchdog import Watchdog, lacking, private_bytes
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

REGIONS = "regions.geojson.gz"

OpenSlide = Callable[[Plan], AbstractContextManager[Slide]]
"""Opens the slide of a job as the job read it."""


@dataclass(frozen=True)
class Source:
    """What products are made from, `room_bytes`, the memory that making one may take, and what opens the slide."""

    store: Store
    job_id: str
    plan: Plan
    arrays: LabelArrays
    room_bytes: int
    open: OpenSlide

    @property
    def job_dir(self) -> Path:
        """Folder of the job."""
        return self.store.job_dir(self.job_id)

    @property
    def stain(self) -> Stain:
        """Haematoxylin of each polygon, if the job has a table of them."""
        return writers.stain_of(self.job_dir, self.plan)

    def check(self) -> None:
        """Return if the job is still there.

        Raises:
            JobNotFound, ResultNotReady: It was deleted.
        """
        self.store.read_result(self.job_id)


def make_product(job_id: str, name: str) -> None:
    """Make one product of a job, unless it is made, being made, or no longer wanted."""
    runtime = tasks.runtime()
    queue = Products(runtime.leases.jobs)
    if name not in MAKERS or not queue.begin(job_id, name, runtime.leases.worker_id):
        logger.info("job %s product %s: nothing to do", job_id, name)
        return
    started = time.perf_counter()
    outcome = "crashed"
    try:
        with Watchdog(runtime.limits, partial(_give_up, queue, runtime.leases, job_id, name)):
            room_bytes = runtime.limits.memory_bytes - private_bytes()
            record = make(runtime.store, job_id, name, room_bytes, partial(_opened, runtime))
            count_size(runtime.store, job_id)  # before the record: whoever sees that finds the number right
            queue.made(job_id, record)
        outcome = "made"
    except (JobNotFound, ResultNotReady):
        outcome = "dropped"
        queue.drop(job_id, name)
    except QueueUnavailable:
        raise
    except LDiffusionError as error:
        outcome = error.code
        queue.failed(job_id, name, error)
    except (OSError, MemoryError) as error:
        if not _is_there(runtime.store, job_id):
            outcome = "dropped"
            queue.drop(job_id, name)
        elif (known := lacking(error)) is not None:
            outcome = known.code
            queue.failed(job_id, name, known)
        else:
            raise
    finally:
        if outcome == "crashed":
            queue.put_back(job_id, name)
        _leave_nothing(runtime.store, job_id)
        seconds = time.perf_counter() - started
        logger.info("job %s product %s: %s in %.2f s", job_id, name, outcome, seconds)
        TALLIES.add(TASKS, "product", outcome)
        add_phase(name, seconds)


def _give_up(queue: Products, leases: Leases, job_id: str, name: str, error: LDiffusionError) -> None:
    """Say why this process ends while it makes a product; whoever asks again gets another try, or the reason."""
    if isinstance(error, OutOfMemory):
        queue.failed(job_id, name, error)
    else:
        queue.put_back(job_id, name)
    TALLIES.add(ENDS, error.code)
    leases.retire()


@contextmanager
def _opened(runtime: Runtime, plan: Plan) -> Iterator[Slide]:
    with runtime.open(plan.slide_id, plan.on_bad_tile, plan.image) as (slide, _):
        yield slide


def _no_slide(plan: Plan) -> AbstractContextManager[Slide]:
    raise SlideNotFound("Nothing here opens slides.", value=plan.slide_id)


def make(
    store: Store, job_id: str, name: str, room_bytes: int = sys.maxsize, open_slide: OpenSlide = _no_slide
) -> Made:
    """Make a product and put it in its place, with no more memory than `room_bytes` as far as that can be foreseen.

    Raises:
        JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
        ProductRefused: This product cannot be made of this job.
    """
    store.read_result(job_id)
    arrays = stitch.open_labels(store.job_dir(job_id))
    source = Source(store, job_id, store.read_plan(job_id), arrays, room_bytes, open_slide)
    folder = source.job_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for stale in folder.glob(f".{name}.*"):  # of a worker that died
        shutil.rmtree(stale, ignore_errors=True)
    work = folder / f".{name}.{uuid.uuid4().hex[:12]}"
    work.mkdir()
    revision = revision_of(store, job_id, name)  # before: what comes meanwhile makes it old
    try:
        fresh = work / name
        MAKERS[name](fresh, source)
        record = _record(fresh).model_copy(update={"revision": revision})
        shutil.rmtree(folder / name, ignore_errors=True)  # a folder that has no record
        os.sync()  # a folder of many files that nobody synced one by one
        fresh.replace(folder / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return record


def digest_of_folder(folder: Path) -> str:
    """Return the digest of all files of a folder, sorted by path, as `sha256_of_all` makes it."""
    return sha256_of_all(sorted(path for path in folder.rglob("*") if path.is_file()), folder)


def _record(path: Path) -> Made:
    if path.is_dir():
        digest = digest_of_folder(path)
        size_bytes = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    else:
        digest, size_bytes = sha256_of(path), path.stat().st_size
    return Made(name=path.name, sha256=digest, size_bytes=size_bytes, made_at=datetime.now(UTC))


@contextmanager
def _slide_file(source: Source) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(slide_at_hand(source.store, source.plan.slide_id))
        except SlideNotFound as error:
            message = "The slide was deleted, and a DICOM product takes its header."
            raise SlideNotFound(message, value=source.plan.slide_id) from error
        yield file


def _segmentation(path: Path, source: Source, kind: Coding) -> None:
    with _slide_file(source) as file:
        write_segmentation(path, source.arrays, source.plan, file, kind)


def _annotations(path: Path, source: Source) -> None:
    with _slide_file(source) as file:
        write_annotations(path, source.arrays, source.plan, file, room_bytes=source.room_bytes)


def _confidence(path: Path, source: Source) -> None:
    with Levels(source.arrays.confidence, path.parent) as levels:
        write_confidence(path, levels, source.plan)


def _overlay(path: Path, source: Source, layout: Layout) -> None:
    with Levels(source.arrays.labels, path.parent) as levels:
        write_overlay(path, levels, source.plan, layout)


def _features(path: Path, source: Source) -> None:
    geojson = source.job_dir / REGIONS
    if not geojson.exists():  # not among the outputs that were asked for
        geojson = path.with_name(REGIONS)
        write_geojson(geojson, source.arrays, source.plan, source.stain)
    write_features(path, geojson, source.plan, source.room_bytes)


def _training(path: Path, source: Source) -> None:
    revisions = read_revisions(source.job_dir)
    objects = tuple(standing(revisions).values())
    if not objects:
        raise ProductRefused("Nobody has corrected this job.", value=source.job_id, accepted="a job with corrections")
    with source.open(source.plan) as slide:
        reader = PlaneReader(slide, WorkingPlane.from_plan(source.plan), source.plan.level)
        write_training_folder(path, Judged(source.arrays, source.plan, reader, objects, len(revisions)))


def _simplifier(step_px: int) -> Callable[[Path, Source], object]:
    return lambda path, source: write_simplified(
        path, source.arrays, source.plan, step_px, source.room_bytes, source.stain
    )


MAKERS: Mapping[str, Callable[[Path, Source], object]] = {
    "labels.ome.zarr": lambda path, source: write_ome_zarr(path, source.arrays, source.plan, source.check),
    "confidence.ome.tif": _confidence,
    "overlay-ome.ome.tif": lambda path, source: _overlay(path, source, "ome"),
    "overlay-pages.tif": lambda path, source: _overlay(path, source, "pages"),
    "segmentation.dcm": lambda path, source: _segmentation(path, source, "LABELMAP"),
    "segmentation-binary.dcm": lambda path, source: _segmentation(path, source, "BINARY"),
    "annotations.dcm": _annotations,
    "report.pdf": lambda path, source: write_report(path, source.job_dir, source.store.read_result(source.job_id)),
    "features.fgb": _features,
    "training.zip": _training,
    OBJECT_INDEX: lambda path, source: write_index(path, source.job_dir / writers.OBJECT_TABLE, source.room_bytes),
    **{name: _simplifier(step_px) for step_px, name in SIMPLIFIED.items()},
}


def _is_there(store: Store, job_id: str) -> bool:
    return (store.job_dir(job_id) / "result.json").exists()


def _leave_nothing(store: Store, job_id: str) -> None:
    """Remove what a library wrote into the folder of a job after that was deleted."""
    folder = store.job_dir(job_id)
    if not (folder / "job.json").exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
