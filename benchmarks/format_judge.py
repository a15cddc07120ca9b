"""What a reader makes of a slide beside the truth of it: size, µm per px, 64 px of every level, the far view.

Labels of a model are too slow for hundreds of files; the stand-in is the tissue mask of the far view, which says what
would be segmented at all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.format_slides import Good, UInt8
from server.intake.probe import examine
from workers.core.errors.base import LDiffusionError, MppImplausible, MppMissing
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.resolution import resolve_mpp
from workers.core.slides.slide import Slide

SAMPLES = 64
FAR_PX = 160
MODEL_MPP = 50
"""Of a model that takes any slide: what is too coarse for one model is no fault of a file."""
MAX_PIXELS = 2**36
OUTLIER, OUTLIERS = 40, 3
"""A lossy px is off by no more than this, but for so many of 64."""


@dataclass(frozen=True)
class Seen:
    """What came of a slide.

    Attributes:
        refused: The sentence it was refused with, None if it was read.
        warnings: Code and value of every warning.
        modality: What it was taken for.
        differs: In what it differs from the truth, empty where it does not.
    """

    refused: str | None
    warnings: frozenset[tuple[str, str | None]]
    modality: str
    differs: tuple[str, ...]


def look(path: Path, good: Good) -> Seen:
    """Read a slide as every door does and compare it with the truth of another, or of itself."""
    try:
        report = examine(path, MAX_PIXELS)
        with open_slide(path) as slide:
            differs = tuple(_differences(slide, good))
            if good.mpp is not None:
                resolve_mpp(slide.geometry, None, MODEL_MPP)
    except (MppMissing, MppImplausible) as error:  # no job starts without
        return Seen(error.code, frozenset(), "", ())
    except LDiffusionError as error:
        return Seen(f"{error.code}: {error.message} {error.value}", frozenset(), "", ())
    found = frozenset((each.code, each.value) for each in report.warnings)
    return Seen(None, found, report.modality.name, differs)


def _differences(slide: Slide, good: Good) -> list[str]:
    if good.is_refused:
        return ["read, and it is not understood"]
    height, width = good.pixels.shape[:2]
    size = slide.geometry.l0_width, slide.geometry.l0_height
    found = [] if size == (width, height) else [f"size {size[0]} x {size[1]}"]
    mpp = slide.geometry.mpp_x, slide.geometry.mpp_y
    is_same_mpp = good.mpp is None or all(m is not None and abs(m / good.mpp - 1) < 0.01 for m in mpp)
    found += [] if is_same_mpp or mpp == (None, None) else [f"mpp {mpp[0]} x {mpp[1]}"]
    if size != (width, height):
        return found
    found += [
        f"colours of level {level}" for level in range(len(slide.geometry.levels)) if not _agrees(slide, level, good)
    ]
    far = far_difference(slide.thumbnail(FAR_PX), good)
    return found + ([] if far <= good.tolerance + 2 else ["far view"]) + _tissue(slide, good)


def _agrees(slide: Slide, level: int, good: Good) -> bool:
    """Whether 64 px of a level are those of the truth, averaged over what a px covers."""
    size = slide.geometry.levels[level]
    factor = round(size.downsample)
    rng = np.random.default_rng(level)
    places = zip(rng.integers(0, size.width - 1, SAMPLES), rng.integers(0, size.height - 1, SAMPLES), strict=True)
    picture = slide.read_level(level, 0, 0, size.width, size.height) if size.width * size.height < 2**22 else None
    off = []
    for x, y in places:
        found = picture[y, x] if picture is not None else slide.read_level(level, int(x), int(y), 1, 1)[0, 0]
        wanted = good.pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].mean(axis=(0, 1))
        off.append(float(np.abs(found - wanted).max()))
    if not good.is_lossy:
        return max(off) <= 2
    return float(np.mean(off)) <= good.tolerance and sum(each > OUTLIER for each in off) <= OUTLIERS


def far_truth(good: Good, width: int, height: int) -> UInt8:
    """Return the truth reduced by means of boxes."""
    if good.pixels.strides[0] == 0:  # one colour, however large
        return np.broadcast_to(good.pixels[0, 0], (height, width, 3))
    return np.asarray(Image.fromarray(good.pixels).resize((width, height), Image.Resampling.BOX))


def far_difference(far: UInt8, good: Good) -> float:
    """Return the mean difference of a far view from the truth reduced by means of boxes."""
    truth = far_truth(good, far.shape[1], far.shape[0])
    return float(np.abs(far.astype(int) - truth).mean())


def _tissue(slide: Slide, good: Good) -> list[str]:
    """Compare what counts as tissue: the share of px that are dark or coloured."""
    far = slide.thumbnail(FAR_PX)
    found, wanted = _stained(far), _stained(far_truth(good, far.shape[1], far.shape[0]))
    return [] if float((found != wanted).mean()) <= 0.02 else ["tissue"]


def _stained(far: UInt8) -> NDArray[np.bool_]:
    return np.asarray(far.min(axis=2) < 215)
