"""A slide at about 8 µm per px, in memory, and what on it is no section: glass, dark surroundings, pen marks."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor, isqrt

import numpy as np

from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.slide import Pixels, Slide
from workers.pipeline.glass import Glass, Mask, dark_surroundings, find_glass, plain_glass
from workers.pipeline.quality import find_ink
from workers.pipeline.tiling import exact, level_downsample

UM_PER_PX = 8
"""Aimed-at side of a px in µm: a gland lumen shows, a nucleus does not."""

L0_PER_PX_UNKNOWN = 16
"""The same in level-0 px for a slide that does not say its resolution."""

MAX_PX = 2**24
"""About the most px of an overview; larger slides get a coarser one."""

DEFAULT_GLASS = plain_glass(np.full(3, 235.0))
"""Of a slide that shows none."""


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """What is known of an overview before its tissue is.

    Args:
        pixels: uint8 (height, width, 3), the slide from its upper left corner.
        dark: What is dark around the scanned places, bool (height, width).
        glass: The glass at each place.
        ink: Pen marks, bool (height, width). None where no glass was found: what is dark there may be anything.
        l0_per_px_x: Level-0 px per px, horizontally.
        l0_per_px_y: The same, vertically.
    """

    pixels: Pixels
    dark: Mask
    glass: Glass
    ink: Mask
    l0_per_px_x: Fraction
    l0_per_px_y: Fraction

    @classmethod
    def of(cls, pixels: Pixels, l0_per_px: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1))) -> "Overview":
        """Look at pixels, uint8 (height, width, 3), of so many level-0 px each."""
        dark = dark_surroundings(pixels)
        glass = find_glass(pixels, dark)
        ink = np.zeros_like(dark) if glass is None else find_ink(pixels, glass, dark)
        return cls(pixels, dark, glass or DEFAULT_GLASS, ink, *l0_per_px)

    @classmethod
    def from_slide(cls, slide: Slide) -> "Overview":
        """Read the overview of a slide; no level is held as a whole.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        level, factor = level_and_factor(slide.geometry)
        ds_x, ds_y = level_downsample(slide.geometry, level)
        return cls.of(slide.reduced(level, factor), (ds_x * factor, ds_y * factor))


def level_and_factor(geometry: SlideGeometry) -> tuple[int, int]:
    """Return the level to read and the block side to average: the coarsest level that is fine enough."""
    target = Fraction(L0_PER_PX_UNKNOWN)
    if geometry.mpp_x is not None and geometry.mpp_y is not None:
        target = max(Fraction(1), UM_PER_PX / exact(max(geometry.mpp_x, geometry.mpp_y)))
    downsamples = [max(level_downsample(geometry, level)) for level in range(len(geometry.levels))]
    fitting = [level for level, downsample in enumerate(downsamples) if downsample <= target]
    level = max(fitting, key=lambda index: downsamples[index], default=0)
    size = geometry.levels[level]
    return level, max(1, floor(target / downsamples[level]), 1 + isqrt(size.width * size.height // MAX_PX))
