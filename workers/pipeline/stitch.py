"""Region results into one chunked label array on disk: one chunk per region, written whole or not at all.

`labels.zarr` is a Zarr v3 group of uint8 arrays of the working plane's shape: `labels` (class index), `confidence`
(round(255 × largest probability)) and, of a model that gives it, `interior` (round(255 × interior)). Their chunks are
the regions, so a region task touches no bytes of another one, may run twice and leaves the same bytes. A region without
tissue has no chunk and reads as background.
"""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from workers.core.label_layout import (
    CONFIDENCE,
    INTERIOR,
    LABELS,
    OBJECTS,
    STORE,
    chunk_path,
    chunks_of_row,
    chunks_present,
)
from workers.core.schemas import Plan
from workers.core.storage.files import atomic_write
from workers.core.telemetry.tallies import timed
from workers.pipeline.sparse import PlaneArray, SparseArray, is_empty
from workers.pipeline.tiling import Region

READ_PX = 4096
"""Side of the largest block one read decodes; a chunk larger than this is a block of its own."""

PACKING = Zstd(level=3, checksum=True)
"""How a chunk is packed. One of nothing but background is written too: it says that its region is done."""

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LabelArrays:
    """The arrays of a job, (w_height, w_width), uint8 but for `objects`.

    Args:
        labels: Class index.
        confidence: round(255 × largest probability).
        interior: round(255 × interior); None where the model gives none.
        objects: uint32, see `workers.pipeline.objects`; None where the objects are the connected components.
    """

    labels: PlaneArray
    confidence: PlaneArray
    interior: PlaneArray | None = None
    objects: PlaneArray | None = None


def create_label_array(job_dir: Path, plan: Plan) -> Path:
    """Create the empty `labels.zarr` of a plan and return its path; one that is there already is kept as it is.

    Raises:
        ValueError: There is one already, and it is of another plan.
    """
    target = job_dir / STORE
    if not target.exists():
        fresh = job_dir / f"{STORE}.{uuid.uuid4().hex}.partial"
        group = zarr.create_group(store=fresh)
        for name in planes_of(plan):
            _create_array(group, name, plan)
        try:
            fresh.rename(target)
        except OSError:  # another planner of the same job came first
            shutil.rmtree(fresh)
            if not target.exists():
                raise
    _check_plan(target, plan)
    return target


def planes_of(plan: Plan) -> tuple[str, ...]:
    """Return the names of a plan's arrays, in the order in which a region's chunks are written: `labels` last.

    Who looks at a running job reads `labels`.
    """
    return (*((INTERIOR,) if plan.objects.interior else ()), CONFIDENCE, LABELS)


@timed("write")
def write_region(
    job_dir: Path, plan: Plan, region: Region, labels: UInt8, confidence: UInt8, interior: UInt8 | None = None
) -> None:
    """Write the result of one region, as one chunk in each array.

    A chunk is written under a temporary name and renamed, so a reader sees all of it or nothing. It has the bytes that
    Zarr would write, at a fourth of the time: no array is opened for it.

    Args:
        job_dir: Folder that holds `labels.zarr`.
        plan: The plan the array was created for.
        region: The region, of the plan's own grid.
        labels: uint8 (region.height, region.width), class index.
        confidence: uint8 of the same shape, round(255 × largest probability).
        interior: uint8 of the same shape, round(255 × interior); of a plan whose model gives it.

    Raises:
        ValueError: The region is not of the plan's grid, an array is of another shape or type than its core, or the
            interior map is missing or too many.
    """
    _check_region(plan, region)
    given = {INTERIOR: interior, CONFIDENCE: confidence, LABELS: labels}
    if (interior is not None) != plan.objects.interior:
        message = f"interior of region {region.index}: the plan's model gives {'one' if interior is None else 'none'}"
        raise ValueError(message)
    for name, pixels in given.items():
        if pixels is None:
            continue
        if pixels.shape != (region.height, region.width) or pixels.dtype != np.uint8:
            message = (
                f"{name} of region {region.index} are {pixels.dtype} {pixels.shape}, "
                f"not uint8 {(region.height, region.width)}"
            )
            raise ValueError(message)
        _write_chunk(chunk_path(job_dir, name, region.row, region.col), pixels, plan.region_px)


def regions_present(job_dir: Path, plan: Plan) -> frozenset[int]:
    """Return the indices of the regions whose chunks lie complete in all arrays."""
    cols = -(-plan.w_width // plan.region_px)
    rows = -(-plan.w_height // plan.region_px)
    present = []
    for row in range(rows):
        landed = frozenset.intersection(*(chunks_of_row(job_dir, name, row) for name in planes_of(plan)))
        present += [row * cols + col for col in range(cols) if col in landed]
    return frozenset(present)


def open_labels(job_dir: Path) -> LabelArrays:
    """Open the arrays of a job for reading."""
    group = zarr.open_group(store=job_dir / STORE, mode="r")
    labels, confidence = (_sparse(job_dir, group, name) for name in (LABELS, CONFIDENCE))
    interior, objects = (_sparse(job_dir, group, name) if name in group else None for name in (INTERIOR, OBJECTS))
    return LabelArrays(labels, confidence, interior, objects)


def read_rows(array: PlaneArray, w_y0: int, w_y1: int, step: int = 1) -> UInt8:
    """Read every `step`-th pixel of every `step`-th row of `[w_y0, w_y1)`, over the whole width.

    It is read block by block, so that besides the answer only one block (`READ_PX`, or one chunk) is in memory.

    Args:
        array: An array of the working plane.
        w_y0: First row; a multiple of `step`.
        w_y1: Row to stop before; rows past the plane are left out.
        step: Distance of the pixels that are kept, counted from the plane's own corner.

    Returns:
        uint8 (ceil((w_y1 - w_y0) / step), ceil(width / step)).
    """
    height, width = array.shape
    rows = np.zeros((-(-(min(w_y1, height) - w_y0) // step), -(-width // step)), np.uint8)
    _fill(rows, array, w_y0, step)
    return rows


def _fill(rows: NDArray[Any], array: PlaneArray, w_y0: int, step: int) -> None:
    """Write rows of a plane into an array of zeros."""
    height, width = array.shape
    w_y1 = min(w_y0 + len(rows) * step, height)
    for y0, y1 in _blocks(w_y0, w_y1, array.chunks[0], step):
        for x0, x1 in _blocks(0, width, array.chunks[1], step):
            if is_empty(array, (y0, y1), (x0, x1)):
                continue
            block = array[y0:y1:step, x0:x1:step]
            rows[(y0 - w_y0) // step :, x0 // step :][: block.shape[0], : block.shape[1]] = block


def band_height(array: PlaneArray, budget_px: int) -> int:
    """Return how many rows of the plane to take at once: about `budget_px` pixels, in step with the chunks.

    A whole number of chunk rows, or a whole part of one: no chunk is decoded more often than it must be.
    """
    rows = max(1, budget_px // array.shape[1])
    chunk = array.chunks[0]
    return rows // chunk * chunk if rows >= chunk else -(-chunk // -(-chunk // rows))


def _blocks(start: int, stop: int, chunk: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut `[start, stop)` along chunk borders into pieces that begin on multiples of `step`."""
    side = -(-READ_PX // chunk) * chunk
    while start < stop:
        end = min(stop, (start // side + 1) * side)
        yield start, end
        start = -(-end // step) * step


def _create_array(group: zarr.Group, name: str, plan: Plan) -> None:
    group.create_array(
        name,
        shape=(plan.w_height, plan.w_width),
        chunks=(plan.region_px, plan.region_px),
        dtype="uint8",
        fill_value=0,
        compressors=ZstdCodec(level=PACKING.level, checksum=PACKING.checksum),
    )


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        message = f"{STORE}/{name} is not an array"
        raise TypeError(message)
    return array


def _sparse(job_dir: Path, group: zarr.Group, name: str) -> SparseArray:
    array = _array(group, name)
    landed = chunks_present(job_dir, name, -(-array.shape[0] // array.chunks[0]))
    return SparseArray(array, landed, job_dir / STORE / name / "c")


def _check_plan(path: Path, plan: Plan) -> None:
    group = zarr.open_group(store=path, mode="r")
    wanted = (plan.w_height, plan.w_width), (plan.region_px, plan.region_px)
    for name in planes_of(plan):
        array = _array(group, name)
        if (array.shape, array.chunks) != wanted:
            message = f"{STORE}/{name} has shape and chunks {array.shape}, {array.chunks}; the plan wants {wanted}"
            raise ValueError(message)


def _check_region(plan: Plan, region: Region) -> None:
    side = plan.region_px
    core = (region.w_x0, region.w_y0, region.w_x1, region.w_y1)
    w_x0, w_y0 = region.col * side, region.row * side
    cell = (w_x0, w_y0, min(w_x0 + side, plan.w_width), min(w_y0 + side, plan.w_height))
    if core != cell:
        message = f"the core {core} of region {region.index} is not the cell {cell} of a grid of {side} px"
        raise ValueError(message)


def _write_chunk(path: Path, pixels: UInt8, side: int) -> None:
    """Write a chunk of an array, durably; one that the plane's edge clips is filled up with 0."""
    height, width = pixels.shape
    whole = np.ascontiguousarray(
        np.pad(pixels, ((0, side - height), (0, side - width))) if min(height, width) < side else pixels
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(PACKING.encode(whole))
