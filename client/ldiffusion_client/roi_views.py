"""What the server says of a region of interest, looked at before a slide is sent."""

from typing import Any, Literal

from ldiffusion_client.views import View


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
