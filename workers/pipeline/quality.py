"""Rules that tell what spoils a section: pen marks, folds, and what is out of focus. Pure functions of pixels.

Ink and folds are told on the overview (about 8 µm per px) by what is absorbed of the glass's light: optical density
adds up where things lie over each other. Focus is told on fields of about 1 µm per px, by how much of the detail is
the finest.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.core.slides.slide import Pixels
from workers.pipeline.glass import Glass, Mask, brightest_of, darkest_of, mean_of

Density = npt.NDArray[np.float32]

BAND_PX, LINE_PX = 2**20, 2**17
"""Px of the overview that are in memory as floats at once."""

SQUARE = np.ones((3, 3), np.bool_)

STAINED_MIN = 0.08
"""Mean optical density from which a px is stained."""

INK_REACH_PX, INK_MIN_PX, INK_NEIGHBOURS = 24, 40, 5
"""A mark goes on so far from where it is certain, has so many px, and is certain where so many of 3 x 3 px are."""

FOLD_MIN_TISSUE_PX, FOLD_MIN_PX, FOLD_REACH_PX = 4096, 60, 24
"""Less tissue says nothing of what is usual on a slide; a fold has so many px, and goes on so far from where it is
certain."""

HUES, HUE_STEP, HUE_MIN_SHARE, HUE_MIN_PX = 24, 1 / 16, 0.002, 50
"""Hues are told apart by what is absorbed of red for what is absorbed of green. Rarer ones borrow from their
neighbours."""

LINE_REACH_PX, LINE_STEP_PX, LINE_TURNS, LINE_MIN = 12, 2, 12, 5
"""Lines of so many px to both sides of their middle, looked at in so many px of them and in so many directions; as many
of these px have to be tissue."""

LINE_MARGIN_PX = LINE_REACH_PX + 3
"""What a line at the edge of a band asks of its neighbours; smoothing takes 3 px more."""

FOLD_USUAL, FOLD_SPREADS, FOLD_MIN, FOLD_SOFT = 0.95, 2.0, 0.6, 0.55
"""A fold begins at so many times the spread of the slide's own lines above their median, and at least at this many
doublings of the density. The spread ends where this share of the lines lies below; a fold goes on at a part of it."""

LEVELS_PER_DOUBLING, LEVELS_PER_DENSITY = 48, 128
"""Steps in which a line, and a density, is kept."""

BLUR_MIN_PX, BLUR_MIN_CONTRAST, BLUR_FINE, BLUR_COARSE = 48, 1.0, 0.42, 0.26
"""Side of a field, and variance of its coarse detail, from which focus can be told; ratios of fine detail to coarser
below which it is out of focus, see `is_blurred`."""

HE_MIN_SHARE, HE_MIN_PX = 0.6, 100
"""Coloured ink is told from H&E, of which green is the channel that is absorbed most in as many of the stained px. Less
px than this say nothing of the stain."""


class InkRule(NamedTuple):
    """How ink differs from H&E; densities are those of red, green and blue."""

    cold: tuple[float, float]
    """Blue and green ink absorb red more than so many times what they absorb of green, and this much more."""
    dense: tuple[float, float]
    """Where this much of red is absorbed, so many times what is absorbed of green is enough: no nuclei get there."""
    red: tuple[float, float, float]
    """Red ink absorbs this much of green, at least so many times as much of blue, at most so many times of red."""
    black: tuple[float, float]
    """Black ink absorbs this much of all, and of none so many times as much as of another."""


CERTAIN = InkRule((1.15, 0.06), (0.6, 1.05), (0.45, 0.66, 0.2), (0.5, 1.4))
POSSIBLE = InkRule((1.15, 0.03), (0.6, 1.03), (0.25, 0.64, 0.3), (0.3, 1.5))


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
        rest = (mean_of(density) >= STAINED_MIN) & ~possible[:, rows].any(axis=0) & ~dark[rows]
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


def find_folds(overview: Pixels, glass: Glass, tissue: Mask) -> Mask:
    """Return where the section lies double, bool (height, width): lines that are too dense for their hue.

    A fold absorbs twice what its tissue absorbs and keeps its hue, while nuclei that lie closer change the hue as
    well. So a px is compared with the usual density of its own hue on this slide, and the answer is averaged along
    lines: a fold is long.

    Args:
        overview: The slide at about 8 µm per px, uint8 (height, width, 3).
        glass: Its glass.
        tissue: Where to look, bool (height, width): tissue without ink.
    """
    density, hue = _density_and_hue(overview, glass)
    usual = _usual_density(density, hue, tissue)
    if usual is None:
        return np.zeros_like(tissue)
    excess, lines = np.empty((2, *tissue.shape), np.int8)
    step = max(1, BAND_PX // tissue.shape[1])
    for top in range(0, tissue.shape[0], step):
        above = min(top, LINE_MARGIN_PX)
        rows = slice(top - above, top + step + LINE_MARGIN_PX)
        found = _lines(np.divide(density[rows], usual[hue[rows]], dtype=np.float32), tissue[rows])
        for each, values in zip((excess, lines), found, strict=True):
            each[top : top + step] = values[above : above + step]
    counts = np.bincount(lines[tissue].view(np.uint8) ^ 128, minlength=256).cumsum()
    median, high = (int(np.searchsorted(counts, share * counts[-1])) - 128 for share in (0.5, FOLD_USUAL))
    certain = max(FOLD_MIN * LEVELS_PER_DOUBLING, median + FOLD_SPREADS * (high - median))
    seeds: Mask = tissue & (lines > certain)
    if not seeds.any():
        return seeds
    soft = FOLD_SOFT * certain
    around = seeds | (tissue & (lines > soft) & (excess > 0.8 * soft))
    folds = ndimage.binary_dilation(seeds, SQUARE, iterations=FOLD_REACH_PX, mask=around)
    return without_small(folds, FOLD_MIN_PX)


def tells_folds(tissue: Mask) -> bool:
    """Whether there is enough tissue, bool (height, width) of the overview, to know what is usual on a slide."""
    return int(tissue.sum()) >= FOLD_MIN_TISSUE_PX


def is_blurred(field: Pixels) -> bool | None:
    """Return whether a field is out of focus, None where it shows too little to tell.

    Blur takes the finest detail first. What is left of it is told by the ratio of the energies in neighbouring bands
    of detail, which does not change with stain and contrast: below 1 px to 1 to 2 px, and 1 to 2 px to 2 to 4 px,
    which the rounding of pale fields does not reach.

    Args:
        field: Tissue at about 1 µm per px, uint8 (height, width, 3).
    """
    if min(field.shape[:2]) < BLUR_MIN_PX:
        return None
    green = field[..., 1].astype(np.float32)
    smooth = [green, *(ndimage.gaussian_filter(green, sigma, truncate=3) for sigma in (1, 2, 4))]
    fine, middle, coarse = (float(np.square(a - b)[2:-2, 2:-2].mean()) for a, b in pairwise(smooth))
    if coarse < BLUR_MIN_CONTRAST:
        return None
    return fine < BLUR_FINE * middle or middle < BLUR_COARSE * coarse


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
    cold |= (red > rule.dense[0]) & (red > rule.dense[1] * green)
    warm = (green > rule.red[0]) & (blue > rule.red[1] * green) & (red < rule.red[2] * green)
    least, most = darkest_of(density), brightest_of(density)
    return np.stack((cold | warm, (least > rule.black[0]) & (most < rule.black[1] * least)))


def _crowded(mask: Mask) -> Mask:
    """Return the px of a mask that have enough others around them."""
    if not mask.any():
        return mask
    count = ndimage.convolve(mask.astype(np.uint8), SQUARE.astype(np.uint8), mode="constant")
    kept: Mask = mask & (count >= INK_NEIGHBOURS)
    return kept


def _density_and_hue(overview: Pixels, glass: Glass) -> tuple[Pixels, Pixels]:
    """Return mean density and hue of each px, uint8 (height, width) both, in steps."""
    density, hue = np.empty((2, *overview.shape[:2]), np.uint8)
    for rows, each in densities(overview, glass):
        density[rows] = np.minimum(mean_of(each) * LEVELS_PER_DENSITY + 0.5, 255)
        hue[rows] = np.minimum(each[..., 0] / np.maximum(each[..., 1], 0.02) / HUE_STEP, HUES - 1)
    return density, hue


def _usual_density(density: Pixels, hue: Pixels, tissue: Mask) -> npt.NDArray[np.float32] | None:
    """Return the median density of stained px of each hue, float32 (`HUES`); None with too little tissue."""
    stained = tissue & (density >= STAINED_MIN * LEVELS_PER_DENSITY)
    pairs = hue[stained].astype(np.uint16) << 8 | density[stained]
    counts = np.bincount(pairs, minlength=HUES * 256).reshape(HUES, 256)
    total = int(counts.sum())
    common = np.flatnonzero(counts.sum(axis=1) >= max(HUE_MIN_PX, HUE_MIN_SHARE * total))
    if total < FOLD_MIN_TISSUE_PX or not common.size:
        return None
    medians = [np.searchsorted(each.cumsum(), each.sum() / 2) for each in counts[common]]
    usual: npt.NDArray[np.float32] = np.interp(np.arange(HUES), common, medians).astype(np.float32)
    return usual


def _lines(ratio: Density, tissue: Mask) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Return how dense each px is for its hue, and the densest line through it, int8 in parts of a doubling."""
    excess = np.log2(np.maximum(ndimage.gaussian_filter(ratio, 1, truncate=3), 0.1))
    values, inside = np.pad(excess * tissue, LINE_REACH_PX), np.pad(tissue.view(np.uint8), LINE_REACH_PX)
    height, width = tissue.shape
    best = np.full((height, width), -2, np.float32)
    step = max(1, LINE_PX // width)  # few rows: they stay near the processor
    for top in range(0, height, step):
        here = slice(top, top + step + 2 * LINE_REACH_PX)
        _densest_lines(values[here], inside[here], best[top : top + step])
    steps = [np.rint(np.clip(each * LEVELS_PER_DOUBLING, -127, 127)).astype(np.int8) for each in (excess, best)]
    return steps[0], steps[1]


def _densest_lines(values: Density, inside: Pixels, best: Density) -> None:
    """Raise `best` to the mean of the densest line through each px, of values that have a margin on all sides."""
    height, width = best.shape
    for turn in range(LINE_TURNS):
        angle = np.pi * turn / LINE_TURNS
        total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)
        for at in range(-LINE_REACH_PX, LINE_REACH_PX + 1, LINE_STEP_PX):
            y, x = (LINE_REACH_PX + round(at * part) for part in (np.sin(angle), np.cos(angle)))
            total += values[y : y + height, x : x + width]
            count += inside[y : y + height, x : x + width]
        np.maximum(best, np.where(count >= LINE_MIN, total / np.maximum(count, np.uint8(1)), np.float32(-2)), out=best)
