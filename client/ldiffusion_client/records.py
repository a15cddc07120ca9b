"""What the server says of a region of interest, of a job that is done (`result.json`, as far as a client shows it),
and of what is wrong with stored jobs: views like those of `views`."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from ldiffusion_client.views import OnBadTile, QualityName, View


class BadTile(View):
    """A block of a slide that could not be decoded, in level-0 px."""

    level: int
    l0_x: int
    l0_y: int
    l0_width: int
    l0_height: int


class QualityArea(View):
    """How much of the tissue one kind of fault spoils."""

    name: QualityName
    mm2: float
    share_of_tissue: float


class Quality(View):
    """How much of a job's tissue ink, folds and blur spoil. `focus_fields` hold tissue, so many were looked at."""

    areas: tuple[QualityArea, ...]
    folds_told: bool
    focus_fields: int
    focus_fields_read: int


class Provenance(View):
    """`result.json`: what results were made of and with. `files`: name → SHA-256; `timings_s`: seconds by phase."""

    job_id: str
    slide_id: str
    slide_sha256: str
    slide_filename: str
    model: str
    model_digest: str
    mpp_x: float
    mpp_y: float
    mpp_source: Literal["metadata", "request", "person"]
    model_mpp: float
    seed: int
    precision: Literal["float32", "bfloat16"] = "float32"
    region_px: int
    tile_px: int | None = None
    halo_px: int
    regions: int
    backend: str
    versions: dict[str, str]
    timings_s: dict[str, float]
    files: dict[str, str]
    sizes_bytes: dict[str, int] = Field(default_factory=dict)
    roi: dict[str, Any] | None = None
    on_bad_tile: OnBadTile = "fail"
    bad_tiles: tuple[BadTile, ...] = ()
    quality: Quality | None = None
    exclude_quality: tuple[QualityName, ...] = ()
    excluded_mm2: float | None = None
    created_at: datetime
    finished_at: datetime


class Finding(View):
    """Something in the store of a server that is not as it should be."""

    kind: str
    id: str
    detail: str


class RoiWarning(View):
    """What of a region of interest may not be meant, with the index of the polygon and a place in level-0 px."""

    code: str
    message: str
    polygon: int
    place: tuple[float, float] | None = None


class RoiCheck(View):
    """A region of interest as a job would have it: a MultiPolygon, area and bounds in level-0 px."""

    roi: dict[str, Any]
    area_px2: float
    bounds: tuple[float, float, float, float]
    vertices: int
    on_slide: Literal["whole", "partly"] | None = None
    warnings: tuple[RoiWarning, ...] = ()
