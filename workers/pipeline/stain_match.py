"""Does the section of a bright field slide have the colours of H&E? Told from the optical density of its tissue.

Haematoxylin and eosin both absorb green most, and blue less than green; where there is haematoxylin, red is absorbed as
well. So do their mixtures. DAB is brown: it absorbs blue most. Anilin blue and light green absorb red most.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from workers.pipeline.glass import Mask, mean_of
from workers.pipeline.overview import Overview
from workers.pipeline.quality import densities

STAINED_MIN: Final = 0.12
"""Mean optical density from which the hue of a px can be told."""

STAINED_MAX: Final = 1.5
"""Nearly black from here on, as the surroundings of some sections are: its hue is noise."""

MIN_PX: Final = 200
"""Less stained px, of about 8 µm, tell nothing."""

GREEN_MIN_SHARE: Final = 0.8
"""On H&E, of as many of the stained px green is absorbed most."""

BROWN, BROWN_MAX_SHARE = 1.0, 0.08
"""A brown px absorbs so many times as much of blue as of green, or more; no more of them than this share are on H&E."""

RED_MIN, RED_PERCENTILE = 0.15, 95
"""Some of H&E has haematoxylin, and absorbs this much of red for what it absorbs of green."""


@dataclass(frozen=True, slots=True)
class StainHues:
    """The hues of a section.

    Args:
        px: Stained px of the overview.
        green: Share of those of which green is absorbed most, 0 to 1.
        brown: Share of those that are brown.
        red: What is absorbed of red for what is absorbed of green where that is much: the 95th percentile.
    """

    px: int
    green: float
    brown: float
    red: float

    @property
    def unlike_he(self) -> str | None:
        """What H&E does not have; None of a section that may be H&E, or of which nothing can be told."""
        if self.px < MIN_PX:
            return None
        if self.brown > BROWN_MAX_SHARE:
            return f"{self.brown:.0%} of the stained tissue is brown"
        if self.green < GREEN_MIN_SHARE:
            return f"green is absorbed most in {self.green:.0%} of the stained tissue"
        return "no haematoxylin was found" if self.red < RED_MIN else None


def find_hues(overview: Overview, tissue: Mask) -> StainHues:
    """Return the hues of the tissue of an overview, bool (height, width), without ink."""
    px = green = brown = 0
    ratios = np.zeros(256, np.int64)  # of red to green in hundredths, so that memory does not grow with the slide
    for rows, density in densities(overview.pixels, overview.glass):
        mean = mean_of(density)
        told = (mean >= STAINED_MIN) & (mean <= STAINED_MAX)
        seen = density[tissue[rows] & ~overview.ink[rows] & told]
        red, most, blue = seen.T
        px += len(seen)
        green += int((seen.argmax(axis=1) == 1).sum())
        brown += int((blue > BROWN * most).sum())
        hundredths = np.minimum(100 * red / np.maximum(most, 1e-3), 255).astype(np.uint8)
        ratios += np.bincount(hundredths, minlength=256)
    if not px:
        return StainHues(0, 0.0, 0.0, 0.0)
    percentile = int(np.searchsorted(ratios.cumsum(), px * RED_PERCENTILE / 100))
    return StainHues(px, green / px, brown / px, percentile / 100)
