"""Where on the slide there is tissue: a small mask that depends on the slide alone, not on model, region or seed.

Glass is bright and without colour, so its darkest channel is high. How high is measured on the slide; what lies clearly
below is tissue. A dark slide (fluorescence) has no glass and counts as tissue everywhere.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import floor, isqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.slide import Pixels, Slide
from workers.core.store import atomic_write
from workers.pipeline.tiling import Box, Region, WorkingPlane, exact, level_downsample

Mask = npt.NDArray[np.bool_]

UM_PER_PX = 8
"""Aimed-at side of a mask px in µm: a gland lumen shows, a nucleus does not."""

L0_PER_PX_UNKNOWN = 16
"""The same in level-0 px for a slide that does not say its resolution."""

MAX_PX = 2**24
"""About the most px of a mask; larger slides get a coarser one."""

GLASS_MIN, GLASS_MAX_CHROMA = 200, 20
"""Glass is at least this bright in its darkest channel, and at most this colourful."""

PADDING_MIN = 254
"""What scanners fill unscanned places with; no measure of the glass."""

GLASS_DEFAULT = 235
GLASS_MIN_SHARE = 0.005
"""A slide with less glass than this shows no glass level of its own."""

CONTRAST_MIN, CONTRAST_MAX = 18, 30
"""How far below the glass the tissue may begin: Otsu's threshold is kept in this range."""

CLOSE_PX, DILATE_PX, SPECK_PX = 3, 2, 3

HOLE_PX = 1000
"""Glass that tissue encloses is a lumen or a crack, and part of the tissue, up to this many px: 0.064 mm² at 8 µm."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """Tissue on a slide.

    Args:
        mask: bool (rows, columns) that covers the slide from its upper left corner.
        l0_per_px_x: Level-0 px per mask px, horizontally.
        l0_per_px_y: The same, vertically.
    """

    mask: Mask
    l0_per_px_x: Fraction
    l0_per_px_y: Fraction

    @classmethod
    def from_slide(cls, slide: Slide) -> "TissueMask":
        """Find the tissue of a slide.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        level, factor = _overview(slide.geometry)
        ds_x, ds_y = level_downsample(slide.geometry, level)
        return cls(find_tissue(slide.reduced(level, factor)), ds_x * factor, ds_y * factor)

    @classmethod
    def everywhere(cls, geometry: SlideGeometry) -> "TissueMask":
        """Return the mask of a job that skips nothing."""
        return cls(np.ones((1, 1), np.bool_), Fraction(geometry.l0_width), Fraction(geometry.l0_height))

    def any(self, region: Region, plane: WorkingPlane) -> bool:
        """Whether the core of a region holds tissue: exactly when its crop does."""
        rows, columns = self._indices(plane, Box(region.w_x0, region.w_y0, region.width, region.height))
        return bool(self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any())

    def crop(self, box: Box, plane: WorkingPlane) -> Mask:
        """Return the mask in working px: bool (height, width) of a box, False outside the plane."""
        out = np.zeros((box.height, box.width), np.bool_)
        left, right = max(box.w_x, 0), min(box.w_x + box.width, plane.w_width)
        top, bottom = max(box.w_y, 0), min(box.w_y + box.height, plane.w_height)
        if left < right and top < bottom:
            rows, columns = self._indices(plane, Box(left, top, right - left, bottom - top))
            inside = self.mask[rows][:, columns]
            out[top - box.w_y : bottom - box.w_y, left - box.w_x : right - box.w_x] = inside
        return out

    def save(self, path: Path) -> None:
        """Write the mask as a 1-bit PNG that carries its scale, atomically."""
        scale = PngInfo()
        scale.add_text("l0_per_px_x", str(self.l0_per_px_x))
        scale.add_text("l0_per_px_y", str(self.l0_per_px_y))
        with atomic_write(path) as temporary:
            Image.fromarray(self.mask).save(temporary, format="PNG", pnginfo=scale)

    @classmethod
    def load(cls, path: Path) -> "TissueMask":
        """Read what `save` wrote."""
        with Image.open(path) as image:
            x, y = Fraction(image.info["l0_per_px_x"]), Fraction(image.info["l0_per_px_y"])
            return cls(np.asarray(image.convert("1")), x, y)

    def _indices(self, plane: WorkingPlane, box: Box) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the mask (rows, columns) in which the working px of a box begin. The box lies within the plane."""
        rows = _floor_all(plane.scale_y / self.l0_per_px_y, box.w_y, box.height, self.mask.shape[0])
        columns = _floor_all(plane.scale_x / self.l0_per_px_x, box.w_x, box.width, self.mask.shape[1])
        return rows, columns


def find_tissue(overview: Pixels) -> Mask:
    """Return the tissue of an overview, uint8 (height, width, 3) → bool (height, width)."""
    darkest = overview.min(axis=2)
    glass = glass_level(darkest, overview.max(axis=2) - darkest)
    below = np.clip(glass - darkest.astype(np.int16), 0, 255).astype(np.uint8)
    threshold = min(max(otsu(below), CONTRAST_MIN), CONTRAST_MAX)
    tissue = _without_specks(below > threshold)
    return _without_holes(dilated(closed(tissue, CLOSE_PX), DILATE_PX))


def dilated(mask: Mask, radius: int) -> Mask:
    """Return the mask grown by a square of side 2 * radius + 1; beyond its edge there is no tissue.

    Grey morphology gives the same as binary does, and goes over rows and columns one after the other: half the time.
    """
    grown: Mask = ndimage.grey_dilation(mask, (2 * radius + 1,) * 2, mode="constant")
    return grown


def closed(mask: Mask, radius: int) -> Mask:
    """Return the mask without gaps that a square of side 2 * radius + 1 does not fit in; the edge eats nothing."""
    whole: Mask = ndimage.grey_closing(np.pad(mask, radius), (2 * radius + 1,) * 2, mode="constant")
    return whole[radius:-radius, radius:-radius]


def glass_level(darkest: Pixels, chroma: Pixels) -> int:
    """Return the commonest darkest-channel value of what can be glass, padding left out."""
    bright = darkest[(darkest >= GLASS_MIN) & (chroma <= GLASS_MAX_CHROMA)]
    counts = np.bincount(bright, minlength=256).astype(np.int64)
    padding = int(counts[PADDING_MIN:].sum())
    enough = max(1, floor(GLASS_MIN_SHARE * darkest.size))
    if bright.size - padding >= enough:
        counts[PADDING_MIN:] = 0
        return int(np.convolve(counts, np.ones(5, np.int64), mode="same").argmax())
    return 255 if padding >= enough else GLASS_DEFAULT


def otsu(values: Pixels) -> int:
    """Return Otsu's threshold: `values > threshold` and the rest are the two classes that differ most."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    moment = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def _overview(geometry: SlideGeometry) -> tuple[int, int]:
    """Return the level to read and the block side to average: the coarsest level that is fine enough."""
    target = Fraction(L0_PER_PX_UNKNOWN)
    if geometry.mpp_x is not None and geometry.mpp_y is not None:
        target = max(Fraction(1), UM_PER_PX / exact(max(geometry.mpp_x, geometry.mpp_y)))
    downsamples = [max(level_downsample(geometry, level)) for level in range(len(geometry.levels))]
    fitting = [level for level, downsample in enumerate(downsamples) if downsample <= target]
    level = max(fitting, key=lambda index: downsamples[index], default=0)
    size = geometry.levels[level]
    return level, max(1, floor(target / downsamples[level]), 1 + isqrt(size.width * size.height // MAX_PX))


def _floor_all(ratio: Fraction, start: int, count: int, length: int) -> npt.NDArray[np.int64]:
    last = length - 1
    numerator, denominator = ratio.numerator, ratio.denominator  # Python integers: they may pass 64 bits
    return np.array([min(i * numerator // denominator, last) for i in range(start, start + count)], np.int64)


def _without_specks(mask: Mask) -> Mask:
    """Drop px that have fewer than `SPECK_PX` px, themselves included, in their 3 x 3 neighbourhood."""
    padded = np.pad(mask, 1).astype(np.uint8)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    count = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    kept: Mask = mask & (count >= SPECK_PX)
    return kept


def _without_holes(mask: Mask) -> Mask:
    """Fill what the mask encloses on all four sides, up to `HOLE_PX` px; what reaches the edge may go on outside."""
    holes, _ = ndimage.label(~mask)
    small = np.bincount(holes.ravel()) <= HOLE_PX
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        small[edge] = False
    small[0] = False  # the mask itself
    filled: Mask = mask | small[holes]
    return filled
