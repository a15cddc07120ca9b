"""The plane of objects: which px of the labels are one object, told apart by the interior map over the whole plane.

An object is a part of a 4-connected component of one class, as `models.objects` splits it. A component whose bounding
box has a side of more than `SIDE_PX` is cut along the lines of the plane's own grid of `SIDE_PX` cells first, and its
pieces are split as components are. So an object is a function of labels and interior map alone: not of regions, tiles,
workers, or the order in which cells are gone through. Memory is that of a few cells, whatever the plane's size.

Each component lies whole in the window of the one cell that holds the upper left corner of its bounding box: the cell,
and as much again to the right and below. What no window has as a whole is cut.

Beside `workers.pipeline.inference` the only module that imports `models`, and of it only what needs no torch.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from zarr.codecs import ZstdCodec

from models.config import ObjectConfig
from models.objects import split_objects
from workers.core.label_layout import CLASS_BITS, OBJECTS, STORE
from workers.core.schemas import Plan
from workers.pipeline.sparse import is_empty
from workers.pipeline.stitch import LabelArrays, open_labels
from workers.pipeline.tiling import exact

SIDE_PX: Final = 2048
"""Side of a cell, and the longest side of a component that is not cut, working px."""

PARITY_BITS: Final = 2
"""Of the number above the class: pieces of a cut component on both sides of a grid line must not be equal."""

Bools = NDArray[np.bool_]
Numbers = NDArray[np.uint32]
Span = tuple[int, int]
Window = tuple[slice, slice]


def make_objects(job_dir: Path, plan: Plan, check: Callable[[], None]) -> None:
    """Write the array `objects` beside the labels; one that is there is complete and is kept.

    Its pixels are uint32: the class in the lowest `CLASS_BITS`, above them a number by which two objects of a class
    differ that touch; 0 outside of objects. It is nothing more than that: others may share a number.

    Args:
        job_dir: Folder of a job whose regions have all landed.
        plan: Its plan; its model gives an interior map.
        check: Called before each cell; raises if the work is no longer wanted.
    """
    store = job_dir / STORE
    if (store / OBJECTS).exists():
        return
    for stale in store.glob(f"{OBJECTS}.*.partial"):  # of a worker that died
        shutil.rmtree(stale, ignore_errors=True)
    fresh = store / f"{OBJECTS}.{uuid.uuid4().hex}.partial"
    objects = zarr.create_array(
        store=fresh,
        shape=(plan.w_height, plan.w_width),
        chunks=(plan.region_px, plan.region_px),
        dtype="uint32",
        fill_value=0,
        compressors=ZstdCodec(level=3, checksum=True),
    )
    _Maker(open_labels(job_dir), plan, objects).run(check)
    os.sync()  # many files that nobody synced one by one
    fresh.rename(store / OBJECTS)


def centres_of(labels: NDArray[np.uint8], interior: NDArray[np.uint8] | None, plan: Plan) -> NDArray[np.float64]:
    """Return the centres (y, x) of the objects in a part of the plane that are large enough, float64 (n, 2)."""
    least, found = smallest_px(plan), []
    for value in _classes(labels):
        numbers = split_objects(labels == value, interior, plan.model_mpp, config_of(plan))
        sizes = np.bincount(numbers.ravel())
        large = 1 + np.flatnonzero(sizes[1:] >= least)
        found += ndimage.center_of_mass(numbers > 0, numbers, large)
    return np.array(found, np.float64).reshape(-1, 2)


def smallest_px(plan: Plan) -> int:
    """Return the px of the smallest objects that count, by the model's `smallest_um2`."""
    return ceil(exact(plan.objects.smallest_um2) / exact(plan.model_mpp) ** 2)


def config_of(plan: Plan) -> ObjectConfig:
    """Return how a plan's model has objects told apart."""
    rules = plan.objects
    return ObjectConfig(rules.smallest_um2, rules.prominence, rules.smooth_um)


class _Maker:
    """Goes through the cells of a plane twice: for components that lie whole in a window, then for what is left.

    Args:
        arrays: The planes of the job.
        plan: Its plan.
        objects: The plane to fill.
    """

    def __init__(self, arrays: LabelArrays, plan: Plan, objects: "zarr.Array[Any]") -> None:
        self._labels, self._interior, self._objects = arrays.labels, arrays.interior, objects
        self._mpp = plan.model_mpp
        self._config = config_of(plan)

    def run(self, check: Callable[[], None]) -> None:
        for w_y, w_x in self._cells():
            check()
            self._split_whole(w_y, w_x)
        for w_y, w_x in self._cells():
            check()
            self._split_rest(w_y, w_x)

    def _cells(self) -> Iterator[tuple[int, int]]:
        height, width = self._labels.shape
        for w_y in range(0, height, SIDE_PX):
            for w_x in range(0, width, SIDE_PX):
                yield w_y, w_x

    def _split_whole(self, w_y: int, w_x: int) -> None:
        """Split the components that begin in a cell and are small enough."""
        height, width = self._labels.shape
        top, left = max(w_y - 1, 0), max(w_x - 1, 0)  # a px more on all sides shows what goes on
        bottom, right = min(w_y + 2 * SIDE_PX + 1, height), min(w_x + 2 * SIDE_PX + 1, width)
        if is_empty(self._labels, (top, bottom), (left, right)):
            return
        labels = np.asarray(self._labels[top:bottom, left:right])
        box = _box(labels != 0)
        if box is None:
            return
        labels, top, left = labels[box], top + box[0].start, left + box[1].start
        found = np.zeros(labels.shape, np.uint32)
        for value in _classes(labels):
            mask = _beginning_here(labels == value, w_y - top, w_x - left)
            self._split(found, mask, value, (top, left), parity=0)
        self._write(found, top, left)

    def _split_rest(self, w_y: int, w_x: int) -> None:
        """Split what a cell has of components that are too large."""
        place = slice(w_y, w_y + SIDE_PX), slice(w_x, w_x + SIDE_PX)
        if is_empty(self._labels, (w_y, w_y + SIDE_PX), (w_x, w_x + SIDE_PX)):
            return
        labels = np.asarray(self._labels[place])
        labels = np.where(np.asarray(self._objects[place]) == 0, labels, 0)
        found = np.zeros(labels.shape, np.uint32)
        parity = w_y // SIDE_PX % 2 * 2 + w_x // SIDE_PX % 2
        for value in _classes(labels):
            self._split(found, labels == value, value, (w_y, w_x), parity)
        self._write(found, w_y, w_x)

    def _split(self, found: Numbers, mask: Bools, value: int, origin: Span, parity: int) -> None:
        """Lay the objects of a mask of one class, bool of the shape of `found`, into it."""
        box = _box(mask)
        if box is None:
            return
        interior = None if self._interior is None else np.asarray(self._interior[_moved(box, *origin)])
        numbers = split_objects(mask[box], interior, self._mpp, self._config).astype(np.uint32)
        inside = mask[box]
        found[box][inside] = numbers[inside] << CLASS_BITS + PARITY_BITS | np.uint32(parity << CLASS_BITS | value)

    def _write(self, found: Numbers, top: int, left: int) -> None:
        """Lay what was found in a window into the plane, over the box that it takes there."""
        box = _box(found != 0)
        if box is not None:
            place = _moved(box, top, left)
            before = np.asarray(self._objects[place])
            self._objects[place] = np.where(found[box] != 0, found[box], before)


def _classes(labels: NDArray[np.uint8]) -> list[int]:
    """Return the classes other than background that are there."""
    return np.flatnonzero(np.bincount(labels[labels != 0])).tolist()  # most px are none: counting those takes long


def _beginning_here(mask: Bools, top: int, left: int) -> Bools:
    """Keep the components of a window whose bounding box begins in the cell at (top, left) and is small enough.

    A component that goes on outside of the window touches its rim: above or to the left its box begins outside of the
    cell, below or to the right it is too large. The window may have been trimmed to what is in it.
    """
    pieces, count = ndimage.label(mask)
    boxes = [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(pieces)]
    y0, y1, x0, x1 = np.array(boxes, np.int64).reshape(-1, 4).T
    begins = (y0 >= top) & (y0 < top + SIDE_PX) & (x0 >= left) & (x0 < left + SIDE_PX)
    is_mine = np.zeros(count + 1, bool)
    is_mine[1:] = begins & (y1 - y0 <= SIDE_PX) & (x1 - x0 <= SIDE_PX)
    mine: Bools = is_mine[pieces]
    return mine


def _box(mask: Bools) -> Window | None:
    """Return the bounding box of a mask; None of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _moved(box: Window, top: int, left: int) -> Window:
    rows, columns = box
    return slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left)
