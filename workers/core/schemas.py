"""What gateway and workers say to each other and to the client: frozen pydantic models.

Frames: `l0_` level-0 px of the full plane, `w_` px of the working plane (the slide at the model's mpp), `um_` µm.
"""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.model.schemas import ModelClass, ObjectRules, Precision
from workers.core.own_labels import Labels
from workers.core.quality_schemas import Quality, QualityNames
from workers.core.roi.polygons import Roi
from workers.core.slide_schemas import SlideGeometry, TrustWarning
from workers.core.waiting import Waiting

JobState = Literal["queued", "planning", "running", "finishing", "succeeded", "failed", "canceled"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "canceled"})
MppSource = Literal["metadata", "request", "person"]
Priority = Literal["interactive", "batch"]
OnBadTile = Literal["fail", "mask", "skip"]
OutputName = Literal[
    "overlay.ome.tif", "labels.ome.tif", "objects.parquet", "regions.geojson.gz", "statistics.json", "preview.png"
]
OUTPUTS: tuple[OutputName, ...] = get_args(OutputName)
"""Every output of a job, in the order in which they are made."""


def _in_order(names: tuple[OutputName, ...]) -> tuple[OutputName, ...]:
    wanted = {*names, *(("statistics.json",) if "preview.png" in names else ())}  # its legend shows the areas
    return tuple(name for name in OUTPUTS if name in wanted)


Outputs = Annotated[tuple[OutputName, ...], FailFast(), Field(min_length=1), AfterValidator(_in_order)]


class ErrorBody(Frozen):
    """The one shape of every error: of an HTTP answer (under `error`) and of a failed job."""

    code: str = Field(examples=["mpp_missing"])
    message: str = Field(examples=["The slide does not say how many micrometres a pixel measures."])
    value: str | None = None
    accepted: str | None = Field(default=None, examples=["mpp in the request, for example 0.5"])


class Webhook(Frozen):
    """Whom to tell when the job has ended."""

    url: str = Field(max_length=2048, examples=["https://lab.example/hooks/segmentation"])
    secret: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of a secret that is put down for the tenant; signs."
    )


class WebhookDelivery(Frozen):
    """How far the news of a job's end has come."""

    state: Literal["pending", "delivered", "failed"] = Field(
        default="pending", description="`failed`: given up, or refused when it was to be called."
    )
    attempts: int = Field(default=0, description="Calls that were made.")
    last_status: int | None = Field(
        default=None, description="HTTP status of the last call; None if nobody answered it, or none was made."
    )


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        message = "a number of µm per pixel, and no boolean"
        raise ValueError(message)  # noqa: TRY004  pydantic tells a ValueError with its place
    return value


Mpp = Annotated[float, BeforeValidator(_no_boolean, json_schema_input_type=float), Field(gt=0)]
"""µm per level-0 px."""


class JobOptions(BaseModel):
    """What a client may ask of a job on any slide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "nuclei"
    mpp: Mpp | None = Field(default=None, description="µm per level-0 px; overrides the slide's own.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the noise field.")
    region_px: int | None = Field(
        default=None,
        ge=256,
        le=8192,
        multiple_of=256,
        description="Side of a region in working px, rounded up to a multiple of the model's tile; else the tile.",
    )
    tissue: bool = Field(default=True, description="Skip glass: what is outside the tissue mask is background.")
    roi: Roi | None = Field(
        default=None,
        description="GeoJSON that encloses something, or a box [x0, y0, x1, y1], in level-0 px: what is outside is "
        "background.",
    )
    outputs: Outputs = Field(default=OUTPUTS, description="What to make. The preview brings the statistics with it.")
    priority: Priority = Field(
        default="interactive", description="Regions of interactive jobs go before those of every batch job."
    )
    image: int | None = Field(
        default=None, ge=0, description="Which image of a file that holds several; the largest if not given."
    )
    ignore_modality: bool = Field(
        default=False, description="Run the model on a slide of another modality than its own, with a warning."
    )
    on_bad_tile: OnBadTile = Field(
        default="fail",
        description="When a tile of the slide cannot be decoded: end the job, leave out its pixels (mask), or leave "
        "out every model tile that reads it (skip).",
    )
    quality: bool = Field(
        default=False, description="Make `quality.geojson.gz` as well: where ink, folds and blur spoil the tissue."
    )
    exclude_quality: QualityNames = Field(
        default=(), description="What to leave out of the statistics where the tissue has it; true is all of it."
    )
    webhook: Webhook | None = Field(default=None, description="Whom to tell when the job has ended.")


class JobRequest(JobOptions):
    """What a client asks for."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"slide_id": "0f8c…", "model": "nuclei", "mpp": 0.5}]},
    )

    slide_id: str


class JobSubmission(JobRequest):
    """What a client sends: the question, and labels, which no worker sees."""

    labels: Labels = Field(default={})

    def request(self) -> JobRequest:
        """Return the question alone."""
        return JobRequest(**{name: value for name, value in self if name != "labels"})


class Preflight(Frozen):
    """What is known of a job before any of its pixels is read. Without the tissue mask: upper bounds."""

    region_px: int | None = Field(default=None, description="Side of a region that is used, working px.")
    tile_px: int | None = Field(default=None, description="Side of a tile that a worker has memory for, working px.")
    regions_max: int = Field(description="Regions, if all of the slide or of the region of interest were tissue.")
    tiles_max: int = Field(
        description="Tiles of the model, likewise; of a tile, only boxes around tissue are computed."
    )
    estimated_s: float | None = Field(
        description="Seconds they would take the workers that are there, at the rate measured with this model; "
        "None before its first job."
    )
    estimated_peak_bytes: int = Field(
        description="Memory of a worker and the children that read for it; it does not grow with the slide."
    )
    estimated_disk_bytes: int | None = Field(default=None, description="Of labels and results, without products.")
    notice: str | None = Field(default=None, description="What makes the job slow, if that is known; not refused.")


class JobView(Frozen):
    """What a client sees of a job."""

    id: str
    tenant: str = Field(default=LOCAL_TENANT, description="Whose it is.")
    state: JobState
    request: JobRequest
    regions_done: int = 0
    regions_total: int | None = Field(default=None, description="Known once the job is planned.")
    phase: str | None = Field(default=None, description="What is done: planning, segmenting, or the output being made.")
    tiles_per_s: float | None = Field(
        default=None, description="Whole tiles per second so far, all workers; parts count by their pixels."
    )
    eta_s: float | None = Field(default=None, description="Estimated seconds to the end of the running phase.")
    labels: Labels = Field(default={})
    waiting: Waiting | None = Field(default=None, description="Its place; None once its turn has come, and in lists.")
    preflight: Preflight | None = Field(default=None, description="What was estimated when the job was submitted.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorBody | None = None
    webhook: WebhookDelivery | None = Field(default=None, description="None if the job has no webhook.")
    results: dict[str, str] = Field(default_factory=dict, description="Name of a result → its URL, once succeeded.")
    warnings: tuple[TrustWarning, ...] = Field(
        default=(), description="Why its result cannot be trusted as it is; all are known once it succeeded."
    )


class Plan(Frozen):
    """`plan.json`: all that a region task and the finish need to know; written once by the planner."""

    job_id: str
    slide_id: str
    slide_sha256: str
    model: str
    model_digest: str
    geometry: SlideGeometry
    mpp_x: float = Field(description="µm per level-0 px in force.")
    mpp_y: float
    mpp_source: MppSource
    model_mpp: float
    level: int = Field(ge=0, description="Slide level that is read.")
    w_width: int = Field(gt=0)
    w_height: int = Field(gt=0)
    region_px: int
    tile_px: int
    halo_px: int
    stride_px: int
    seed: int
    regions: tuple[int, ...] = Field(description="Row-major indices, in the grid of region_px, of regions with tissue.")
    tissue: bool
    classes: tuple[ModelClass, ...]
    objects: ObjectRules = ObjectRules()
    estimated_peak_bytes: int
    roi: Roi | None = None
    outputs: Outputs = OUTPUTS
    on_bad_tile: OnBadTile = "fail"
    image: int | None = None
    precision: Precision = Field(default="float32", description="What the network computes in.")
    layer: bool = Field(default=False, description="Whether `quality.geojson.gz` is made.")
    quality: Quality | None = Field(default=None, description="None where it cannot be told: no bright field.")
    exclude_quality: QualityNames = ()
    warnings: tuple[TrustWarning, ...] = Field(default=(), description="Known before a pixel was segmented.")


class BadTile(Frozen):
    """A block of the slide, of up to 256 px of its level, that cannot be decoded."""

    level: int
    l0_x: int
    l0_y: int
    l0_width: int
    l0_height: int


class StoredRequest(Frozen):
    """`job.json`: what was asked, by whom, and when."""

    id: str
    tenant: str = LOCAL_TENANT
    created_at: datetime
    request: JobRequest
    labels: Labels = Field(default={})
    estimated_bytes: int = Field(
        default=0, ge=0, description="Of the disk, at most; until `size.json` says it. 0: not known."
    )


class Provenance(Frozen):
    """`result.json`: written last; a job directory that holds it is complete."""

    job_id: str
    slide_id: str
    slide_sha256: str
    slide_filename: str
    model: str
    model_digest: str
    mpp_x: float
    mpp_y: float
    mpp_source: MppSource
    model_mpp: float
    seed: int
    precision: Precision = Field(default="float32", description="What the network computed in.")
    region_px: int
    tile_px: int | None = Field(default=None, description="Side of a tile, working px; the model's own, or halves.")
    halo_px: int
    regions: int
    backend: str
    versions: dict[str, str]
    timings_s: dict[str, float] = Field(description="Seconds per phase: plan, segment (sum over regions), each output.")
    files: dict[str, str] = Field(description="File name → SHA-256.")
    sizes_bytes: dict[str, int] = Field(
        default={}, description="File name → size; compressed files as they are stored."
    )
    roi: Roi | None = None
    on_bad_tile: OnBadTile = "fail"
    bad_tiles: tuple[BadTile, ...] = Field(
        default=(), description="What could not be decoded and was left out of labels and statistics."
    )
    quality: Quality | None = Field(default=None, description="How much of the tissue ink, folds and blur spoil.")
    exclude_quality: QualityNames = Field(default=(), description="What was left out of the statistics of it.")
    excluded_mm2: float | None = Field(default=None, description="How much tissue that was; None without statistics.")
    warnings: tuple[TrustWarning, ...] = Field(default=(), description="Why this result cannot be trusted as it is.")
    created_at: datetime
    finished_at: datetime
