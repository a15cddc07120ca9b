"""What on an overview is no tissue: the glass and its colour, and what lies around the places that were scanned.

Glass is flat and bright; it may be tinted, grey, or darker towards the corners. Around the scanned places lies what the
scanner or a converter wrote there: a canvas that is lighter than the glass, or a dark one. Both end in long straight
lines along rows and columns, which tissue does not.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.core.slides.slide import Pixels

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.uint8, np.float32)

GLASS_MIN, GLASS_MAX_CHROMA, GLASS_MAX_MAGENTA = 190, 48, 8
"""Glass is at least this bright in its brightest channel and at most this colourful. Magenta is what eosin and
haematoxylin add: how far green lies below the mean of red and blue."""

FLAT_RANGE = 14
"""The most that the green of flat px differs within 3 x 3."""

GLASS_MIN_SHARE, GLASS_MIN_OF_COMMONEST = 0.005, 0.1
"""A shade with less px than this, of the overview or of the commonest shade, is no shade of glass."""

SHADE_WIDTH = 6
"""Shades of the darkest channel that are nearer than this are one."""

SHADING_REACH, SHADING_STEP, SHADING_FITS, SHADING_SIDE = 28, 8, 6, 256
"""How far from its commonest shade the glass may be shaded, how far px may lie from the last fit to be in the next one,
how many fits there are, and into how many px a side the overview is thinned out for them."""

DARK_MAX, DARK_MAX_CHROMA, DARK_NOISE = 80, 24, 24
"""Dark surroundings are at most this bright in their brightest channel, and at most this colourful. At full resolution
px are this much brighter than most of the overview's: nuclei beside black are not as dark as that."""

DARK_MIN_PX = 64
DARK_MIN_BORDER = 0.1
"""Dark px are surroundings if they make up this share of the overview's border, or if their own border is straight."""

LIT_MIN_CHANNEL, LIT_SHARE = 40, 0.8
"""A dark overview of which this share of the other px is not lit in every channel is fluorescence: all is tissue."""

STRAIGHT_RUN_PX, STRAIGHT_SHARE = 16, 0.5
"""A border is straight if this share of it lies in runs of this many px."""


@dataclass(frozen=True, slots=True, eq=False)
class Glass:
    """The colour of the glass at each place.

    Args:
        terms: float (6, 3): the factors of 1, x, y, x², xy, y² for each channel, x and y from -1 to 1.
        least: float (3): no darker than this, and
        most: float (3): no lighter, as the glass that was seen.
    """

    terms: Floats
    least: Floats
    most: Floats

    def rows(self, start: int, stop: int, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return the glass of some rows of an overview of this shape, float32 (stop - start, width, 3)."""
        y, x = np.linspace(-1, 1, shape[0])[start:stop], np.linspace(-1, 1, shape[1])
        out = np.empty((stop - start, shape[1], 3), np.float32)
        for channel, (one, along, down, along2, both, down2) in enumerate(self.terms.T):
            across = one + along * x + along2 * x**2
            out[..., channel] = across + y[:, np.newaxis] * (down + both * x) + (down2 * y**2)[:, np.newaxis]
        return np.clip(out, self.least, self.most, out=out, casting="same_kind")


def darkest_of(pixels: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the smallest channel of each px of (height, width, 3): as `min(axis=2)`, which takes ten times as long."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.minimum(np.minimum(red, green), blue)


def brightest_of(pixels: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the largest channel of each px of (height, width, 3): as `max(axis=2)`."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.maximum(np.maximum(red, green), blue)


def mean_of(density: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean of the channels of each px, float32 (height, width, 3): as `mean(axis=2)`, in the same order."""
    found: npt.NDArray[np.float32] = (density[..., 0] + density[..., 1] + density[..., 2]) / np.float32(3)
    return found


def plain_glass(colour: Floats) -> Glass:
    """Return glass of one colour, float (3)."""
    return Glass(np.vstack((colour, np.zeros((5, 3)))), colour, colour)


def find_glass(overview: Pixels, dark: Mask) -> Glass | None:
    """Return the glass of an overview, uint8 (height, width, 3); None where it shows none.

    Args:
        overview: The slide at about 8 µm per px.
        dark: What is dark around the scanned places, bool (height, width).
    """
    candidate = _can_be_glass(overview) & ~dark
    darkest = darkest_of(overview)
    found: int | None = None
    for shade in _shades(darkest[candidate], overview.shape[0] * overview.shape[1]):
        if found is None or _is_scanned_area(darkest, found, dark):
            found = shade
    if found is None:
        return None
    near = candidate & (np.abs(darkest.astype(np.int16) - found) <= SHADING_REACH)
    return _shaded(overview, near, found)


def dark_surroundings(overview: Pixels) -> Mask:
    """Return what is dark around the scanned places, bool (height, width); nothing on a dark slide (fluorescence)."""
    dark = is_dark(overview)
    if np.count_nonzero(dark) < DARK_MIN_PX:
        return np.zeros_like(dark)
    dark = ndimage.binary_closing(np.pad(dark, 1, mode="edge"), np.ones((3, 3)))[1:-1, 1:-1]
    dark = ndimage.binary_opening(np.pad(dark, 2, mode="edge"), np.ones((3, 3)))[2:-2, 2:-2]
    rest = darkest_of(overview)[~dark]
    if not rest.size or (rest >= LIT_MIN_CHANNEL).mean() < LIT_SHARE:
        return np.zeros_like(dark)
    names, count = ndimage.label(dark)
    sizes = np.bincount(names.ravel(), minlength=count + 1)
    border = np.concatenate((names[0], names[-1], names[1:-1, 0], names[1:-1, -1]))
    at_border = np.bincount(border, minlength=count + 1) / border.size
    taken = np.zeros(count + 1, np.bool_)
    for name, box in enumerate(ndimage.find_objects(names), start=1):
        if sizes[name] >= DARK_MIN_PX:
            taken[name] = at_border[name] >= DARK_MIN_BORDER or is_straight(np.pad(names[box] == name, 1))
    kept: Mask = taken[names]
    return kept


def darkness(overview: Pixels, dark: Mask) -> int:
    """Return how bright px of the dark surroundings may be at full resolution, where noise is not averaged."""
    shades = brightest_of(overview)[dark]
    return min(DARK_MAX, int(np.median(shades)) + DARK_NOISE) if shades.size else DARK_MAX


def is_dark(pixels: Pixels, most: int = DARK_MAX) -> Mask:
    """Return which px are as dark as surroundings are, and as little colourful: bool (height, width)."""
    brightest = brightest_of(pixels)
    found: Mask = (brightest <= most) & (brightest - darkest_of(pixels) <= DARK_MAX_CHROMA)
    return found


def is_straight(mask: Mask) -> bool:
    """Whether most of the border of a mask lies in long runs along rows and columns."""
    straight = total = 0
    for turned in (mask, mask.T):
        edge = (turned[:, 1:] != turned[:, :-1]).T  # each row: one line between two columns
        flat = np.pad(edge, ((0, 0), (1, 1))).ravel().astype(np.int8)
        steps = np.diff(flat)
        runs = np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)
        straight += int(runs[runs >= STRAIGHT_RUN_PX].sum())
        total += int(runs.sum())
    return total > 0 and straight >= STRAIGHT_SHARE * total


def _can_be_glass(overview: Pixels) -> Mask:
    """Return the px that are bright, flat, and of no colour that stains have."""
    green = overview[..., 1]
    flat = ndimage.maximum_filter(green, 3) - ndimage.minimum_filter(green, 3) <= FLAT_RANGE
    darkest, brightest = darkest_of(overview), brightest_of(overview)
    magenta = (overview[..., 0].astype(np.int16) + overview[..., 2]) // 2 - green
    bright = (brightest >= GLASS_MIN) & (brightest - darkest <= GLASS_MAX_CHROMA)
    found: Mask = flat & bright & (magenta <= GLASS_MAX_MAGENTA)
    return found


def _shades(darkest: Pixels, overview_px: int) -> list[int]:
    """Return the common shades of what can be glass, from light to dark."""
    counts = np.convolve(np.bincount(darkest, minlength=256), np.ones(5, np.int64), mode="same")
    least = max(1.0, GLASS_MIN_SHARE * overview_px, GLASS_MIN_OF_COMMONEST * counts.max())
    found = []
    while counts.max() >= least:
        shade = int(counts.argmax())
        found.append(shade)
        counts[max(0, shade - SHADE_WIDTH) : shade + SHADE_WIDTH + 1] = 0
    return sorted(found, reverse=True)


def _is_scanned_area(darkest: Pixels, canvas: int, dark: Mask) -> bool:
    """Whether what is darker than this shade ends in straight lines: then the shade is that of a canvas."""
    area = (darkest < canvas - SHADE_WIDTH // 2) & ~dark
    area = ndimage.binary_opening(np.pad(area, 1, mode="edge"), np.ones((3, 3)))[1:-1, 1:-1]
    return is_straight(ndimage.binary_fill_holes(area))


def _shaded(overview: Pixels, near: Mask, shade: int) -> Glass:
    """Fit the shading of the glass, from its commonest shade on: what is pale but ends abruptly is never reached."""
    thin = max(1, max(near.shape) // SHADING_SIDE)
    y, x = (np.linspace(-1, 1, length) for length in near.shape)
    rows, columns = np.nonzero(near[::thin, ::thin])
    colours = overview[::thin, ::thin][rows, columns].astype(np.float64)
    if len(colours) == 0:
        return plain_glass(np.full(3, float(shade)))
    y, x = y[::thin][rows], x[::thin][columns]
    basis = np.stack((np.ones_like(x), x, y, x**2, x * y, y**2), axis=1)
    flat = plain_glass(np.median(colours[np.abs(colours.min(axis=1) - shade) <= 4], axis=0))
    middle = flat.least
    terms, least, most = flat.terms, middle, middle
    for _ in range(SHADING_FITS):
        on = (np.abs(colours - basis @ terms) <= SHADING_STEP).all(axis=1)
        if on.sum() >= 10 * len(terms):
            ridge = 1e-3 * on.sum() * np.diag([0.0, 1, 1, 1, 1, 1])  # few px in one corner say nothing of the others
            normal = basis[on].T @ basis[on] + ridge
            terms = flat.terms + np.linalg.solve(normal, basis[on].T @ (colours[on] - middle))
            least, most = np.percentile(colours[on], (1, 99), axis=0)
    return Glass(terms, least, most)
