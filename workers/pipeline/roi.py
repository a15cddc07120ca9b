"""Which working pixels a job is about: those with tissue whose centre lies in the region of interest, without holes.

A pixel's answer is a function of its coordinate alone, whatever box it is asked in, like everything on the plane.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from workers.core.roi.forms import Ring
from workers.core.roi.polygons import MultiPolygon, Polygon
from workers.core.slides.slide import Pixels
from workers.pipeline.tiling import Box, Region, WorkingPlane

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Tissue(Protocol):
    """What is asked of a tissue mask."""

    def any(self, region: Region, plane: WorkingPlane) -> bool:
        """Whether the core of a region holds tissue."""

    def crop(self, box: Box, plane: WorkingPlane) -> Mask:
        """Return bool (height, width): where there is tissue in a box of the plane."""

    def whiten(self, pixels: Pixels, box: Box, plane: WorkingPlane) -> None:
        """Make what is dark around the scanned places white in the pixels of a box."""


@dataclass(frozen=True, slots=True, eq=False)
class RoiMask:
    """A region of interest, asked pixel by pixel.

    Args:
        parts: For each polygon its edges, float64 (n, 4): x, y of the upper end and x, y of the lower end, level-0 px.
    """

    parts: tuple[Floats, ...]

    @classmethod
    def from_roi(cls, roi: Polygon | MultiPolygon) -> Self:
        """Take the edges of the polygons; a horizontal one never lies between two rows."""
        return cls(tuple(np.concatenate([_edges(ring) for ring in rings]) for rings in roi.polygons))

    def touches(self, box: Box, plane: WorkingPlane) -> bool:
        """Whether the bounds of one of the polygons reach into a box of the plane; elsewhere no centre is inside."""
        scale = np.array((plane.scale_x, plane.scale_y), np.float64)
        least = scale * (box.w_x, box.w_y)
        most = scale * (box.w_x + box.width, box.w_y + box.height)
        corners = (edges.reshape(-1, 2) for edges in self.parts if len(edges))
        return any(bool((each.min(axis=0) <= most).all() and (each.max(axis=0) >= least).all()) for each in corners)

    def crop(self, box: Box, plane: WorkingPlane) -> Mask:
        """Return bool (height, width): the working px of a box whose centre is inside, by the even-odd rule."""
        l0_x, l0_y = _centres(box.w_x, box.width, plane.scale_x), _centres(box.w_y, box.height, plane.scale_y)
        out = np.zeros((box.height, box.width), np.bool_)
        for edges in self.parts:
            out |= _inside(edges, l0_x, l0_y, (float(plane.scale_x), float(plane.scale_y)))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """Tissue within the region of interest, without what could not be read.

    Args:
        tissue: The tissue mask.
        roi: None takes the whole plane.
        holes: Boxes of the working plane that are left out.
    """

    tissue: Tissue
    roi: RoiMask | None = None
    holes: tuple[Box, ...] = ()

    def any(self, region: Region, plane: WorkingPlane) -> bool:
        """Whether the core of a region holds anything: exactly when its crop does."""
        if not self.tissue.any(region, plane):
            return False
        if self.roi is None and not self.holes:
            return True
        box = Box(region.w_x0, region.w_y0, region.width, region.height)
        return bool(self.crop(box, plane).any())

    def crop(self, box: Box, plane: WorkingPlane) -> Mask:
        """Return bool (height, width): what counts in a box of the plane."""
        if not self._reaches(box, plane):
            return np.zeros((box.height, box.width), np.bool_)
        mask = self.tissue.crop(box, plane)
        if self.roi is not None and mask.any():
            mask = mask & self.roi.crop(box, plane)
        return without(mask, (box.w_x, box.w_y), self.holes)

    def _reaches(self, box: Box, plane: WorkingPlane) -> bool:
        return self.roi is None or self.roi.touches(box, plane)

    def whiten(self, pixels: Pixels, box: Box, plane: WorkingPlane) -> None:
        """Make what is dark around the scanned places white in the pixels of a box, uint8 (height, width, 3)."""
        self.tissue.whiten(pixels, box, plane)


def without(mask: Mask, origin: tuple[int, int], holes: tuple[Box, ...]) -> Mask:
    """Return the mask, bool (height, width) from `origin` (w_x, w_y), with the holes cut out of it."""
    if not holes:
        return mask
    w_x, w_y = origin
    mask = mask.copy()
    for hole in holes:
        top, left = max(hole.w_y - w_y, 0), max(hole.w_x - w_x, 0)
        bottom, right = max(hole.w_y + hole.height - w_y, 0), max(hole.w_x + hole.width - w_x, 0)
        mask[top:bottom, left:right] = False
    return mask


def _edges(ring: Ring) -> Floats:
    points = np.array(ring, np.float64)
    starts, ends = points[:-1], points[1:]
    down = starts[:, 1] <= ends[:, 1]  # one direction, so that an edge of two polygons is cut at the same place
    edges = np.where(down[:, np.newaxis], np.hstack((starts, ends)), np.hstack((ends, starts)))
    return edges[edges[:, 1] < edges[:, 3]]


def _centres(w_start: int, count: int, scale: Fraction) -> Floats:
    return (np.arange(w_start, w_start + count, dtype=np.float64) + 0.5) * float(scale)


def _inside(edges: Floats, l0_x: Floats, l0_y: Floats, px: tuple[float, float]) -> Mask:
    """Return bool (rows, columns): whether an odd number of edges lies to the left of each centre, or on it."""
    left, top, right, bottom = l0_x[0] - px[0], l0_y[0] - px[1], l0_x[-1] + px[0], l0_y[-1] + px[1]
    beside = (edges[:, 3] < top) | (edges[:, 1] > bottom) | (np.minimum(edges[:, 0], edges[:, 2]) > right)
    near = edges[~beside]
    if len(l0_x) > 1 and not (np.maximum(near[:, 0], near[:, 2]) >= left).any():
        # Every edge lies to the left: one answer for all columns, but not for all rows, as edges begin and end between.
        return np.broadcast_to(_inside(near, l0_x[:1], l0_y, px), (len(l0_y), len(l0_x)))
    crossings = np.zeros((len(l0_y), len(l0_x) + 1), np.bool_)
    for x0, y0, x1, y1 in near:
        start, stop = np.searchsorted(l0_y, (y0, y1))
        at = x0 + (l0_y[start:stop] - y0) * ((x1 - x0) / (y1 - y0))
        crossings[np.arange(start, stop), np.searchsorted(l0_x, at)] ^= True
    return np.logical_xor.accumulate(crossings[:, :-1], axis=1)
