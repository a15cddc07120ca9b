"""What spoils a slide as polygons that QuPath opens: pen marks, folds, and what is out of focus."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from workers.core.model.schemas import ModelClass
from workers.core.quality_schemas import QUALITY_NAMES
from workers.core.schemas import Plan
from workers.core.slides.slide import Pixels
from workers.outputs.vector.sheet import Sheet, l0_texts
from workers.outputs.vector.vectorize import write_geojson
from workers.pipeline.quality_map import QualityMap
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import exact

COLOURS = ((30, 90, 220), (240, 170, 0), (0, 190, 200))
"""Of the kinds, in their order."""

CHUNK_PX = 4096


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Pixels in memory, read as an array on the disk is."""

    pixels: Pixels

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    @property
    def chunks(self) -> tuple[int, ...]:
        return CHUNK_PX, CHUNK_PX

    def __getitem__(self, key: Any) -> Any:
        return self.pixels[key]


def write_quality(path: Path, quality: QualityMap, plan: Plan) -> int:
    """Write `path` (.geojson.gz), one Feature per connected piece of `Ink`, `Fold` or `Blur`, in level-0 px.

    Args:
        path: Where to; replaced atomically.
        quality: The map; its last px may reach beyond the slide, their polygons do not.
        plan: The job's plan.

    Returns:
        How many features were written.
    """
    height, width = quality.labels.shape
    size = plan.geometry.l0_width, plan.geometry.l0_height
    classes = tuple(
        ModelClass(index=value, name=name.capitalize(), color=colour)
        for value, (name, colour) in enumerate(zip(QUALITY_NAMES, COLOURS, strict=True), start=1)
    )
    sheet = Sheet(
        name=f"urn:ldiffusion:job:{plan.job_id}:quality",
        l0_x=_within(quality.l0_per_px_x, width, size[0]),
        l0_y=_within(quality.l0_per_px_y, height, size[1]),
        um2_per_pixel=quality.l0_per_px_x * exact(plan.mpp_x) * quality.l0_per_px_y * exact(plan.mpp_y),
        classes=classes,
    )
    arrays = LabelArrays(_Pixels(quality.labels), _Pixels(np.zeros_like(quality.labels)))
    return write_geojson(path, arrays, plan, sheet=sheet)


def _within(scale: Fraction, length: int, l0_length: int) -> list[str]:
    return [*l0_texts(scale, length - 1), str(l0_length)]
