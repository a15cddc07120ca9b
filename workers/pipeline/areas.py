"""What a job is about, from its folder: the tissue that was found, within the region of interest."""

from functools import lru_cache
from pathlib import Path

from workers.core.roi.polygons import MultiPolygon, Polygon
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry
from workers.pipeline.roi import Area, RoiMask
from workers.pipeline.tiling import Box, WorkingPlane
from workers.pipeline.tissue import TissueMask

TISSUE = "tissue.png"


def load_tissue(out_dir: Path) -> TissueMask:
    """Return the tissue mask of a job's folder. The last ones stay in memory: many regions ask for the same."""
    path = out_dir / TISSUE
    return _load_tissue(path, path.stat().st_mtime_ns)


def load_area(out_dir: Path, plan: Plan) -> Area:
    """Return what a job is about: the tissue within its region of interest."""
    return area_of(load_tissue(out_dir), plan.roi)


def area_of(tissue: TissueMask, roi: Polygon | MultiPolygon | None) -> Area:
    """Return the tissue within a region of interest."""
    return Area(tissue, None if roi is None else RoiMask.from_roi(roi))


def tissue_share(tissue: TissueMask, roi: Polygon | MultiPolygon | None, geometry: SlideGeometry) -> float:
    """Return how much of the slide, or of a region of interest on it, is tissue: 0 to 1, counted in px of the mask."""
    if roi is None:
        return float(tissue.mask.mean())
    rows, columns = tissue.mask.shape
    plane = WorkingPlane(geometry.l0_width, geometry.l0_height, tissue.l0_per_px_x, tissue.l0_per_px_y)
    inside = RoiMask.from_roi(roi).crop(Box(0, 0, columns, rows), plane)
    return float(tissue.mask[inside].mean()) if inside.any() else 1.0  # a region within one px of the mask


@lru_cache(maxsize=2)
def _load_tissue(path: Path, mtime_ns: int) -> TissueMask:  # noqa: ARG001 (part of the key: the file may be new)
    return TissueMask.load(path)
