"""What the server answers, as far as a client shows it. Fields that a newer server adds are left out.

A test compares all of it with the server's own description of itself (`tests/client/test_views.py`), so that the two
say the same. Frames: `l0_` level-0 px of the full plane.
"""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

JobState = Literal["queued", "planning", "running", "finishing", "succeeded", "failed", "canceled"]
ItemState = JobState | Literal["refused", "deleted"]
UploadState = Literal["uploading", "checking", "ready", "rejected"]
Priority = Literal["interactive", "batch"]
OnBadTile = Literal["fail", "mask", "skip"]
OutputName = Literal[
    "overlay.ome.tif", "labels.ome.tif", "objects.parquet", "regions.geojson.gz", "statistics.json", "preview.png"
]
QualityName = Literal["ink", "fold", "blur"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "canceled"})


class View(BaseModel):
    """Immutable; an unknown field is left out. Built when it is first used, so that an import is quick."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


V = TypeVar("V", bound=View)


class Page(View, Generic[V]):
    """One page of a list."""

    items: tuple[V, ...]
    next_cursor: str | None = None


class ErrorBody(View):
    """The one shape of every error: of an answer (under `error`) and of a failed job."""

    code: str
    message: str
    value: str | None = None
    accepted: str | None = None


class SlideLevel(View):
    """One resolution level of a slide: px, level-0 px per px of this level, the file's own tiles if it has them."""

    width: int
    height: int
    downsample: float
    tile_width: int | None = None
    tile_height: int | None = None


class SlideGeometry(View):
    """Size in level-0 px, µm per level-0 px (None if the file does not say), levels.

    `bounds` are those that OpenSlide tells: x, y, width, height in level-0 px.
    """

    l0_width: int
    l0_height: int
    mpp_x: float | None = None
    mpp_y: float | None = None
    bounds: tuple[int, int, int, int] | None = None
    levels: tuple[SlideLevel, ...]


class Integrity(View):
    """Whether the stored bytes of a slide were still those that were stored, and when that was looked at."""

    checked_at: datetime
    ok: bool


class TrustWarning(View):
    """Why a result cannot be trusted as it is.

    `places` are boxes x0, y0, x1, y1 in level-0 px around its causes, the largest first, a hundred at most; of
    `places_count` in all. A warning about all of the slide has none, and in lists of jobs none has.
    """

    code: str
    message: str
    value: str | None = None
    places: tuple[tuple[int, int, int, int], ...] = ()
    places_count: int = 0

    def __str__(self) -> str:
        return f"{self.code}: {self.message}{f' ({self.value})' if self.value else ''}"


class SlideInfo(View):
    """A slide that the server holds. `sha256` is that of the bytes as they were uploaded."""

    id: str
    tenant: str
    filename: str
    size_bytes: int
    sha256: str
    stored_sha256: str | None = None
    deidentified: bool = False
    vendor: str
    backend: str
    geometry: SlideGeometry
    warnings: tuple[TrustWarning, ...] = ()
    labels: dict[str, str] = {}
    created_at: datetime
    integrity: Integrity | None = None


class ModelClass(View):
    """One class of a model. Index 0 is the background. `snomed` is code and meaning of its SNOMED CT concept."""

    index: int
    name: str
    color: tuple[int, int, int]
    snomed: tuple[str, str] | None = None


class ObjectRules(View):
    """What counts as one object of a class, and whether the model gives a map to tell touching ones apart."""

    smallest_um2: float = 0.0
    prominence: float = 0.25
    smooth_um: float = 0.0
    least_interior: float = 0.0
    interior: bool = False


class ModelCard(View):
    """What is to be known of a model. Tiles in px at `mpp`, the µm per px that it was trained at."""

    name: str
    title: str
    mpp: float
    classes: tuple[ModelClass, ...]
    tile_px: int
    halo_px: int
    stride_px: int
    digest: str
    license: str
    intended_use: str
    objects: ObjectRules = ObjectRules()
    half: bool = False
    memory: dict[str, Any] | None = None
    heavy: bool = False
    figures: dict[str, float] = {}


class Webhook(View):
    """Whom to tell when the job has ended, and the name of the secret that signs."""

    url: str
    secret: str


class WebhookDelivery(View):
    """How far the news of a job's end has come."""

    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    last_status: int | None = None


class JobRequest(View):
    """What was asked of a job. `roi` is GeoJSON, a Polygon or MultiPolygon in level-0 px."""

    slide_id: str
    model: str
    mpp: float | None = None
    seed: int
    region_px: int | None = None
    tissue: bool
    roi: dict[str, Any] | None = None
    image: int | None = None
    ignore_modality: bool = False
    outputs: tuple[OutputName, ...]
    priority: Priority
    on_bad_tile: OnBadTile
    quality: bool = False
    exclude_quality: tuple[QualityName, ...] = ()
    webhook: Webhook | None = None


class Preflight(View):
    """What is known of a job before any of its pixels is read: upper bounds."""

    region_px: int | None = None
    tile_px: int | None = None
    regions_max: int
    tiles_max: int
    estimated_s: float | None = None
    estimated_peak_bytes: int
    estimated_disk_bytes: int | None = None
    notice: str | None = None


class Progress(View):
    """Where a job stands. `regions_total` is known once it is planned; `eta_s` seconds are left of its phase."""

    state: JobState
    phase: str | None = None
    regions_done: int = 0
    regions_total: int | None = None
    tiles_per_s: float | None = None
    eta_s: float | None = None


class Waiting(View):
    """A place among the jobs that wait: 1 is next. `starts_in_s`: estimated seconds until its turn."""

    place: int
    starts_in_s: float | None = None


class JobView(Progress):
    """A job. `results` are the addresses of what it made, by name."""

    id: str
    labels: dict[str, str] = {}
    waiting: Waiting | None = None
    tenant: str
    request: JobRequest
    preflight: Preflight | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorBody | None = None
    webhook: WebhookDelivery | None = None
    results: dict[str, str] = {}
    warnings: tuple[TrustWarning, ...] = ()


class BatchItem(View):
    """One slide of a batch: `refused`, there never was a job; `deleted`, there was."""

    slide_id: str
    job_id: str | None = None
    error: ErrorBody | None = None
    state: ItemState


class BatchView(View):
    """A batch: one job for each slide. `done`: nothing of it waits or runs. `counts`: slides by state."""

    id: str
    created_at: datetime
    done: bool
    counts: dict[ItemState, int]
    items: tuple[BatchItem, ...]


class ProductView(View):
    """What can be made of a job on request, and whether it is."""

    name: str
    about: str
    state: Literal["absent", "making", "made", "failed"]
    size_bytes: int | None = None
    error: ErrorBody | None = None


class Link(View):
    """An address, relative to the server, that needs no key until `expires`, in unix seconds."""

    url: str
    query: str
    expires: int


class UploadView(View):
    """A resumable upload: `uploading → checking → ready | rejected`."""

    id: str
    state: UploadState
    filename: str
    length: int
    sha256: str | None
    is_part: bool
    slide_id: str | None
    error: ErrorBody | None
