"""What gateway and workers say to each other and to the client: frozen pydantic models.

Frames: `l0_` level-0 px of the full plane, `w_` px of the working plane (the slide at the model's mpp), `um_` µm.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "planning", "running", "finishing", "succeeded", "failed", "canceled"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "canceled"})
MppSource = Literal["metadata", "request"]


class Frozen(BaseModel):
    """Immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorBody(Frozen):
    """The one shape of every error: of an HTTP answer (under `error`) and of a failed job."""

    code: str = Field(examples=["mpp_missing"])
    message: str = Field(examples=["The slide does not say how many micrometres a pixel measures."])
    value: str | None = None
    accepted: str | None = Field(default=None, examples=["mpp in the request, for example 0.5"])


class SlideLevel(Frozen):
    """One resolution level of a slide."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    downsample: float = Field(ge=1, description="Level-0 px per px of this level.")


class SlideGeometry(Frozen):
    """The one owner of a slide's size, resolution and bounds. Every export goes through it."""

    l0_width: int = Field(gt=0)
    l0_height: int = Field(gt=0)
    mpp_x: float | None = Field(default=None, description="µm per level-0 px, None if the file does not say.")
    mpp_y: float | None = None
    bounds: tuple[int, int, int, int] | None = Field(
        default=None, description="`openslide.bounds-*`: x, y, width, height in level-0 px of the full plane."
    )
    levels: tuple[SlideLevel, ...]


class SlideInfo(Frozen):
    """A stored slide that a probe has opened and read."""

    id: str
    filename: str = Field(description="The name the client gave, for people; never a path.")
    size_bytes: int
    sha256: str
    vendor: str = Field(description="Format as the reader names it.", examples=["aperio"])
    backend: Literal["openslide", "tiffslide"]
    geometry: SlideGeometry
    created_at: datetime


class ModelClass(Frozen):
    """One class of a model. Index 0 is the background."""

    index: int = Field(ge=0, le=254)
    name: str
    color: tuple[int, int, int]


class ModelCard(Frozen):
    """What a client may know of a model: `config.json` of its folder without the network's own numbers."""

    name: str
    title: str
    mpp: float = Field(gt=0, description="µm per working-plane px the model was trained at.")
    classes: tuple[ModelClass, ...]
    tile_px: int = Field(gt=0, description="Side of the core of one forward pass, in working px.")
    halo_px: int = Field(ge=0, description="Context read around a core and cropped from the result, in working px.")
    stride_px: int = Field(gt=0, description="Origins of tiles are multiples of this.")
    digest: str = Field(description="SHA-256 of config.json, which holds the SHA-256 of the weights.")
    license: str
    intended_use: str
    figures: dict[str, float] = Field(default_factory=dict, description="Measured on held-out data.")


class JobRequest(BaseModel):
    """What a client asks for."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"slide_id": "0f8c…", "model": "nuclei-tiny", "mpp": 0.5}]},
    )

    slide_id: str
    model: str = "nuclei-tiny"
    mpp: float | None = Field(default=None, gt=0, description="µm per level-0 px; overrides the slide's own.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the noise field.")
    region_px: int | None = Field(
        default=None,
        ge=256,
        le=8192,
        multiple_of=256,
        description="Side of a region's core in working px; the model's tile size if not given.",
    )
    tissue: bool = Field(default=True, description="Skip glass: what is outside the tissue mask is background.")


class JobView(Frozen):
    """What a client sees of a job."""

    id: str
    state: JobState
    request: JobRequest
    regions_done: int = 0
    regions_total: int | None = Field(default=None, description="Known once the job is planned.")
    eta_s: float | None = Field(default=None, description="Estimated seconds to the end of the running phase.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorBody | None = None
    results: dict[str, str] = Field(default_factory=dict, description="Name of a result → its URL, once succeeded.")


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
    estimated_peak_bytes: int


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
    region_px: int
    halo_px: int
    regions: int
    backend: str
    versions: dict[str, str]
    timings_s: dict[str, float] = Field(description="Seconds per phase: plan, segment (sum over regions), each output.")
    files: dict[str, str] = Field(description="File name → SHA-256.")
    created_at: datetime
    finished_at: datetime
