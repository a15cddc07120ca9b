"""How much of each class there is: pixels, mm², share of the tissue, mean confidence, objects. Counted by chunks."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from workers.core.frozen import Frozen
from workers.core.schemas import Plan
from workers.core.slide_schemas import L0Box
from workers.core.storage.files import write_json
from workers.outputs.vector.counts import ClassObjects
from workers.pipeline.stitch import LabelArrays, UInt8
from workers.pipeline.tiling import Box, WorkingPlane, exact

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
VALUES = 256
COUNT_PX = 2**21
"""Pixels that are counted at once: counting takes 8 bytes for each."""


class Tissue(Protocol):
    """What is asked of a tissue mask."""

    def crop(self, box: Box, plane: WorkingPlane) -> Bools:
        """Return bool (height, width): where there is tissue in a box of the plane."""


class ClassStatistics(Frozen):
    """One class within the tissue; the background of index 0 is a class like the others."""

    index: int
    name: str
    color: tuple[int, int, int]
    pixels: int = Field(description="Pixels of the working plane.")
    mm2: float
    share_of_tissue: float | None = Field(description="Of all tissue pixels, 0 to 1; None on a slide without tissue.")
    mean_confidence: float | None = Field(description="Mean of the largest probability; None without pixels.")
    count: int | None = Field(default=None, description="Objects, those of small_count left out; None of background.")
    density_per_mm2: float | None = Field(default=None, description="Of those, per mm² of all tissue.")
    small_count: int | None = Field(default=None, description="Objects below the model's smallest_um2.")
    small_mm2: float | None = Field(default=None, description="Area of those; it is part of mm2.")
    largest_um2: float | None = Field(default=None, description="Area of the largest object; None without objects.")
    largest_box: L0Box | None = Field(default=None, description="Where that is: x0, y0, x1, y1 in level-0 px.")


class Statistics(Frozen):
    """`statistics.json`. The classes' pixels add up to the tissue's."""

    mm2_per_pixel: float
    slide_mm2: float
    tissue_mm2: float = Field(description="What is counted, without what is left out.")
    excluded_mm2: float | None = Field(default=None, description="Left out as spoiled; None if nothing was to be.")
    classes: tuple[ClassStatistics, ...]


class Counts(NamedTuple):
    """What was counted within the tissue.

    Attributes:
        pixels: Of each value of the labels.
        confidence: Sum of the confidence over them.
        excluded: Px that were left out; None if nothing was to be.
    """

    pixels: Ints
    confidence: Ints
    excluded: int | None


def count_pixels(arrays: LabelArrays, tissue: Tissue | None, plan: Plan, left_out: Tissue | None = None) -> Counts:
    """Count classes and confidence within the tissue; arguments as for `compute`."""
    plane = WorkingPlane.from_plan(plan)
    pixels, confidence = np.zeros((2, VALUES), np.int64)
    excluded = 0
    for labels, certain, inside, spoiled in _pieces(arrays, tissue, left_out, plane):
        counted = inside
        if spoiled is not None:
            excluded += int((inside & spoiled).sum())
            counted = inside & ~spoiled
        is_whole = bool(counted.all())
        labelled = labels != 0  # the rest of what is counted is background
        held = np.flatnonzero(labelled if is_whole else labelled & counted)
        # One count per pair of values keeps the sum in integers.
        pairs = labels.ravel()[held].astype(np.uint16) << 8 | certain.ravel()[held]
        counts = np.bincount(pairs, minlength=VALUES**2).reshape(VALUES, VALUES)
        found, sums = counts.sum(axis=1), counts @ np.arange(VALUES)
        found[0] = np.count_nonzero(counted) - len(held)
        sums[0] = (certain if is_whole else certain * counted).sum(dtype=np.int64) - sums.sum()
        pixels += found
        confidence += sums
    return Counts(pixels, confidence, None if left_out is None else excluded)


def compute(
    arrays: LabelArrays,
    tissue: Tissue | None,
    plan: Plan,
    objects: Mapping[int, ClassObjects] | None = None,
    left_out: Tissue | None = None,
) -> Statistics:
    """Count classes and confidence within the tissue.

    Args:
        arrays: Labels and confidence of the working plane.
        tissue: Where there is tissue; None takes the whole plane.
        plan: The plan they were made for. A working px measures its `model_mpp` squared, exactly.
        objects: Of each class index, if they were counted; also those on what is left out.
        left_out: What of the tissue is not counted; its area is told.
    """
    return _statistics(plan, count_pixels(arrays, tissue, plan, left_out), objects or {})


def write_statistics(path: Path, counts: Counts, plan: Plan, objects: Mapping[int, ClassObjects]) -> Statistics:
    """Write what was counted as JSON, atomically, and return it; arguments as for `compute`."""
    found = _statistics(plan, counts, objects)
    write_json(path, found)
    return found


def read_statistics(out_dir: Path) -> Statistics:
    """Return what stands in `statistics.json` of a job's folder."""
    return Statistics.model_validate_json((out_dir / "statistics.json").read_bytes())


def _pieces(
    arrays: LabelArrays, tissue: Tissue | None, left_out: Tissue | None, plane: WorkingPlane
) -> Iterator[tuple[UInt8, UInt8, Bools, Bools | None]]:
    """Yield labels, confidence, tissue and what of it is left out, if anything, a few rows of a chunk at a time.

    Chunks with tissue are decoded once, the others not at all.
    """
    height, width = arrays.labels.shape
    chunk_rows, chunk_columns = arrays.labels.chunks
    for w_y in range(0, height, chunk_rows):
        for w_x in range(0, width, chunk_columns):
            box = Box(w_x, w_y, min(chunk_columns, width - w_x), min(chunk_rows, height - w_y))
            area = slice(w_y, w_y + box.height), slice(w_x, w_x + box.width)
            inside = np.ones((box.height, box.width), np.bool_) if tissue is None else tissue.crop(box, plane)
            if not inside.any():  # nothing here is counted
                continue
            labels, confidence = arrays.labels[area], arrays.confidence[area]
            spoiled = None if left_out is None else left_out.crop(box, plane)
            rows = max(1, COUNT_PX // box.width)
            for top in range(0, box.height, rows):
                piece = slice(top, top + rows)
                yield labels[piece], confidence[piece], inside[piece], None if spoiled is None else spoiled[piece]


def _statistics(plan: Plan, counts: Counts, objects: Mapping[int, ClassObjects]) -> Statistics:
    pixels, confidence, excluded = counts
    mm2_per_pixel = (exact(plan.model_mpp) / 1000) ** 2
    tissue_pixels = int(pixels.sum())
    rows = []
    for each in plan.classes:
        count = int(pixels[each.index])
        rows.append(
            ClassStatistics(
                index=each.index,
                name=each.name,
                color=each.color,
                pixels=count,
                mm2=float(count * mm2_per_pixel),
                share_of_tissue=_ratio(count, tissue_pixels),
                mean_confidence=_ratio(int(confidence[each.index]), 255 * count),
                **_of_objects(objects.get(each.index), plan, tissue_pixels + (excluded or 0)),
            )
        )
    return Statistics(
        mm2_per_pixel=float(mm2_per_pixel),
        slide_mm2=float(plan.w_width * plan.w_height * mm2_per_pixel),
        tissue_mm2=float(tissue_pixels * mm2_per_pixel),
        excluded_mm2=None if excluded is None else float(excluded * mm2_per_pixel),
        classes=tuple(rows),
    )


def _of_objects(found: ClassObjects | None, plan: Plan, tissue_pixels: int) -> dict[str, Any]:
    if found is None:
        return {}
    mm2_per_pixel = (exact(plan.model_mpp) / 1000) ** 2
    return {
        "count": found.count,
        "density_per_mm2": float(found.count / (tissue_pixels * mm2_per_pixel)) if tissue_pixels else None,
        "small_count": found.small_count,
        "small_mm2": float(found.small_pixels * mm2_per_pixel),
        "largest_um2": float(found.largest_pixels * mm2_per_pixel * 10**6) if found.largest_pixels else None,
        "largest_box": None if found.largest_box is None else _l0_box(found.largest_box, plan),
    }


def _l0_box(w_box: tuple[int, int, int, int], plan: Plan) -> L0Box:
    """Return the level-0 px that a box of working px touches."""
    plane = WorkingPlane.from_plan(plan)
    x0, y0, x1, y1 = w_box
    right, bottom = ceil(x1 * plane.scale_x), ceil(y1 * plane.scale_y)
    l0_width, l0_height = plan.geometry.l0_width, plan.geometry.l0_height
    return floor(x0 * plane.scale_x), floor(y0 * plane.scale_y), min(right, l0_width), min(bottom, l0_height)


def _ratio(part: int, whole: int) -> float | None:
    return float(Fraction(part, whole)) if whole else None
