"""Products: results that are made when somebody asks for them, once, and kept. The queue side, without pixels.

    nobody asked ──► waiting ──► with a worker ──► made              (for good: `products/<name>` and its record)
                        └──────────────┴─────────► refused, failed   (refused, failed: until that is old)

What is made, refused or failed is true on disk; what waits or is being made is true in Redis, and whoever asks again
finds out whether its worker still lives. So a product that a dying worker left behind is begun anew with the next
question, and one that nobody wants any more costs nothing.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from workers.core.corrections.log import latest_revision
from workers.core.errors.base import (
    Invalid,
    JobLost,
    LDiffusionError,
    ProductFailed,
    ProductRefused,
    ResultNotFound,
)
from workers.core.frozen import Frozen
from workers.core.objects.index import NAME as OBJECT_INDEX
from workers.core.queue.attempts import attempts_max
from workers.core.queue.exchange import Transaction
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task, worker_key
from workers.core.schemas import ErrorBody
from workers.core.store import Store
from workers.core.stored.jobs import has_array

FOLDER = "products"
TRY_AGAIN_S = 300.0
"""Age at which a failure no longer stands in the way of another try."""
REFUSED_S = 86400.0
"""The same of a refusal: a worker with more memory, or a newer version, may make it."""


SIMPLIFIED = {step_px: f"regions-within-{step_px}px.geojson.gz" for step_px in (1, 2, 4)}
"""Polygons made simpler, by the farthest distance in working px between a border and the exact one."""


class Product(NamedTuple):
    """What can be made of a succeeded job."""

    media_type: str
    about: str


PRODUCTS = {
    "labels.ome.zarr": Product("application/json", "NGFF 0.5: class labels over the confidence, a folder."),
    "confidence.ome.tif": Product("image/tiff", "OME-TIFF of round(255 × probability of the chosen class)."),
    "overlay-ome.ome.tif": Product("image/tiff", "The overlay with its levels in SubIFDs only."),
    "overlay-pages.tif": Product("image/tiff", "The overlay with its levels as pages only."),
    "segmentation.dcm": Product("application/dicom", "DICOM segmentation of a slide that came as DICOM."),
    "segmentation-binary.dcm": Product("application/dicom", "The same for viewers that know BINARY only."),
    "annotations.dcm": Product("application/dicom", "DICOM bulk annotations of a slide that came as DICOM."),
    "report.pdf": Product("application/pdf", "One page for people: picture, areas and counts, warnings, provenance."),
    "features.fgb": Product("application/vnd.flatgeobuf", "The polygons with a spatial index."),
    "training.zip": Product("application/zip", "Crops and masks of the corrected objects, a dataset to train on."),
    OBJECT_INDEX: Product("application/octet-stream", "The table of objects, for answers about a few of them."),
    **{
        name: Product(
            "application/gzip", f"The polygons made simpler, borders within {step_px} working px of the exact."
        )
        for step_px, name in SIMPLIFIED.items()
    },
}


FOLDERS = frozenset({"labels.ome.zarr"})
"""Products that are a folder of files."""

FOLLOWING = frozenset({"training.zip"})
"""Products that are made of the corrections too: with the next revision they are made anew."""


class Made(Frozen):
    """`products/<name>.json`: written after the product itself."""

    name: str
    sha256: str = Field(description="Of the file; of a folder: of its list of digests and names.")
    size_bytes: int
    made_at: datetime
    revision: int | None = Field(default=None, description="Of the corrections, if it is made of them.")


class Failed(Frozen):
    """`products/<name>.failed.json`: why there is none."""

    error: ErrorBody
    refused: bool = Field(description="The same job would be refused again.")
    failed_at: datetime
    revision: int | None = Field(default=None, description="Of the corrections, if it would be made of them.")


class ProductView(Frozen):
    """What a client sees of a product."""

    name: str
    about: str
    state: Literal["absent", "making", "made", "failed"]
    size_bytes: int | None = None
    error: ErrorBody | None = None


class _Entry(BaseModel):
    """What Redis holds of a product that is asked for."""

    attempts: int = 0
    worker_id: str = ""
    since: float


def product_path(store: Store, job_id: str, name: str) -> Path:
    """Return where a product of a job lies, whether or not it is there.

    Raises:
        JobNotFound: The text is no identifier.
        ResultNotFound: There is no such product.
    """
    if name not in PRODUCTS:
        raise ResultNotFound("A job makes no such result.", value=name, accepted=", ".join(PRODUCTS))
    return store.job_dir(job_id) / FOLDER / name


def read_made(store: Store, job_id: str, name: str) -> Made | None:
    """Return the record of a product; None if it is not made, or of an earlier revision of the corrections."""
    path = product_path(store, job_id, name)
    try:
        made = Made.model_validate_json(path.with_name(f"{name}.json").read_bytes())
    except FileNotFoundError:
        return None
    return made if made.revision == revision_of(store, job_id, name) else None


def revision_of(store: Store, job_id: str, name: str) -> int | None:
    """Return the revision of the corrections that a product has to be of; None of one that has nothing of them."""
    return latest_revision(store.job_dir(job_id)) if name in FOLLOWING else None


class Products:
    """The products of all jobs of one queue.

    Args:
        jobs: The queue.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.store = jobs.store
        self.attempts_max = attempts_max(jobs.settings)

    def ask(self, job_id: str, name: str) -> Made | None:
        """Return the record of a product, or see to it that it is made and return None.

        Raises:
            JobNotFound, ResultNotReady: There is no such job, or it has not succeeded.
            ResultNotFound: There is no such product.
            ProductRefused, ProductFailed: It cannot be made, or could not lately.
            QueueUnavailable: It is not made yet and Redis does not answer.
        """
        made = read_made(self.store, job_id, name)
        self.store.read_result(job_id)
        if made is not None:
            return made
        if not has_array(self.store, job_id):
            raise ProductRefused("This is made of the label array, which another host has.", value=name)
        if (failure := self._standing_failure(job_id, name)) is not None:
            raise _error_of(failure, name)
        self._queue(job_id, name)
        return None

    def view(self, job_id: str, name: str) -> ProductView:
        """Return the state of a product without asking for it.

        Raises:
            QueueUnavailable: It is not made yet and Redis does not answer.
        """
        known = ProductView(name=name, about=PRODUCTS[name].about, state="absent")
        if (made := read_made(self.store, job_id, name)) is not None:
            return known.model_copy(update={"state": "made", "size_bytes": made.size_bytes})
        if (failure := self._standing_failure(job_id, name)) is not None:
            return known.model_copy(update={"state": "failed", "error": failure.error})
        key = JobKeys(job_id).products
        is_asked = self.jobs.transact(lambda pipe: bool(pipe.hexists(key, name)), key)
        return known.model_copy(update={"state": "making"}) if is_asked else known

    def begin(self, job_id: str, name: str, worker_id: str) -> bool:
        """Take a product to make it; False if there is nothing to do: made, dropped, or with another living worker."""
        key = JobKeys(job_id).products

        def write(pipe: Transaction) -> int:
            entry = _entry_of(pipe.hget(key, name))
            if entry is None or (entry.worker_id not in ("", worker_id) and pipe.exists(worker_key(entry.worker_id))):
                return 0
            taken = _Entry(attempts=entry.attempts + 1, worker_id=worker_id, since=_now())
            pipe.multi()
            pipe.hset(key, name, taken.model_dump_json())
            return taken.attempts

        attempt = self.jobs.transact(write, key)
        if attempt > self.attempts_max:
            self.failed(job_id, name, JobLost("A worker died, or failed, each time it began to make this."))
        return 0 < attempt <= self.attempts_max

    def made(self, job_id: str, record: Made) -> None:
        """Record a product that lies in its place."""
        path = product_path(self.store, job_id, record.name)
        path.with_name(f"{record.name}.failed.json").unlink(missing_ok=True)
        self.store.write_json(path.with_name(f"{record.name}.json"), record)
        self.drop(job_id, record.name)

    def failed(self, job_id: str, name: str, error: LDiffusionError) -> None:
        """Record why a product could not be made; of a job that is gone, nothing."""
        path = product_path(self.store, job_id, name)
        failure = Failed(
            error=ErrorBody.model_validate(error.as_dict()),
            refused=isinstance(error, Invalid),
            failed_at=datetime.now(UTC),
            revision=revision_of(self.store, job_id, name),
        )
        if path.parent.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            self.store.write_json(path.with_name(f"{name}.failed.json"), failure)
        self.drop(job_id, name)

    def put_back(self, job_id: str, name: str) -> None:
        """Give up a product that the queue tries again; after the last try it has failed."""
        key = JobKeys(job_id).products

        def write(pipe: Transaction) -> bool:
            entry = _entry_of(pipe.hget(key, name))
            if entry is None or entry.attempts >= self.attempts_max:
                return entry is None
            pipe.multi()
            pipe.hset(key, name, _Entry(attempts=entry.attempts, since=_now()).model_dump_json())
            return True

        if not self.jobs.transact(write, key):
            fault = "It could not be made through a fault of ours; the log of the workers says more."
            self.failed(job_id, name, LDiffusionError(fault))

    def drop(self, job_id: str, name: str) -> None:
        """Forget that a product was asked for."""
        key = JobKeys(job_id).products
        self.jobs.transact(lambda pipe: pipe.hdel(key, name), key)

    def _standing_failure(self, job_id: str, name: str) -> Failed | None:
        path = product_path(self.store, job_id, name).with_name(f"{name}.failed.json")
        try:
            failure = Failed.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        if failure.revision != revision_of(self.store, job_id, name):
            return None
        age_s = (datetime.now(UTC) - failure.failed_at).total_seconds()
        return failure if age_s < (REFUSED_S if failure.refused else TRY_AGAIN_S) else None

    def _queue(self, job_id: str, name: str) -> None:
        key = JobKeys(job_id).products
        task = Task(job_id, "product", product=name)

        def write(pipe: Transaction) -> None:
            entry = _entry_of(pipe.hget(key, name))
            if entry is not None and not self._is_stuck(pipe, entry, task):
                return
            attempts = 0 if entry is None else entry.attempts
            pipe.multi()
            pipe.hset(key, name, _Entry(attempts=attempts, since=_now()).model_dump_json())
            self.jobs.enqueue(pipe, task, "interactive", self.jobs.host)  # of a batch job too: now somebody waits

        self.jobs.transact(write, key)

    def _is_stuck(self, pipe: Transaction, entry: _Entry, task: Task) -> bool:
        """Whether nobody will make it: its worker is gone, or it waits outside the queue for longer than a lease."""
        if entry.worker_id:
            return not pipe.exists(worker_key(entry.worker_id))
        if _now() - entry.since < self.jobs.settings.lease_s:
            return False
        control = self.jobs.lane("interactive", self.jobs.host).control
        return not any(queue_id.startswith(task.queue_prefix) for queue_id in control.get_job_ids())


def _entry_of(value: bytes | None) -> _Entry | None:
    return None if value is None else _Entry.model_validate_json(value)


def _error_of(failure: Failed, name: str) -> LDiffusionError:
    kind = ProductRefused if failure.refused else ProductFailed
    value = name if failure.error.value is None else failure.error.value
    return kind(failure.error.message, value=value, accepted=failure.error.accepted)


def _now() -> float:
    return datetime.now(UTC).timestamp()
