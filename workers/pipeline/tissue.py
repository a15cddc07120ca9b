"""Where on the slide there is tissue: a small mask that depends on the slide alone, not on model, region or seed.

What lies clearly off the glass is tissue: how far, by darkness and by colour, and against which glass, is measured on
the slide. A dark slide (fluorescence) has no glass and counts as tissue everywhere.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.slide import WHITE, Pixels, Slide
from workers.core.storage.files import atomic_write
from workers.pipeline.glass import DARK_MAX, Glass, Mask, brightest_of, darkest_of, darkness, is_dark
from workers.pipeline.overview import Overview
from workers.pipeline.tiling import Box, Region, WorkingPlane

CONTRAST_MIN, CONTRAST_MAX = 24, 36
"""How far from the glass the tissue may begin: Otsu's threshold is kept in this range."""

FAINT_SHARE, FAINT_MIN, FAINT_PX = 0.45, 6, 100
"""Places of this many px are tissue from this share of the threshold on, and this far from the glass itself."""

MESH_SHARE, MESH_NOISE, WALL_PX, MESH_PX, MESH_DENSITY = 0.5, 4, 5, 13, 0.15
"""Walls of fat begin at this share of the threshold, and so many deviations above the glass. They are narrower than
`WALL_PX`; `MESH_PX` is wider than a cell, and walls fill at least this share of a window of that size."""

GREY_MAX, GREY_SHARE, LINE_PX = 6, 4, 3
"""What has no more colour than this, or than one part in so many of its contrast, and is narrower than this is a
coverslip's edge or dust."""

MIXED_PX, MIXED_REACH_PX, MIXED_MIN, MIXED_CHROMA = 2, 10, 100, 40
"""Beside dark surroundings px are mixed with them. Those that are still this bright and go on from tissue
show it by their colour."""

BAND_PX = 2**20
"""Px of the overview that are in memory as floats at once."""

TISSUE_GREY, DARK_GREY = 200, 55
"""In the PNG."""

SQUARE = np.ones((3, 3), np.bool_)

CLOSE_PX, DILATE_PX, SPECK_PX = 3, 2, 3

INK_RIM_PX, INK_FADE_PX = 2, 8
"""So far beside a pen mark px are mixed with it, and so far it may fade: what is no wider than that is no tissue."""

HOLE_PX = 1000
"""Glass that tissue encloses is a lumen or a crack, and part of the tissue, up to this many px: 0.064 mm² at 8 µm."""


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """Tissue on a slide.

    Args:
        mask: bool (rows, columns) that covers the slide from its upper left corner.
        dark: Of the same shape: what is dark around the scanned places. The rim of the tissue may reach into it.
        l0_per_px_x: Level-0 px per mask px, horizontally.
        l0_per_px_y: The same, vertically.
        dark_most: The brightest a px of the dark surroundings may be.
    """

    mask: Mask
    dark: Mask
    l0_per_px_x: Fraction
    l0_per_px_y: Fraction
    dark_most: int = DARK_MAX

    @classmethod
    def from_slide(cls, slide: Slide) -> "TissueMask":
        """Find the tissue of a slide.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        return cls.from_overview(Overview.from_slide(slide))

    @classmethod
    def from_overview(cls, overview: Overview) -> "TissueMask":
        """Find the tissue of an overview."""
        most = darkness(overview.pixels, overview.dark)
        return cls(find_tissue(overview), overview.dark, overview.l0_per_px_x, overview.l0_per_px_y, most)

    @classmethod
    def everywhere(cls, geometry: SlideGeometry) -> "TissueMask":
        """Return the mask of a job that skips nothing."""
        one = np.ones((1, 1), np.bool_)
        return cls(one, ~one, Fraction(geometry.l0_width), Fraction(geometry.l0_height))

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
            part = self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            alike = part.size == np.count_nonzero(part) or not part.any()  # mostly: then no px needs a look of its own
            inside = part[0, 0] if alike else np.take(part, columns - columns[0], axis=1)[rows - rows[0]]
            out[top - box.w_y : bottom - box.w_y, left - box.w_x : right - box.w_x] = inside
        return out

    def whiten(self, pixels: Pixels, box: Box, plane: WorkingPlane) -> None:
        """Make the dark surroundings white in the pixels of a box, uint8 (height, width, 3), as the plane's outside is.

        Mask px at the border are dark in part: there it is asked of each px whether it is dark itself.
        """
        left, right = max(box.w_x, 0), min(box.w_x + box.width, plane.w_width)
        top, bottom = max(box.w_y, 0), min(box.w_y + box.height, plane.w_height)
        if left >= right or top >= bottom or not self.dark.any():
            return
        rows, columns = self._indices(plane, Box(left, top, right - left, bottom - top))
        y, x = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
        dark = self.dark[y : rows[-1] + 2, x : columns[-1] + 2]
        within = ndimage.binary_erosion(dark, SQUARE, border_value=1)[rows - y][:, columns - x]
        near = _dilated(dark, 1)[rows - y][:, columns - x]
        inside = pixels[top - box.w_y : bottom - box.w_y, left - box.w_x : right - box.w_x]
        inside[within | (near & is_dark(inside, self.dark_most))] = WHITE

    def save(self, path: Path) -> None:
        """Write the masks as a grey PNG that carries their scale, atomically: `TISSUE_GREY`, plus `DARK_GREY`."""
        scale = PngInfo()
        scale.add_text("l0_per_px_x", str(self.l0_per_px_x))
        scale.add_text("l0_per_px_y", str(self.l0_per_px_y))
        scale.add_text("dark_most", str(self.dark_most))
        with atomic_write(path) as temporary:
            grey = self.mask * np.uint8(TISSUE_GREY) + self.dark * np.uint8(DARK_GREY)
            Image.fromarray(grey).save(temporary, format="PNG", pnginfo=scale)

    @classmethod
    def load(cls, path: Path) -> "TissueMask":
        """Read what `save` wrote."""
        with Image.open(path) as image:
            x, y = Fraction(image.info["l0_per_px_x"]), Fraction(image.info["l0_per_px_y"])
            grey = np.asarray(image)
            most = int(image.info["dark_most"])
            return cls(grey >= TISSUE_GREY, grey % TISSUE_GREY == DARK_GREY, x, y, most)

    def _indices(self, plane: WorkingPlane, box: Box) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the mask (rows, columns) in which the working px of a box begin. The box lies within the plane."""
        rows = floor_all(plane.scale_y / self.l0_per_px_y, box.w_y, box.height, self.mask.shape[0])
        columns = floor_all(plane.scale_x / self.l0_per_px_x, box.w_x, box.width, self.mask.shape[1])
        return rows, columns


def find_tissue(overview: Overview) -> Mask:
    """Return the tissue of an overview, bool (height, width). Only its rim may reach into dark surroundings."""
    dark = overview.dark
    hidden = _dilated(overview.ink, INK_RIM_PX)
    contrast, chroma = _against(overview.pixels, overview.glass)
    rim = ndimage.binary_dilation(dark, SQUARE, iterations=MIXED_PX) if dark.any() else dark
    contrast[rim | hidden] = 0
    threshold = min(max(otsu(contrast[~dark]), CONTRAST_MIN), CONTRAST_MAX)
    tissue = _without_specks(contrast > threshold)
    tissue |= _faint(contrast, threshold) & ~_dilated(tissue, DILATE_PX)  # what touches is blurred, and in the rim
    tissue |= _mesh(contrast, threshold)
    if dark.any():
        mixed = rim & ~dark & _coloured(overview.pixels, chroma)
        tissue = ndimage.binary_dilation(tissue, SQUARE, iterations=MIXED_REACH_PX, mask=tissue | mixed)
    tissue &= (chroma > np.maximum(GREY_MAX, contrast // GREY_SHARE)) | _opened(tissue, LINE_PX)
    return _without_holes(_under(_dilated(_closed(tissue), DILATE_PX), overview.ink, hidden))


def _under(tissue: Mask, ink: Mask, hidden: Mask) -> Mask:
    """Return the tissue with what ink hides of it: there it is as at the nearest place that can be seen."""
    if not ink.any():
        return tissue
    seen = tissue & ~hidden
    seen &= ~_dilated(ink, INK_FADE_PX) | _opened(seen, INK_FADE_PX + 1)
    if hidden.all():
        return seen
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    found: Mask = seen[tuple(nearest)]
    return found


def _against(overview: Pixels, glass: Glass) -> tuple[Pixels, Pixels]:
    """Return how far each px lies from the glass, and how much more colourful it is, uint8 (height, width) each.

    The glass is made white. Then what the darkest channel lacks is absorbed, and what it lacks to the brightest is
    colour, which shadows and dust do not have: colour counts twice.
    """
    height, width = overview.shape[:2]
    contrast, chroma = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    step = max(1, BAND_PX // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        white = np.minimum(overview[rows] * (255 / glass.rows(rows.start, rows.stop, (height, width))), 255)
        darkest, brightest = darkest_of(white), brightest_of(white)
        chroma[rows] = brightest - darkest
        contrast[rows] = np.minimum(255 + brightest - 2 * darkest, 255)
    return contrast, chroma


def _coloured(overview: Pixels, chroma: Pixels) -> Mask:
    """Return the px whose colour shows through a share of black: of the border of dark surroundings."""
    brightest = brightest_of(overview)
    found: Mask = (brightest >= MIXED_MIN) & (chroma.astype(np.float32) * 255 > MIXED_CHROMA * brightest)
    return found


def _faint(contrast: Pixels, threshold: int) -> Mask:
    """Return the places of some size that lie a little below the glass, its own noise taken into account."""
    capped = 4 * np.minimum(contrast, threshold)  # an edge stays where it is: strong px do not spread
    smooth = ndimage.gaussian_filter(capped, 1, truncate=3)
    quiet = smooth[contrast <= threshold]
    floor_ = np.percentile(quiet, 25) if quiet.size else 0
    least = max(4 * FAINT_SHARE * threshold, floor_ + 4 * FAINT_MIN)
    names, _ = ndimage.label(smooth > least)
    large = np.bincount(names.ravel()) >= FAINT_PX
    large[0] = False
    found: Mask = large[names]
    return found


def _mesh(contrast: Pixels, threshold: int) -> Mask:
    """Return fat: many thin walls near each other, and what lies between them."""
    quiet = contrast[contrast <= threshold]
    low, middle = np.percentile(quiet, (16, 50)) if quiet.size else (0, 0)
    weak = contrast > max(MESH_SHARE * threshold, middle + MESH_NOISE * (middle - low))
    walls = weak & ~_opened(weak, WALL_PX)
    near = ndimage.gaussian_filter(walls * np.uint8(255), MESH_PX / 3, mode="constant", truncate=3)
    between = ndimage.grey_closing(walls.astype(np.uint8), MESH_PX) > 0
    return _opened(between & (near > 255 * MESH_DENSITY), MESH_PX // 2)


def _opened(mask: Mask, side: int) -> Mask:
    """Return the mask without what is narrower than a square of this side."""
    eroded = ndimage.minimum_filter(np.pad(mask, side, mode="edge"), side)
    opened: Mask = ndimage.maximum_filter(eroded, side, origin=0 if side % 2 else -1)[side:-side, side:-side]
    return opened


def otsu(values: Pixels) -> int:
    """Return Otsu's threshold: `values > threshold` and the rest are the two classes that differ most."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    moment = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def floor_all(ratio: Fraction, start: int, count: int, length: int) -> npt.NDArray[np.int64]:
    """Return floor(ratio · i) for `count` whole numbers from `start` on, `length` - 1 at most; exact for any ratio."""
    last, numerator, denominator = length - 1, ratio.numerator, ratio.denominator
    if max((start + count) * numerator, denominator) < 2**63:
        floors: npt.NDArray[np.int64] = np.arange(start, start + count, dtype=np.int64) * numerator // denominator
        return np.minimum(floors, last)
    # Python's whole numbers have no end. They take far longer, for each region of a job.
    return np.array([min(i * numerator // denominator, last) for i in range(start, start + count)], np.int64)


def _dilated(mask: Mask, radius: int) -> Mask:
    """Return the mask grown by a square of side 2 * radius + 1."""
    grown: Mask = ndimage.maximum_filter(mask, 2 * radius + 1, mode="constant")
    return grown


def _closed(mask: Mask) -> Mask:
    closed = ~_dilated(~_dilated(np.pad(mask, CLOSE_PX), CLOSE_PX), CLOSE_PX)
    return closed[CLOSE_PX:-CLOSE_PX, CLOSE_PX:-CLOSE_PX]


def _without_specks(mask: Mask) -> Mask:
    """Drop px that have fewer than `SPECK_PX` px, themselves included, in their 3 x 3 neighbourhood."""
    count = ndimage.convolve(mask.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant")
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
