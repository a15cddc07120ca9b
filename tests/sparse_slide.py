"""A slide of very many pixels, a disc of tissue on glass, made up when they are read; taken through all the stages.

`python tests/sparse_slide.py SIDE MODEL_FOLDER OUT`: prints the most memory in bytes, once before and once after.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from colour_worker import ColourEngine
from numpy.typing import NDArray

from workers import stages
from workers.core.model_catalogue import find_model
from workers.core.schemas import JobRequest, SlideGeometry, SlideInfo, SlideLevel
from workers.core.slides.reader import Slide

RADIUS, CELL = 1800, 37
DOWNSAMPLES = (1, 4, 16, 64)


class SparseSlide(Slide):
    """A square of `side` level-0 px at 0.5 µm."""

    backend = "openslide"
    vendor = "made"

    def __init__(self, side: int) -> None:
        levels = tuple(SlideLevel(width=side // by, height=side // by, downsample=by) for by in DOWNSAMPLES)
        self.geometry = SlideGeometry(l0_width=side, l0_height=side, mpp_x=0.5, mpp_y=0.5, levels=levels)

    def close(self) -> None:
        """Hold nothing."""

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> NDArray[np.uint8]:
        l0_x, l0_y = (np.arange(start, start + n) * DOWNSAMPLES[level] for start, n in ((lv_x, width), (lv_y, height)))
        center = self.geometry.l0_width // 2
        inside = (l0_y[:, None] - center) ** 2 + (l0_x - center) ** 2 < RADIUS**2
        checks = (l0_y[:, None] // CELL + l0_x // CELL) % 2
        pixels = np.full((height, width, 3), 243, np.uint8)
        pixels[inside] = np.array([(150, 60, 150), (90, 30, 120)], np.uint8)[checks[inside]]
        return pixels


def peak_bytes() -> int:
    """Return the most memory that this program ever held; what started it does not count."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(side: int, model: Path, out: Path) -> None:
    """Plan, segment, finish."""
    card, slide, now = find_model(model.parent, model.name), SparseSlide(side), datetime.now(UTC)
    engine = ColourEngine(model)
    info = SlideInfo(
        id="s", filename="a.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
        geometry=slide.geometry, created_at=now,
    )  # fmt: skip
    out.mkdir()
    print(peak_bytes())  # noqa: T201
    plan = stages.plan_job(slide, info, JobRequest(slide_id="s", model=card.name), card, out, "job")
    for index in plan.regions:
        stages.segment_one(slide, plan, index, engine, out)
    stages.finish_job(slide, info, plan, out, created_at=now, timings_s={})
    print(peak_bytes())  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
