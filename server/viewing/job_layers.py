"""What lies over a slide beside the overlay: how sure a job was, and where two jobs differ. All on the slide's grid.

Frames: `l0_` level-0 px.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from server.viewing.deepzoom import PNG_COMPRESSION, Address, Grid
from server.viewing.kept import SingleFlightCache
from server.viewing.label_tiles import LabelPyramid, Labels
from workers.core.frozen import Frozen
from workers.core.model.schemas import ModelClass
from workers.core.products import FOLDER
from workers.core.store import Store

CONFIDENCE = "confidence.ome.tif"
"""The product whose levels are shown."""
BOTH, ONLY_THIS, ONLY_OTHER, OTHER_CLASS = 1, 2, 3, 4
COLORS = {BOTH: (255, 255, 255), ONLY_THIS: (240, 228, 66), ONLY_OTHER: (0, 158, 115), OTHER_CLASS: (0, 0, 0)}
"""Those of Okabe and Ito that stand out on haematoxylin, and that the colour-blind tell apart."""
SAMPLED_PX = 2048
"""Longer side of the level on which two jobs are compared as a whole: 4 million px at most."""


class Difference(Frozen):
    """How far two jobs of a slide agree, by px that lie evenly over all of it."""

    step_px: int = Field(description="Level-0 px from one compared px to the next.")
    compared_px: int = Field(description="Px in which at least one of the two found a class.")
    both: float | None = Field(description="Share of them in which both found the same; null where there are none.")
    only_this: float | None = Field(description="Share in which only this job found a class.")
    only_other: float | None = Field(description="Share in which only the other job found a class.")
    other_class: float | None = Field(description="Share in which they found different classes.")


class Pair(NamedTuple):
    """The labels of two jobs of a slide, and a number for each class name of either, by index."""

    this: LabelPyramid
    other: LabelPyramid
    names: tuple[NDArray[np.uint16], NDArray[np.uint16]]

    def tile(self, address: Address) -> Labels:
        """Return where the two differ under a Deep Zoom tile, uint8 (height, width); 0 where neither found a class.

        Raises:
            ResultNotFound: There is no such tile.
        """
        this, other = self.names[0][self.this.tile(*address)], self.names[1][self.other.tile(*address)]
        cases = [(this == 0) & (other == 0), this == other, other == 0, this == 0]
        return np.select(cases, [0, BOTH, ONLY_THIS, ONLY_OTHER], OTHER_CLASS).astype(np.uint8)


class JobLayers:
    """Makes the tiles of these layers. What takes long belongs into a thread.

    Args:
        store: The data folder.
        labels: Gives the labels of a succeeded job.
    """

    def __init__(self, store: Store, labels: Callable[[str], LabelPyramid]) -> None:
        self._store = store
        self._labels = labels
        self._confidence = SingleFlightCache[LabelPyramid]("confidence")
        self._differences = SingleFlightCache[Difference]("differences")

    def forget(self, job_id: str) -> None:
        """Let go of what is held of a job that is gone. What it had in common with others goes with time."""
        self._confidence.drop(job_id)
        self._differences.drop(job_id)

    def confidence_tile(self, job_id: str, address: Address) -> bytes:
        """Return a tile as grey PNG: round(255 × probability of the class), 0 where nothing was segmented.

        Raises:
            ResultNotFound: There is no such tile.
        """
        path = self._store.job_dir(job_id) / FOLDER / CONFIDENCE
        pyramid = self._confidence.get(job_id, lambda: LabelPyramid(path, self._store.read_plan(job_id)))
        return _png(Image.fromarray(pyramid.tile(*address)))

    def difference_tile(self, job_id: str, other_id: str, address: Address) -> bytes:
        """Return a tile as PNG in `COLORS`, transparent where neither job found a class.

        Raises:
            ResultNotFound: There is no such tile.
        """
        tile = self._pair(job_id, other_id).tile(address)
        image = Image.frombytes("P", (tile.shape[1], tile.shape[0]), tile.tobytes())
        image.putpalette([0, 0, 0, *(value for color in COLORS.values() for value in color)])
        return _png(image, transparency=bytes([0, *[255] * len(COLORS)]))

    def difference(self, job_id: str, other_id: str) -> Difference:
        """Return the shares of px in which two jobs agree or not, of every so many px of the slide."""
        return self._differences.get(f"{job_id}/{other_id}", lambda: _compared(self._pair(job_id, other_id)))

    def _pair(self, job_id: str, other_id: str) -> Pair:
        this, other = self._labels(job_id), self._labels(other_id)
        return Pair(this, other, _numbered(this.classes, other.classes))


def _numbered(
    this: tuple[ModelClass, ...], other: tuple[ModelClass, ...]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return, for the indices of two models, numbers that are the same where the names are; background is 0."""
    names = sorted({each.name for each in (*this, *other) if each.index})
    tables = np.zeros((2, 256), np.uint16)
    for table, classes in zip(tables, (this, other), strict=True):
        for each in classes:
            table[each.index] = names.index(each.name) + 1 if each.index else 0
    return tables[0], tables[1]


def _compared(pair: Pair) -> Difference:
    grid = pair.this.grid
    level = next(each for each in range(grid.top, -1, -1) if max(grid.size(each)) <= SAMPLED_PX)
    counts = np.zeros(len(COLORS) + 1, np.int64)
    for address in _addresses(grid, level):
        counts += np.bincount(pair.tile(address).ravel(), minlength=len(counts))
    compared = int(counts[1:].sum())
    shares = {name: int(counts[i]) / compared if compared else None for name, i in _NAMES.items()}
    return Difference(step_px=grid.step(level), compared_px=compared, **shares)


_NAMES = {"both": BOTH, "only_this": ONLY_THIS, "only_other": ONLY_OTHER, "other_class": OTHER_CLASS}


def _addresses(grid: Grid, level: int) -> list[Address]:
    width, height = grid.size(level)
    columns, rows = -(-width // grid.tile_px), -(-height // grid.tile_px)
    return [(level, col, row) for row in range(rows) for col in range(columns)]


def _png(image: Image.Image, **options: bytes) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=PNG_COMPRESSION, **options)
    return file.getvalue()
