"""What a worker takes of memory, and the tiles that fit into a budget of it.

A sum of parts, each of which was measured: the process with all that a job imports, the model, one forward pass, the
planes of a region, the children that read, and what the outputs take. `python -m benchmarks.memory` compares it with
whole jobs, `python -m benchmarks.activations` measures what a model's own numbers are (`memory` of its card).
"""

import os
from math import ceil, prod
from operator import mul
from pathlib import Path
from typing import NamedTuple

from workers.core.errors.jobs import JobTooLarge
from workers.core.model.schemas import ModelCard, ModelMemory, Precision
from workers.core.roi.polygons import MultiPolygon, Polygon, parts_bounds
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideGeometry

MIB = 2**20
PROCESS_BYTES = 310 * MIB
"""A worker with torch and all that a job imports, files that it maps included, before a model is loaded."""

CHILDREN_BYTES = 80 * MIB
"""The children that read a slide, without what they keep of it."""

KEPT_BYTES = 64 * MIB
"""Decoded tiles that they keep."""

READER_CACHE_BYTES = 24 * MIB
"""Decoded blocks of the slide that a worker keeps."""

UNMEASURED = ModelMemory(loaded=80 * MIB, per_px=1100, per_px_half=700)
"""Of a model whose card does not say: more than any that was measured."""

REPEATED = 1.25
"""What passes of many sizes take, of one alone: between them the heap keeps gaps, some of which are given back."""

OBJECTS_BYTES_PER_PX, OBJECTS_SIDE_PX = (12, 18), 2 * 2048 + 2
"""What telling objects apart takes per px of the largest window that it looks at, and more where tissue is; the side of
that. Dense nuclei take some 23 of the 30 in all, noise takes 40."""

OUTPUTS_BYTES = 230 * MIB
"""What making outputs takes anyhow, most of it libraries that are loaded then."""

BLOCK_BYTES_PER_PX, BLOCK_PX = 4, 2**24
"""What pyramids take per px of the block of the plane that is in memory at once."""

BAND_BYTES_PER_PX, BAND_PX = 40, 2**22
"""What tracing objects takes per px of the band that it looks at, where tissue is."""

KEPT_SHARE = 0.78
"""Of a job's peak, what a process may hold before a forward pass; the rest is of children, and of files it maps."""

LEAST_TILE_PX = 256
WORKERS_SHARE = 0.9
"""Of the memory that is there, what the workers may take together; the rest is for gateway, queue and kernel."""

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Plane(NamedTuple):
    """What a job is about.

    Attributes:
        geometry: Of the slide.
        w_size: Width and height of the working plane.
        w_span: Of the box around what is asked of it.
    """

    geometry: SlideGeometry
    w_size: tuple[int, int]
    w_span: tuple[int, int]


class Sizes(NamedTuple):
    """How a job is cut.

    Attributes:
        tile_px: Side of the core of one forward pass, working px.
        region_px: Side of a region, working px: whole tiles.
        peak_bytes: Memory that a worker takes then.
    """

    tile_px: int
    region_px: int
    peak_bytes: int


def sizes_within(
    card: ModelCard,
    asked_px: int | None,
    precision: Precision,
    geometry: SlideGeometry,
    w_size: tuple[int, int],
    room_bytes: int,
    roi: Polygon | MultiPolygon | None = None,
) -> Sizes:
    """Return the largest tiles whose job fits into a budget: the model's own, else halves of them.

    Labels of other tiles may differ in a few px, as the halo covers most of the context and not all
    (`docs/decisions/002`): so tiles are chosen once, for the whole job, and stand in its plan.

    Args:
        card: The model.
        asked_px: Side of a region, if somebody asked.
        precision: What it computes in.
        geometry: Of the slide.
        w_size: Width and height of the working plane.
        room_bytes: The budget of one worker.
        roi: What is asked of the slide, level-0 px; all of it if None.

    Raises:
        JobTooLarge: Not even the smallest tiles fit.
    """
    plane = Plane(geometry, w_size, _span(roi, geometry, w_size))
    for tile_px in tile_sides(card):
        region_px = region_side(asked_px or card.tile_px, tile_px)
        found = Sizes(tile_px, region_px, estimated_peak_bytes(card, tile_px, region_px, precision, plane))
        if found.peak_bytes <= room_bytes:
            return found
    raise JobTooLarge(
        "A worker has too little memory for this job, in the smallest tiles too; smaller regions or a smaller model "
        "need less.",
        value=f"{ceil(found.peak_bytes / MIB)} MiB",
        accepted=f"at most {max(0, room_bytes) // MIB} MiB, the memory of a worker",
    )


def tile_sides(card: ModelCard) -> tuple[int, ...]:
    """Return the sides that tiles of a model may have, px: its own, and halves on the grid of its stride."""
    sides = [card.tile_px]
    while sides[-1] // 2 >= LEAST_TILE_PX and sides[-1] % (2 * card.stride_px) == 0:
        sides.append(sides[-1] // 2)
    return tuple(sides)


def region_side(asked_px: int, tile_px: int) -> int:
    """Return the side of a job's regions in working px: what was asked for, up to the next multiple of the tile.

    A smaller region would cut tiles. A network gives a part of a tile other numbers than the whole: sums are rounded
    in another order, and a halo covers most of the context, not all. So labels would depend on the region.
    """
    return ceil(asked_px / tile_px) * tile_px


def forward_side(tile_px: int, halo_px: int, stride_px: int) -> int:
    """Return the side of what goes through the model for a whole tile, px: the halo is widened to the stride."""
    return tile_px + 2 * ceil(halo_px / stride_px) * stride_px


def forward_bytes(card: ModelCard, tile_px: int, precision: Precision, w_span: tuple[int, int]) -> int:
    """Return what a forward pass of the largest tile of a box takes on a processor."""
    memory = card.memory or UNMEASURED
    per_px = memory.per_px_half if precision == "bfloat16" and memory.per_px_half else memory.per_px
    return ceil(REPEATED * per_px * _forward_px(card, tile_px, w_span))


def estimated_peak_bytes(card: ModelCard, tile_px: int, region_px: int, precision: Precision, plane: Plane) -> int:
    """Return the memory of a worker on a processor; it does not grow with the slide.

    The process and its children, and the larger one of two stages. Segmenting: the network's activations over a tile
    with its halo, the reader's cached blocks, the tiles read ahead, and the planes of a region, once as made and once
    as compressed. Finishing: what the outputs look at at once, and a window in which objects are told apart, where the
    model gives an interior map.
    """
    geometry, w_size, _ = plane
    l0_bytes = 3 * geometry.l0_width * geometry.l0_height
    standing = PROCESS_BYTES + (card.memory or UNMEASURED).loaded + CHILDREN_BYTES + min(KEPT_BYTES, l0_bytes)
    planes = 3 if card.objects.interior else 2
    ahead = 4 * 3 * _forward_px(card, tile_px, plane.w_span)
    region_bytes = 2 * planes * prod(min(region_px, length) for length in w_size)
    forward = forward_bytes(card, tile_px, precision, plane.w_span)
    segmenting = forward + min(READER_CACHE_BYTES, l0_bytes) + ahead + region_bytes
    windows = (prod(min(length, OBJECTS_SIDE_PX) for length in size) for size in plane[1:])
    window: int = sum(map(mul, OBJECTS_BYTES_PER_PX, windows)) * card.objects.interior
    band = BAND_BYTES_PER_PX * min(BAND_PX, prod(plane.w_span))
    outputs = OUTPUTS_BYTES + BLOCK_BYTES_PER_PX * min(BLOCK_PX, prod(w_size)) + band
    return standing + max(segmenting, window, outputs)


def require_room_for(planned_bytes: int, room_bytes: int) -> None:
    """Refuse a part of a job in a worker that has less memory than the job was planned for.

    Raises:
        JobTooLarge: It has.
    """
    if planned_bytes > room_bytes:
        raise JobTooLarge(
            "A worker that has less memory than those the job was planned for took a part of it.",
            value=f"{ceil(planned_bytes / MIB)} MiB",
            accepted=f"at most {room_bytes // MIB} MiB; all workers of a queue with the same memory",
        )


def machine_memory_bytes() -> int:
    """Return the memory that the processes here may use together: the container's limit, or the machine's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in CGROUP_LIMITS:
        text = path.read_text().strip() if path.is_file() else "max"
        if text.isdecimal():
            total = min(total, int(text))
    return total


def worker_memory_bytes(settings: Settings, workers: int | None = None) -> int:
    """Return the memory that one worker here may take: as configured, else its part of `WORKERS_SHARE`.

    Never more than all workers together: where a container has the limit that is configured, the rest is needed too.

    Args:
        settings: What is configured.
        workers: How many share the machine; those of the settings if not given.
    """
    shared = int(machine_memory_bytes() * WORKERS_SHARE)
    return min(int(settings.worker_memory), shared) or shared // max(1, workers or settings.workers)


def _span(roi: Polygon | MultiPolygon | None, geometry: SlideGeometry, w_size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of the box around a region of interest, working px; those of the plane without."""
    if roi is None:
        return w_size
    boxes = parts_bounds(roi)
    x0, y0 = (min(box[axis] for box in boxes) for axis in (0, 1))
    x1, y1 = (max(box[axis] for box in boxes) for axis in (2, 3))
    across, down = w_size[0] / geometry.l0_width, w_size[1] / geometry.l0_height
    return min(w_size[0], ceil((x1 - x0) * across)), min(w_size[1], ceil((y1 - y0) * down))


def _forward_px(card: ModelCard, tile_px: int, w_span: tuple[int, int]) -> int:
    """Return how many px go through the model for the largest tile of a box."""
    cores = (min(tile_px, ceil(length / card.stride_px) * card.stride_px) for length in w_span)
    return prod(forward_side(core, card.halo_px, card.stride_px) for core in cores)
