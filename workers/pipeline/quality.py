"""Rules that tell what spoils a section: pen marks. Pure functions of pixels.

Ink is told on the overview (about 8 µm per px) by what is absorbed of the glass's light: optical density adds up where
things lie over each other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.core.slides.slide import Pixels
from workers.pipeline.glass import Glass, Mask

Density = npt.NDArray[np.float32]

BAND_PX = 2**20
"""Px of the overview that are in memory as floats at once."""

SQUARE = np.ones((3, 3), np.bool_)

STAINED_MIN = 0.08
"""Mean optical density from which a px is stained."""

INK_REACH_PX, INK_MIN_PX, INK_NEIGHBOURS = 24, 40, 5
"""A mark goes on so far from where it is certain, has so many px, and is certain where so many of 3 x 3 px are."""

HE_MIN_SHARE, HE_MIN_PX = 0.6, 100
"""Coloured ink is told from H&E, of which green is the channel that is absorbed most in as many of the stained px. Less
px than this say nothing of the stain."""


class InkRule(NamedTuple):
    """How ink differs from H&E; densities are those of red, green and blue."""

    cold: tuple[float, float]
    """Blue and green ink absorb red more than so many times what they absorb of green, and this much more."""
    red: tuple[float, float, float]
    """Red ink absorbs this much of green, at least so many times as much of blue, at most so many times of red."""
    black: tuple[float, float]
    """Black ink absorbs this much of all, and of none so many times as much as of another."""


CERTAIN = InkRule((1.15, 0.06), (0.45, 0.66, 0.2), (0.5, 1.4))
POSSIBLE = InkRule((1.15, 0.03), (0.25, 0.64, 0.3), (0.3, 1.5))


def densities(overview: Pixels, glass: Glass) -> Iterator[tuple[slice, Density]]:
    """Yield bands of rows with the optical density of each channel below the glass, float32 (rows, width, 3)."""
    height, width = overview.shape[:2]
    step = max(1, BAND_PX // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        light = np.maximum(overview[rows], 1) / glass.rows(rows.start, rows.stop, (height, width))
        yield rows, np.maximum(-np.log10(light, out=light), 0, out=light)


def find_ink(overview: Pixels, glass: Glass, dark: Mask) -> Mask:
    """Return where a pen marked the slide, blue, green, red or black: bool (height, width).

    Args:
        overview: The slide at about 8 µm per px, uint8 (height, width, 3).
        glass: Its glass.
        dark: What is dark around the scanned places, bool (height, width): no ink.
    """
    shape = overview.shape[:2]
    certain, possible = np.zeros((2, *shape), np.bool_), np.zeros((2, *shape), np.bool_)
    stained, green = 0, 0
    for rows, density in densities(overview, glass):
        for each, rule in ((certain, CERTAIN), (possible, POSSIBLE)):
            each[:, rows] = _inks(density, rule) & ~dark[rows]
        rest = (density.mean(axis=2) >= STAINED_MIN) & ~possible[:, rows].any(axis=0) & ~dark[rows]
        stained += int(rest.sum())
        green += int((density[rest].argmax(axis=1) == 1).sum())
    if stained >= HE_MIN_PX and green < HE_MIN_SHARE * stained:
        certain[0] = False
    seeds = [_crowded(each) for each in certain]
    ink = np.zeros(shape, np.bool_)
    for seed, around in zip(seeds, possible, strict=True):
        if seed.any():
            ink |= ndimage.binary_dilation(seed, SQUARE, iterations=INK_REACH_PX, mask=around | seed)
    return without_small(ink, INK_MIN_PX) if ink.any() else ink


def without_small(mask: Mask, least_px: int) -> Mask:
    """Return the mask without connected pieces of less px."""
    names, _ = ndimage.label(mask, SQUARE)
    large = np.bincount(names.ravel()) >= least_px
    large[0] = False
    kept: Mask = large[names]
    return kept


def _inks(density: Density, rule: InkRule) -> Mask:
    """Return bool (2, rows, width): coloured ink, black ink."""
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    cold = red > rule.cold[0] * green + rule.cold[1]
    warm = (green > rule.red[0]) & (blue > rule.red[1] * green) & (red < rule.red[2] * green)
    least, most = density.min(axis=2), density.max(axis=2)
    return np.stack((cold | warm, (least > rule.black[0]) & (most < rule.black[1] * least)))


def _crowded(mask: Mask) -> Mask:
    """Return the px of a mask that have enough others around them."""
    if not mask.any():
        return mask
    count = ndimage.convolve(mask.astype(np.uint8), SQUARE.astype(np.uint8), mode="constant")
    kept: Mask = mask & (count >= INK_NEIGHBOURS)
    return kept
