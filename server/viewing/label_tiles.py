"""Class indices of a job for any tile of its slide: the nearest pixel of its labels, exactly.

Frames: `l0_` level-0 px, `w_` working px. The indices of px are whole-number arithmetic, so that a border lies at the
same level-0 place in every tile and on every level.
"""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from server.viewing.deepzoom import grid_of
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan

Labels = NDArray[np.uint8]


class Level(NamedTuple):
    """One level of the labels: every `step`-th working px."""

    step: int
    width: int
    height: int


class FileTiles(NamedTuple):
    """Where the tiles of one level lie in a file."""

    tile_px: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


class LabelTiles(ABC):
    """How the labels of a job lie on its slide, wherever they come from.

    Args:
        plan: The job's plan.
        levels: Of the labels, the finest first: step 1, 2, 4, …
    """

    def __init__(self, plan: Plan, levels: Sequence[Level]) -> None:
        self.classes: tuple[ModelClass, ...] = plan.classes
        self.grid = grid_of(plan.geometry)
        model_mpp = Fraction(str(plan.model_mpp))
        self.scale_x, self.scale_y = (model_mpp / Fraction(str(mpp)) for mpp in (plan.mpp_x, plan.mpp_y))
        self.levels = levels

    def tile(self, level: int, col: int, row: int) -> Labels:
        """Return the classes under a Deep Zoom tile, uint8 (height, width); 0 where the working plane ends.

        Raises:
            ResultNotFound: There is no such tile.
        """
        left, upper, right, lower = self.grid.tile(level, col, row)
        l0_step = 2 ** (self.grid.top - level)
        source = self._level_for(l0_step)
        plane = self.levels[0]
        across = nearest(range(left, right), l0_step, self.scale_x, source.step, (plane.width, source.width))
        down = nearest(range(upper, lower), l0_step, self.scale_y, source.step, (plane.height, source.height))
        out = np.zeros((len(down), len(across)), np.uint8)
        inside = np.ix_(down >= 0, across >= 0)
        across, down = across[across >= 0], down[down >= 0]
        if len(across) and len(down):
            block = self._read(source, across[0], down[0], across[-1] + 1, down[-1] + 1)
            out[inside] = block[np.ix_(down - down[0], across - across[0])]
        return out

    def _level_for(self, l0_step: int) -> Level:
        """Return the coarsest level whose px are not further apart than the tile's."""
        scale = max(self.scale_x, self.scale_y)
        return max((each for each in self.levels if each.step * scale <= l0_step), default=self.levels[0])

    @abstractmethod
    def _read(self, level: Level, x0: int, y0: int, x1: int, y1: int) -> Labels:
        """Read a rectangle that lies within a level."""


class LabelPyramid(LabelTiles):
    """The labels of a finished job: `labels.ome.tif`. No file stays open; for any thread.

    Args:
        path: The file, as the finish of a job writes it: deflate, square tiles, every level half of the one before.
        plan: The job's plan.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        with tifffile.TiffFile(path) as tiff:
            pages = [level.keyframe for level in tiff.series[0].levels]
            levels = [Level(2**k, page.imagewidth, page.imagelength) for k, page in enumerate(pages)]
            self._tiles = {
                level: FileTiles(page.tilewidth, tuple(page.dataoffsets), tuple(page.databytecounts))
                for level, page in zip(levels, pages, strict=True)
            }
        super().__init__(plan, levels)

    def _read(self, level: Level, x0: int, y0: int, x1: int, y1: int) -> Labels:
        """Read a rectangle that lies within a level."""
        side, offsets, sizes = self._tiles[level]
        per_row = -(-level.width // side)
        block = np.empty((y1 - y0, x1 - x0), np.uint8)
        with self.path.open("rb", buffering=0) as file:
            for row in range(y0 // side, -(-y1 // side)):
                for col in range(x0 // side, -(-x1 // side)):
                    index = row * per_row + col
                    packed = os.pread(file.fileno(), sizes[index], offsets[index])
                    tile = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(side, side)
                    left, top = max(x0, col * side), max(y0, row * side)
                    right, bottom = min(x1, (col + 1) * side), min(y1, (row + 1) * side)
                    block[top - y0 : bottom - y0, left - x0 : right - x0] = tile[
                        top - row * side : bottom - row * side, left - col * side : right - col * side
                    ]
        return block


def nearest(pixels: range, l0_step: int, scale: Fraction, step: int, lengths: tuple[int, int]) -> NDArray[np.int64]:
    """Return, for each px of a tile's level, the px of a level of the labels whose centre is nearest to its own.

    Args:
        pixels: Positions along one axis, in px of `l0_step` level-0 px.
        l0_step: Level-0 px per px of the tile.
        scale: Level-0 px per working px.
        step: The level holds every `step`-th working px.
        lengths: Px of the working plane and of the level along the axis.

    Returns:
        int64 positions; -1 where the centre is beyond the working plane.
    """
    plane, length = lengths
    # Twice the centre is (2 p + 1) l0_step / scale working px, and w = i * step has its own at 2 w + 1. All of it times
    # the scale's numerator: plain whole numbers, of any length, are exact and ten times as fast as fractions.
    per_pixel, unit = l0_step * scale.denominator, scale.numerator
    centers = [(2 * pixel + 1) * per_pixel for pixel in pixels]
    end, shift, spacing, last = 2 * plane * unit, (step - 1) * unit, 2 * step * unit, length - 1
    found = [-1 if center >= end else min((center + shift) // spacing, last) for center in centers]
    return np.array(found, np.int64)
