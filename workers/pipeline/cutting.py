"""Which part of a tile goes through the model: boxes around its tissue, so that little glass is computed.

A function of the tile's own mask alone, on a grid of the tile: whoever segments the tile, in whatever region or worker,
gives the model the same boxes. Several boxes where they take fewer pixels than one, halo included.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from workers.pipeline.roi import Mask
from workers.pipeline.tiling import Region, ceil_to

CUT_PX = 64
"""Least step of the grid of boxes, working px: few sizes for the network, for 1 % more pixels than with 16."""

LEAST_SAVING = 0.02
"""What another forward pass has to save, of a tile with its halo: each pass costs something by itself."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A box of cells of `step` working px a side, counted from the tile's corner: `[row0, row1) × [col0, col1)`."""

    step: int
    row0: int
    row1: int
    col0: int
    col1: int

    def within(self, holds: Mask) -> "Cells | None":
        """Return the smallest box here around the cells that hold tissue, bool (rows, columns); None of none."""
        part = holds[self.row0 : self.row1, self.col0 : self.col1]
        rows, cols = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if not rows.size:
            return None
        top, left = self.row0 + int(rows[0]), self.col0 + int(cols[0])
        bottom, right = self.row0 + int(rows[-1]) + 1, self.col0 + int(cols[-1]) + 1
        return replace(self, row0=top, row1=bottom, col0=left, col1=right)

    def halves(self) -> Iterator[tuple["Cells", "Cells"]]:
        """Yield every way to cut it in two by a straight line."""
        for row in range(self.row0 + 1, self.row1):
            yield replace(self, row1=row), replace(self, row0=row)
        for col in range(self.col0 + 1, self.col1):
            yield replace(self, col1=col), replace(self, col0=col)

    def computed_px(self, halo_px: int) -> int:
        """Return the pixels of a forward pass over it, with its halo."""
        height, width = self.step * (self.row1 - self.row0), self.step * (self.col1 - self.col0)
        return (height + 2 * halo_px) * (width + 2 * halo_px)


def cut(tile: Region, mask: Mask, halo_px: int, stride_px: int) -> list[Region]:
    """Return the parts of a tile that a model has to see: disjoint, and together they hold all of its tissue.

    Args:
        tile: Its core, working px.
        mask: Where there is tissue in it, bool (height, width).
        halo_px: What is read around each part.
        stride_px: The parts begin on the tile's grid of this step.

    Returns:
        Regions with the tile's `index`, `row` and `col`, row by row of the cuts; none if there is no tissue.
    """
    step = ceil_to(CUT_PX, stride_px)
    holds = _coarse(mask, step)
    box = Cells(step, 0, holds.shape[0], 0, holds.shape[1])
    least = LEAST_SAVING * box.computed_px(halo_px)
    whole = box.within(holds)
    parts = [] if whole is None else _split(whole, holds, halo_px, least)
    return [_region(tile, part) for part in parts]


def _split(box: Cells, holds: Mask, halo_px: int, least: float) -> list[Cells]:
    """Cut a box in two as long as that saves `least` pixels; always where it saves the most."""
    if holds[box.row0 : box.row1, box.col0 : box.col1].all():
        return [box]  # nothing between its cells to leave out, and each cut adds halo
    best, found = box.computed_px(halo_px) - least, None
    for halves in box.halves():
        parts = [part for half in halves if (part := half.within(holds)) is not None]
        computed = sum(part.computed_px(halo_px) for part in parts)
        if computed < best:
            best, found = computed, parts
    if found is None:
        return [box]
    return [piece for part in found for piece in _split(part, holds, halo_px, least)]


def _coarse(mask: Mask, step: int) -> Mask:
    """Return bool (rows, columns): which cells of `step` px hold tissue; the last ones may be cut off."""
    height, width = mask.shape
    rows = np.logical_or.reduceat(mask, np.arange(0, height, step), axis=0)
    return np.logical_or.reduceat(rows, np.arange(0, width, step), axis=1)


def _region(tile: Region, part: Cells) -> Region:
    x0, x1 = (tile.w_x0 + part.step * col for col in (part.col0, part.col1))
    y0, y1 = (tile.w_y0 + part.step * row for row in (part.row0, part.row1))
    return replace(tile, w_x0=x0, w_y0=y0, w_x1=min(x1, tile.w_x1), w_y1=min(y1, tile.w_y1))
