"""The masks of a job: where there is tissue, what spoils it, and which part of it the job is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np

from workers.core.quality_schemas import QUALITY_NAMES, Quality, QualityName
from workers.core.roi.polygons import MultiPolygon, Polygon
from workers.core.schemas import JobRequest, Plan
from workers.core.slide_schemas import L0Box, SlideInfo
from workers.core.slides.slide import Slide
from workers.pipeline.glass import Mask
from workers.pipeline.overview import Overview
from workers.pipeline.quality_map import FIELDS_MAX, LeftOut, QualityMap, look
from workers.pipeline.roi import Area, RoiMask
from workers.pipeline.stain_match import StainHues, find_hues
from workers.pipeline.tiling import Box, WorkingPlane
from workers.pipeline.tissue import TissueMask

TISSUE, QUALITY = "tissue.png", "quality.png"


@dataclass(frozen=True, slots=True)
class Masks:
    """What the planner finds on a slide.

    Args:
        tissue: What the job counts as tissue: everything, where glass is not to be skipped.
        share: How much of the slide, or of the region of interest, that is: 0 to 1.
        map: What spoils the tissue; None where that is not known.
        quality: How much of it.
        hues: What colours the tissue has; None where that was not looked at.
        places: Where the tissue is spoiled: boxes of each kind, level-0 px.
    """

    tissue: TissueMask
    share: float
    map: QualityMap | None
    quality: Quality | None
    hues: StainHues | None = None
    places: Mapping[QualityName, Sequence[L0Box]] = field(default_factory=dict)

    def save(self, out_dir: Path) -> None:
        """Write them into the folder of a job."""
        self.tissue.save(out_dir / TISSUE)
        (out_dir / QUALITY).unlink(missing_ok=True)
        if self.map is not None:
            self.map.save(out_dir / QUALITY)


def find_masks(slide: Slide, info: SlideInfo, request: JobRequest, mpp: tuple[float, float]) -> Masks:
    """Find tissue, and what spoils it on bright field, on an overview that is read once.

    Args:
        slide: The open slide.
        info: What is stored of it.
        request: What was asked.
        mpp: µm per level-0 px in force.

    Raises:
        SlideUnreadable: A tile cannot be decoded.
    """
    is_bright = info.modality is None or info.modality.name != "fluorescence"
    everything = TissueMask.everywhere(slide.geometry)
    if not request.tissue and not is_bright:
        return Masks(everything, 1.0, None, None)
    overview = Overview.from_slide(slide)
    found = TissueMask.from_overview(overview)
    tissue = found if request.tissue else everything
    roi = _within(overview, request.roi)
    share = _share(found, roi) if request.tissue else 1.0
    if not is_bright:
        return Masks(tissue, share, None, None)
    counted = roi & (found.mask if request.tissue else np.True_)
    wants_all = request.quality or "blur" in request.exclude_quality
    spoiled, quality = look(slide, overview, found.mask, counted, mpp, None if wants_all else FIELDS_MAX)
    size = slide.geometry.l0_width, slide.geometry.l0_height
    places = {name: spoiled.places(name, counted, size) for name in QUALITY_NAMES if quality.share(name)}
    return Masks(tissue, share, spoiled, quality, find_hues(overview, found.mask & roi), places)


def area_of(tissue: TissueMask, roi: Polygon | MultiPolygon | None) -> Area:
    """Return the tissue within a region of interest."""
    return Area(tissue, None if roi is None else RoiMask.from_roi(roi))


def load_tissue(out_dir: Path) -> TissueMask:
    """Return the tissue mask of a job's folder. The last ones stay in memory: many regions ask for the same."""
    path = out_dir / TISSUE
    return _load_tissue(path, path.stat().st_mtime_ns)


def load_area(out_dir: Path, plan: Plan) -> Area:
    """Return what a job is about: the tissue within its region of interest."""
    return area_of(load_tissue(out_dir), plan.roi)


def load_quality(out_dir: Path, plan: Plan) -> QualityMap:
    """Return what spoils the tissue, from a job's folder; a map of nothing where that is not known."""
    if plan.quality is not None:
        return QualityMap.load(out_dir / QUALITY)
    size = Fraction(plan.geometry.l0_width), Fraction(plan.geometry.l0_height)
    return QualityMap(np.zeros((1, 1), np.uint8), *size)


def left_out(out_dir: Path, plan: Plan) -> LeftOut | None:
    """Return what is not counted in the statistics of a job; None if it leaves nothing out."""
    return LeftOut(load_quality(out_dir, plan), plan.exclude_quality) if plan.exclude_quality else None


def _within(overview: Overview, roi: Polygon | MultiPolygon | None) -> Mask:
    """Return the px of an overview whose middle lies in a region of interest."""
    rows, columns = overview.dark.shape
    if roi is None:
        return np.ones((rows, columns), np.bool_)
    plane = WorkingPlane(columns, rows, overview.l0_per_px_x, overview.l0_per_px_y)
    return RoiMask.from_roi(roi).crop(Box(0, 0, columns, rows), plane)


def _share(tissue: TissueMask, within: Mask) -> float:
    return float(tissue.mask[within].mean()) if within.any() else 1.0  # a region within one px of the mask


@lru_cache(maxsize=2)
def _load_tissue(path: Path, mtime_ns: int) -> TissueMask:  # noqa: ARG001 (part of the key: the file may be new)
    return TissueMask.load(path)
