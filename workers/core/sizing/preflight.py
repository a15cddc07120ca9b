"""What a job will take, told before any pixel is read, and refused if no worker can take it."""

import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil, floor, prod
from typing import Final, NamedTuple

from workers.core.errors.base import DiskFull, LDiffusionError, ProductRefused
from workers.core.errors.jobs import RoiOutside
from workers.core.model.schemas import ModelCard, Precision
from workers.core.roi.polygons import Bounds, MultiPolygon, Polygon, parts_bounds
from workers.core.schemas import JobRequest, Preflight
from workers.core.sizing.memory import sizes_within
from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.resolution import resolve_mpp

DISK_BYTES_PER_PX = 0.75
"""Upper bound for a working px of tissue that is full of nuclei: labels and confidence. Most tissue takes half."""

INTERIOR_BYTES_PER_PX, OBJECTS_PLANE_BYTES_PER_PX = 0.85, 0.18
"""Likewise: the interior map, and the plane of the objects that it tells apart."""

OUTPUT_BYTES_PER_PX: Final[dict[str, float]] = {
    "overlay.ome.tif": 0.15,
    "labels.ome.tif": 0.15,
    "objects.parquet": 0.42,
    "regions.geojson.gz": 0.45,
}
"""Likewise, of outputs that grow with the slide."""

DISK_BYTES = 4 * 2**20
"""The rest of a job, most of it the preview; it does not grow with the slide."""

MIB = 2**20

NO_GPU = "This model is heavy and no worker with a GPU is there: workers without one compute the job, which takes long."


class Crew(NamedTuple):
    """The workers as the gateway knows them: how many, memory of each, what they compute in, whether one has a GPU."""

    workers: int = 1
    memory_bytes: int = sys.maxsize
    precision: Precision = "float32"
    has_gpu: bool = True


def preflight(
    geometry: SlideGeometry,
    request: JobRequest,
    card: ModelCard,
    s_per_tile: Callable[[int], float | None],
    crew: Crew,
) -> Preflight:
    """Estimate a job by arithmetic on its numbers alone.

    Args:
        geometry: Of the slide.
        request: What is asked.
        card: The model.
        s_per_tile: Seconds of one forward pass as measured with this model and tiles of this side, if it was.
        crew: Who would do it.

    Raises:
        JobTooLarge: A worker has too little memory for it.
        MppMissing, MppOutOfRange: The slide's resolution is unknown or does not suit the model.
        RoiOutside: The region of interest holds nothing of the slide.
    """
    mpp_x, mpp_y, _ = resolve_mpp(geometry, request.mpp, card.mpp)
    across, down = (Fraction(str(mpp)) / Fraction(str(card.mpp)) for mpp in (mpp_x, mpp_y))
    w_size = floor(geometry.l0_width * across), floor(geometry.l0_height * down)
    scale = float(across), float(down)
    whole = [(0.0, 0.0, float(geometry.l0_width), float(geometry.l0_height))]
    l0_parts = whole if request.roi is None else parts_on_slide(request.roi, geometry)
    parts = [(x0 * scale[0], y0 * scale[1], x1 * scale[0], y1 * scale[1]) for x0, y0, x1, y1 in l0_parts]
    sizes = sizes_within(card, request.region_px, crew.precision, geometry, w_size, crew.memory_bytes, request.roi)
    tiles, seconds = _cells(parts, w_size, sizes.tile_px), s_per_tile(sizes.tile_px)
    regions_max = _cells(parts, w_size, sizes.region_px)
    return Preflight(
        region_px=sizes.region_px,
        tile_px=sizes.tile_px,
        regions_max=regions_max,
        tiles_max=tiles,
        estimated_s=None if seconds is None else round(tiles * seconds / max(1, crew.workers), 1),
        estimated_peak_bytes=sizes.peak_bytes,
        estimated_disk_bytes=estimated_disk_bytes(
            card, request.outputs, min(regions_max * sizes.region_px**2, prod(w_size))
        ),
        notice=None if crew.has_gpu or not card.heavy else NO_GPU,
    )


def parts_on_slide(roi: Polygon | MultiPolygon, geometry: SlideGeometry) -> list[Bounds]:
    """Return the boxes, level-0 px, that hold all that a region of interest has of the slide: one for each polygon.

    Raises:
        RoiOutside: There is none.
    """
    size = geometry.l0_width, geometry.l0_height
    found = parts_bounds(roi)
    boxes = [(max(0, x0), max(0, y0), min(size[0], x1), min(size[1], y1)) for x0, y0, x1, y1 in found]
    inside = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    if not inside:
        raise RoiOutside(
            "The region of interest holds nothing of the slide.",
            value=found[0],
            accepted=f"level-0 px from (0, 0) to {size}",
        )
    return inside


def require_room(needed_bytes: int, room_bytes: int) -> None:
    """Refuse a product that takes more memory than the worker has left.

    Raises:
        ProductRefused: It does.
    """
    _require(ProductRefused, "A worker has too little memory to make this of this job.", needed_bytes, room_bytes)


def require_disk(wanted_bytes: int, free_bytes: int) -> None:
    """Refuse what the disk has no room for.

    Args:
        wanted_bytes: Of all jobs that are asked for.
        free_bytes: What they may have: free, and not reserved.

    Raises:
        DiskFull: It is more.
    """
    sentence = "The disk that holds the data folder has too little room for the results."
    _require(DiskFull, sentence, wanted_bytes, free_bytes)


def estimated_disk_bytes(card: ModelCard, outputs: Iterable[str], w_px: int) -> int:
    """Return what a job leaves on the disk at most, without products, if so many working px are all dense tissue."""
    planes = DISK_BYTES_PER_PX + (INTERIOR_BYTES_PER_PX + OBJECTS_PLANE_BYTES_PER_PX) * card.objects.interior
    return DISK_BYTES + ceil(w_px * (planes + sum(OUTPUT_BYTES_PER_PX.get(name, 0) for name in outputs)))


def _require(error: type[LDiffusionError], sentence: str, needed_bytes: int, room_bytes: int) -> None:
    if needed_bytes > room_bytes:
        needed, room = f"{ceil(needed_bytes / MIB)} MiB", f"at most {max(0, room_bytes) // MIB} MiB"
        raise error(sentence, value=needed, accepted=room)


def _cells(parts: list[Bounds], w_size: tuple[int, int], side: int) -> int:
    """Count the cells of a grid over the plane that boxes touch; of many boxes, no more than the cells of the plane."""
    columns, rows = (-(-length // side) for length in w_size)
    count = 0
    for x0, y0, x1, y1 in parts:
        across = min(columns, ceil(x1 / side)) - floor(x0 / side)
        down = min(rows, ceil(y1 / side)) - floor(y0 / side)
        count += max(0, across) * max(0, down)
    return min(count, rows * columns)
