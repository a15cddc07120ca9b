"""Outlines that people draw, looked at before they are kept. The only module of this room that knows shapely."""

import math

import shapely

from workers.core.corrections.schemas import Box, Drawing
from workers.core.errors.review import OutlineInvalid
from workers.core.roi.polygons import Polygon
from workers.core.schemas import Plan


def drawing_of(outline: Polygon, plan: Plan) -> Drawing:
    """Return an outline with its area and box.

    Args:
        outline: Level-0 px.
        plan: Of the job: the size of its slide, the µm per px in force.

    Raises:
        OutlineInvalid: It reaches past the slide, its rings cross or touch along a line, or it encloses nothing.
    """
    rings = outline.coordinates
    shape = shapely.Polygon(rings[0], rings[1:])
    box: Box = shapely.bounds(shape).tolist()
    width, height = plan.geometry.l0_width, plan.geometry.l0_height
    if not (min(box[:2]) >= 0 and box[2] <= width and box[3] <= height):
        raise OutlineInvalid(
            "The outline reaches past the slide.",
            value=", ".join(f"{side:g}" for side in box),
            accepted=f"level-0 px within 0, 0, {width}, {height}",
        )
    if not shapely.is_valid(shape):
        reason = shapely.is_valid_reason(shape)
        raise OutlineInvalid(f"The outline is none of one object: {reason}.", value=reason, accepted="a simple polygon")
    area_um2 = float(shapely.area(shape)) * plan.mpp_x * plan.mpp_y
    if not (math.isfinite(area_um2) and area_um2 > 0):
        raise OutlineInvalid("The outline encloses nothing.", value=area_um2, accepted="an area above 0")
    return Drawing(outline=rings, area_um2=area_um2, box=box)
