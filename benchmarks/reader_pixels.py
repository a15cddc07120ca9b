"""How far pixels read from stored tiles are from those of OpenSlide: part of `benchmarks.readers`.

A piece of the slide becomes a TIFF with a level that is 2 times smaller, up to a px: a downsample that is no whole
number, as most slides of scanners have it. Both levels are compared in the blocks that OpenSlide was asked for.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import openslide
import tifffile

from benchmarks.report import Figure
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide

SIZE = 4099, 3998
BLOCK_PX = 256


def made_pyramid(slide: Slide, path: Path) -> Path:
    """Write the middle of a slide with a level of half its size."""
    size = slide.geometry.levels[0]
    width, height = (min(length, most) for length, most in zip((size.width, size.height), SIZE, strict=True))
    pixels = slide.read_level(0, (size.width - width) // 2, (size.height - height) // 2, width, height)
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 2):
            tiff.write(
                pixels[::step, ::step], photometric="rgb", subsampling=(2, 2), tile=(256, 256), compression="jpeg",
                subfiletype=int(step > 1), metadata=None,
            )  # fmt: skip
    return path


def differences(path: Path, level: int) -> tuple[float, int]:
    """Return the mean and the largest difference in grey levels between a level and what OpenSlide shows of it."""
    total, count, largest = 0, 0, 0
    with open_slide(path) as ours, openslide.OpenSlide(path) as theirs:
        size, step = ours.geometry.levels[level], theirs.level_downsamples[level]
        for y, x in product(range(0, size.height, BLOCK_PX), range(0, size.width, BLOCK_PX)):
            width, height = min(BLOCK_PX, size.width - x), min(BLOCK_PX, size.height - y)
            image = theirs.read_region((round(x * step), round(y * step)), level, (width, height)).convert("RGB")
            found = np.abs(ours.read_level(level, x, y, width, height).astype(np.int16) - np.asarray(image))
            total, count, largest = total + int(found.sum()), count + found.size, max(largest, int(found.max()))
    return total / count, largest


def figures_of(path: Path, folder: Path) -> Iterator[Figure]:
    """Yield the differences at the finest level, and at one whose downsample is no whole number."""
    with open_slide(path) as slide:
        made = made_pyramid(slide, folder / "pyramid.tif")
    for level, name in enumerate(("finest", "level_between")):
        mean, largest = differences(made, level)
        yield Figure(f"readers.px_difference_{name}", mean, "grey levels", (0, largest))
