"""What a job will take, told before any pixel is read, and refused if no worker can take it."""

import os
from collections.abc import Iterable
from fractions import Fraction
from math import ceil, floor, prod
from pathlib import Path
from typing import Final

from workers.core.errors.base import DiskFull, LDiffusionError, ProductRefused
from workers.core.errors.jobs import JobTooLarge, RoiOutside
from workers.core.model.schemas import ModelCard
from workers.core.roi.polygons import Bounds, MultiPolygon, Polygon, parts_bounds
from workers.core.schemas import JobRequest, Preflight
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.resolution import resolve_mpp

PROCESS_BYTES = 600 * 2**20
"""Resident memory of a worker with torch and a small model before its first tile."""

BYTES_PER_TILE_PX = 700
"""Activations of the network per px of a tile with its halo."""

READER_CACHE_BYTES = 24 * 2**20
"""Decoded blocks of the slide that a worker keeps."""

WORKERS_SHARE = 0.9
"""Of the memory that is there, what the workers may take together; the rest is for gateway, queue and kernel."""

OBJECTS_BYTES_PER_PX, OBJECTS_SIDE_PX = 40, 2 * 2048 + 2
"""What telling objects apart takes at most, per px of the largest window that it looks at, and the side of that."""

DISK_BYTES_PER_PX = 0.75
"""Upper bound for a working px of tissue that is full of nuclei: labels and confidence. Most tissue takes half."""

INTERIOR_BYTES_PER_PX, OBJECTS_PLANE_BYTES_PER_PX = 0.85, 0.18
"""Likewise: the interior map, and the plane of the objects that it tells apart."""

OUTPUT_BYTES_PER_PX: Final[dict[str, float]] = {
    "overlay.ome.tif": 0.1,
    "labels.ome.tif": 0.1,
    "objects.parquet": 0.42,
    "regions.geojson.gz": 0.38,
}
"""Likewise, of outputs that grow with the slide."""

DISK_BYTES = 4 * 2**20
"""The rest of a job, most of it the preview; it does not grow with the slide."""

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
MIB = 2**20


def preflight(
    geometry: SlideGeometry, request: JobRequest, card: ModelCard, s_per_tile: float | None, workers: int
) -> Preflight:
    """Estimate a job by arithmetic on its numbers alone.

    Args:
        geometry: Of the slide.
        request: What is asked.
        card: The model.
        s_per_tile: Seconds of one forward pass as measured with this model, if it was.
        workers: Workers that are alive.

    Raises:
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
    tiles = _cells(parts, w_size, card.tile_px)
    region_px = region_side(request.region_px, card.tile_px)
    regions_max = _cells(parts, w_size, region_px)
    return Preflight(
        region_px=region_px,
        regions_max=regions_max,
        tiles_max=tiles,
        estimated_s=None if s_per_tile is None else round(tiles * s_per_tile / max(1, workers), 1),
        estimated_peak_bytes=estimated_peak_bytes(card, region_px, geometry, w_size),
        estimated_disk_bytes=estimated_disk_bytes(card, request.outputs, min(regions_max * region_px**2, prod(w_size))),
    )


def region_side(asked_px: int | None, tile_px: int) -> int:
    """Return the side of a job's regions in working px: what was asked for, up to the next multiple of the tile.

    A smaller region would cut tiles. A network gives a part of a tile other numbers than the whole: sums are rounded
    in another order, and a halo covers most of the context, not all. So labels would depend on the region.
    """
    return ceil((asked_px or tile_px) / tile_px) * tile_px


def forward_side(tile_px: int, halo_px: int, stride_px: int) -> int:
    """Return the side of what goes through the model for a whole tile, px: the halo is widened to the stride."""
    return tile_px + 2 * ceil(halo_px / stride_px) * stride_px


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


def require_memory(estimate: Preflight, available_bytes: int) -> None:
    """Refuse what a worker has no room for.

    Raises:
        JobTooLarge: It is more than `available_bytes`.
    """
    sentence = "A worker has too little memory for this job; smaller regions or a smaller model need less."
    _require(JobTooLarge, sentence, estimate.estimated_peak_bytes, available_bytes)


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


def estimated_peak_bytes(card: ModelCard, region_px: int, geometry: SlideGeometry, w_size: tuple[int, int]) -> int:
    """Estimate the memory of a worker on the CPU; it does not grow with the slide, of `w_size` working px.

    The process, and the larger one of two stages. Segmenting: the network's activations over a tile with its halo, the
    reader's cached blocks, the tiles read ahead, and the planes of a region, once as made and once as compressed.
    Finishing, where the model gives an interior map: a window in which objects are told apart.
    """
    side = forward_side(card.tile_px, card.halo_px, card.stride_px)
    cache = min(READER_CACHE_BYTES, geometry.l0_width * geometry.l0_height * 3)
    planes = 3 if card.objects.interior else 2
    segmenting = BYTES_PER_TILE_PX * side**2 + cache + 4 * 3 * side**2 + 2 * planes * region_px**2
    window = prod(min(length, OBJECTS_SIDE_PX) for length in w_size)
    return PROCESS_BYTES + max(segmenting, OBJECTS_BYTES_PER_PX * window * card.objects.interior)


def machine_memory_bytes() -> int:
    """Return the memory that the processes here may use together: the container's limit, or the machine's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in CGROUP_LIMITS:
        text = path.read_text().strip() if path.is_file() else "max"
        if text.isdecimal():
            total = min(total, int(text))
    return total


def worker_memory_bytes(settings: Settings) -> int:
    """Return the memory that one worker here may take: as configured, else its part of `WORKERS_SHARE`."""
    return settings.job_memory_bytes or int(machine_memory_bytes() * WORKERS_SHARE) // max(1, settings.workers)


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
