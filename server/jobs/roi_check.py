"""A region of interest looked at before a job is: what it became, how large it is, where its rings cross.

The only module of the server that knows shapely. What is valid and apart is measured exactly. Where rings cross or
polygons overlap, GEOS would first find every crossing, and 20 000 edges can have hundreds of millions of them: there
the area is summed along rows, by the rule that masks go by.
"""

import re
from typing import Literal

import numpy as np
import numpy.typing as npt
import shapely
from pydantic import Field

from workers.core.frozen import Frozen
from workers.core.roi.polygons import Bounds, MultiPolygon, Polygon, parts_bounds
from workers.core.sizing.preflight import parts_on_slide
from workers.core.slide_schemas import SlideGeometry

WARNINGS_MAX = 20
"""Most warnings of one answer."""

ROWS_MAX = 1024
"""Most rows along which an area is summed."""

Floats = npt.NDArray[np.float64]
_PLACE = re.compile(r"\[(\S+) (\S+)\]$")


class RoiWarning(Frozen):
    """What of a region of interest may not be meant. It stops no job."""

    code: Literal["roi_self_intersects"] = "roi_self_intersects"
    message: str = Field(description="One sentence for people.")
    polygon: int = Field(ge=0, description="Index among the polygons of `roi`.")
    place: tuple[float, float] | None = Field(description="x, y in level-0 px.")


class RoiCheck(Frozen):
    """A region of interest as a job would have it."""

    roi: MultiPolygon
    area_px2: float = Field(description="Level-0 px that it encloses; what polygons share counts once.")
    bounds: Bounds = Field(description="x0, y0, x1, y1 in level-0 px.")
    vertices: int = Field(description="Of its closed rings, ellipses as they are drawn.")
    on_slide: Literal["whole", "partly"] | None = Field(
        default=None, description="How much of it lies within the slide's borders; None if no slide was named."
    )
    warnings: tuple[RoiWarning, ...] = Field(default=(), description=f"The first {WARNINGS_MAX}.")


def check_roi(roi: Polygon | MultiPolygon, geometry: SlideGeometry | None = None) -> RoiCheck:
    """Look at a region of interest, and at whether a slide has any of it.

    Raises:
        RoiOutside: It holds nothing of the slide.
    """
    boxes = np.array(parts_bounds(roi), np.float64)
    bounds = (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())
    shapes = np.array([shapely.Polygon(outline, holes) for outline, *holes in roi.polygons], dtype=object)
    is_valid = shapely.is_valid(shapes)
    is_exact = bool(is_valid.all()) and not _any_overlap(boxes)
    return RoiCheck(
        roi=MultiPolygon(coordinates=roi.polygons),
        area_px2=float(shapely.area(shapes).sum()) if is_exact else area_by_rows(roi),
        bounds=bounds,
        vertices=sum(len(ring) for rings in roi.polygons for ring in rings),
        on_slide=None if geometry is None else _on_slide(roi, bounds, geometry),
        warnings=tuple(_warning(shapes[index], index) for index in np.flatnonzero(~is_valid)[:WARNINGS_MAX].tolist()),
    )


def area_by_rows(roi: Polygon | MultiPolygon) -> float:
    """Return the area in level-0 px²: rings by the even-odd rule, polygons joined.

    Summed over rows between neighbouring vertices, or, if there are too many, over rows of equal height. A row that
    neither vertex nor crossing lies in is exact.
    """
    edges, owners = _edges(roi)
    ys = np.unique(edges[:, [1, 3]])
    if len(ys) > ROWS_MAX + 1:
        ys = np.linspace(ys[0], ys[-1], ROWS_MAX + 1)
    elif len(ys) > 1:  # cut further, as edges may cross in a row
        cuts = -(-ROWS_MAX // (len(ys) - 1))
        ys = np.unique(np.linspace(ys[:-1], ys[1:], cuts + 1))
    widths = np.array([_covered(edges, owners, y) for y in (ys[:-1] + ys[1:]) / 2], np.float64)
    return float((widths * np.diff(ys)).sum())


def _edges(roi: Polygon | MultiPolygon) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return the edges, float64 (n, 4) as x, y of two ends, the upper first, and the polygon that each belongs to."""
    found, owners = [], []
    for index, rings in enumerate(roi.polygons):
        for ring in rings:
            points = np.array(ring, np.float64)
            edges = np.hstack([points[:-1], points[1:]])
            found.append(np.where(edges[:, 1:2] <= edges[:, 3:4], edges, edges[:, [2, 3, 0, 1]]))
            owners.append(np.full(len(edges), index))
    return np.concatenate(found), np.concatenate(owners)


def _covered(edges: Floats, owners: npt.NDArray[np.int64], y: float) -> float:
    """Return how much of a row, in px, lies inside."""
    crosses = (edges[:, 1] <= y) & (y < edges[:, 3])  # an even number of each polygon
    x0, y0, x1, y1 = edges[crosses].T
    at = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
    starts, ends = at[np.lexsort((at, owners[crosses]))].reshape(-1, 2).T
    if not len(starts):
        return 0.0
    order = np.argsort(starts)
    starts, reached = starts[order], np.maximum.accumulate(ends[order])
    begun = np.maximum(starts[1:], reached[:-1])
    return float(reached[0] - starts[0] + np.maximum(0, reached[1:] - begun).sum())


def _any_overlap(boxes: Floats) -> bool:
    """Whether any two boxes (n, 4) share more than a border."""
    x0, y0, x1, y1 = boxes[np.argsort(boxes[:, 0])].T
    for index in range(len(boxes) - 1):
        last = int(np.searchsorted(x0, x1[index]))
        others = slice(index + 1, last)
        if ((y0[others] < y1[index]) & (y1[others] > y0[index])).any():
            return True
    return False


def _on_slide(roi: Polygon | MultiPolygon, bounds: Bounds, geometry: SlideGeometry) -> Literal["whole", "partly"]:
    parts_on_slide(roi, geometry)
    x0, y0, x1, y1 = bounds
    return "whole" if x0 >= 0 and y0 >= 0 and x1 <= geometry.l0_width and y1 <= geometry.l0_height else "partly"


def _warning(shape: shapely.Polygon, index: int) -> RoiWarning:
    found = _PLACE.search(shapely.is_valid_reason(shape))
    return RoiWarning(
        message="The rings of a polygon cross, touch or overlap: what an odd number of them encloses is inside.",
        polygon=index,
        place=None if found is None else (float(found[1]), float(found[2])),
    )
