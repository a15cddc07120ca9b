"""How the labels of a job lie on the disk, for those who write them and for the gateway, which looks at them.

`labels.zarr` has one file for each region and array, there once the region has landed, else absent. Only models that
give an interior map have the array `interior`, and `objects`, which is there once all regions have landed.
`workers.pipeline.stitch` writes it with Zarr; the gateway has no Zarr and reads single chunks while a job runs.
`labels.ome.tif` has levels.
"""

from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

STORE = "labels.zarr"
LABELS = "labels"
CONFIDENCE = "confidence"
INTERIOR = "interior"
OBJECTS = "objects"

CLASS_BITS = 8
"""Of a px of `objects`: its class. The bits above tell objects of a class that touch apart."""

TILE_PX = 512
"""Side of the tiles of every TIFF of labels."""

Labels = NDArray[np.uint8]


def level_steps(width: int, height: int) -> list[int]:
    """Return how many working px a pixel of each level is apart: 1, 2, 4, … until a level fits into one tile."""
    steps = [1]
    while -(-max(width, height) // steps[-1]) > TILE_PX:
        steps.append(2 * steps[-1])
    return steps


def chunk_path(job_dir: Path, name: str, row: int, col: int) -> Path:
    """Return where the chunk of a region lies in the array `name`, whether or not it is there."""
    return job_dir / STORE / name / "c" / str(row) / str(col)


def chunks_of_row(job_dir: Path, name: str, row: int) -> frozenset[int]:
    """Return the columns of a row of regions whose chunks are in the array `name`."""
    folder = chunk_path(job_dir, name, row, 0).parent
    try:
        return frozenset(int(chunk.name) for chunk in folder.iterdir() if chunk.name.isdigit())
    except FileNotFoundError:
        return frozenset()


def chunks_present(job_dir: Path, name: str, rows: int) -> frozenset[tuple[int, int]]:
    """Return (row, column) of the regions whose chunks are in the array `name`, which has so many rows of them."""
    return frozenset((row, col) for row in range(rows) for col in chunks_of_row(job_dir, name, row))


def read_labels(job_dir: Path, row: int, col: int, side_px: int) -> Labels | None:
    """Return the class indices of a region, uint8 (side_px, side_px), whole also where the plane ends earlier.

    Returns:
        None if the region has not landed. It is written in one step, so what is there is complete.
    """
    try:
        packed = chunk_path(job_dir, LABELS, row, col).read_bytes()
    except FileNotFoundError:
        return None
    pixels = imagecodecs.zstd_decode(packed, out=side_px * side_px)
    return np.frombuffer(pixels, np.uint8).reshape(side_px, side_px)
