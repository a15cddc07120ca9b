"""Regions of a plan through the model: tiles read ahead in a thread, inferred one after the other, cores put together.

The only module that imports `models`, and only when a model is loaded: torch takes seconds to import, and neither
planning nor a refused slide needs it.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from workers.core.checks import Check, unchecked
from workers.core.errors.base import ModelInvalid
from workers.core.model.schemas import Precision
from workers.core.schemas import Plan
from workers.core.sizing.memory import KEPT_SHARE, forward_side
from workers.core.slides.slide import Pixels
from workers.core.telemetry.tallies import timed
from workers.pipeline.cutting import cut
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import Mask, Tissue, without
from workers.pipeline.tiling import Box, Region, WorkingPlane, read_box, tiles
from workers.process.cancellation import interruptible
from workers.process.heap import give_back
from workers.process.watchdog import out_of_memory

READ_AHEAD = 2
"""Tiles that are read while one is inferred."""

T = TypeVar("T")
R = TypeVar("R")
Labels = NDArray[np.uint8]


class Segmenter(Protocol):
    """What inference asks of a model."""

    @property
    def digest(self) -> str:
        """SHA-256 of the model's config."""

    def predict(
        self, images: Pixels, w_origins: Sequence[tuple[int, int]], seed: int, precision: Precision
    ) -> tuple[Labels, ...]:
        """Return class index, confidence and, if the model gives it, the interior map, each uint8 (N, H, W).

        Images are uint8 (N, H, W, 3), at these origins (x, y).
        """


class DeviceLost(Exception):
    """The accelerator computes no more: whatever this process asks of it fails, and another process may have luck."""


class Engine:
    """A model in memory.

    Args:
        model_dir: Folder of the model.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads, see `cpu_threads`.

    Raises:
        ModelInvalid: The folder is incomplete, altered or of an unknown format.
    """

    def __init__(self, model_dir: Path, device: str, threads: int) -> None:
        from torch import OutOfMemoryError  # noqa: PLC0415 (see the module's docstring)

        from models.checkpoint import CheckpointError  # noqa: PLC0415
        from models.predictor import Predictor  # noqa: PLC0415

        try:
            self._predictor = Predictor.load(model_dir, device, threads)
        except (CheckpointError, OSError, ValueError) as error:
            raise ModelInvalid("The model folder is incomplete or altered.", value=model_dir.name) from error
        self._out_of_memory = OutOfMemoryError

    @property
    def digest(self) -> str:
        """SHA-256 of the model's config."""
        return self._predictor.digest

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`."""
        return str(self._predictor.device)

    def predict(
        self, images: Pixels, w_origins: Sequence[tuple[int, int]], seed: int, precision: Precision
    ) -> tuple[Labels, ...]:
        """Return the planes of uint8 images (N, H, W, 3) at these origins (x, y), see `Segmenter`.

        Raises:
            OutOfMemory: The accelerator has too little memory.
            DeviceLost: It computes no more.
        """
        try:
            return self._predictor.predict(images, w_origins, seed, precision)
        except self._out_of_memory as error:
            raise out_of_memory() from error
        except RuntimeError as error:
            if self._predictor.is_alive:
                raise
            raise DeviceLost(str(error)) from error


def cpu_threads(configured: int, workers: int) -> int:
    """Return the CPU threads of one worker: as configured, else the cores this process may use, shared by the workers.

    More threads than cores make inference slower, and `os.cpu_count` does not know of the cores taken away.
    """
    return configured or max(1, len(os.sched_getaffinity(0)) // max(1, workers))


class Tiling(Protocol):
    """What of a plan, or of a model's card, says how tiles lie; working px."""

    @property
    def tile_px(self) -> int:
        """Side of a tile."""

    @property
    def halo_px(self) -> int:
        """What is read around it."""

    @property
    def stride_px(self) -> int:
        """Step of the grid on which boxes begin."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One forward pass: a part of a tile of a region, its box and the tissue in its core."""

    core: Region
    box: Box
    mask: Mask


@dataclass(frozen=True, slots=True)
class Segmented:
    """A region's result.

    Args:
        region: The region.
        labels: Class index, uint8 (region.height, region.width).
        confidence: round(255 × largest probability), of the same shape.
        interior: round(255 × interior), of the same shape; None of a model without it.
        tiles: Forward passes of whole tiles that it was worth: a part of a tile counts by its pixels, halo included.
        holes: Boxes of the working plane that were left out of it because the slide could not be read there.
    """

    region: Region
    labels: Labels
    confidence: Labels
    interior: Labels | None = None
    tiles: float = 0.0
    holes: tuple[Box, ...] = ()

    @classmethod
    def empty(cls, region: Region, *, interior: bool) -> "Segmented":
        """Return a region before its first tile."""
        planes = np.zeros((3 if interior else 2, region.height, region.width), np.uint8)
        return cls(region, planes[0], planes[1], planes[2] if interior else None)

    @property
    def planes(self) -> tuple[Labels, ...]:
        """What the model gives, in its order."""
        given = self.labels, self.confidence
        return given if self.interior is None else (*given, self.interior)


def segment_regions(
    reader: PlaneReader,
    regions: Iterable[Region],
    engine: Segmenter,
    plan: Plan,
    tissue: Tissue,
    check: Check = unchecked,
) -> Generator[Segmented]:
    """Segment regions, in their order.

    Tiles are cells of the plane's own grid, so the regions' size does not matter; of each, boxes around its tissue are
    read (`cutting.cut`). Close the iterator when it is not read to its end.

    Args:
        reader: Reads the working plane; used in a thread of this function alone while it runs.
        regions: Regions of the plan's grid.
        engine: The plan's model.
        plan: Tile, halo, seed, and what to do about tiles of the slide that cannot be read.
        tissue: Outside of it all planes are 0.
        check: Called before each forward pass; raises if the work is no longer wanted.

    Yields:
        The result of each region.

    Raises:
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    found = ((region, pieces(reader.plane, region, plan, tissue)) for region in regions)
    flat = ((region, piece) for region, those in found for piece in (*those, None))
    read = partial(_read, reader, tissue)
    whole_px = forward_side(plan.tile_px, plan.halo_px, plan.stride_px) ** 2
    current: Segmented | None = None
    for (region, piece), (image, holes) in read_ahead(read, flat):
        if current is None:
            current = Segmented.empty(region, interior=plan.objects.interior)
        if piece is None:  # the region's end
            yield current
            current = None
        elif plan.on_bad_tile == "skip" and holes:
            core = Box(piece.core.w_x0, piece.core.w_y0, piece.core.width, piece.core.height)
            current = replace(current, holes=(*current.holes, core))
        else:
            check()
            _infer(engine, plan, piece, image, holes, current)
            share = piece.box.width * piece.box.height / whole_px
            current = replace(current, tiles=current.tiles + share, holes=(*current.holes, *holes))


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Generator[tuple[T, R]]:
    """Yield each item with what `read` makes of it; a thread is up to `READ_AHEAD` items ahead."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > READ_AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def pieces(plane: WorkingPlane, region: Region, tiling: Tiling, tissue: Tissue) -> Iterator[Piece]:
    """Yield what of a region goes through the model, tile by tile."""
    for tile in tiles(region, tiling.tile_px):
        mask = tissue.crop(Box(tile.w_x0, tile.w_y0, tile.width, tile.height), plane)
        for core in cut(tile, mask, tiling.halo_px, tiling.stride_px):
            top, left = core.w_y0 - tile.w_y0, core.w_x0 - tile.w_x0
            part = mask[top : top + core.height, left : left + core.width]
            yield Piece(core, read_box(core, tiling.halo_px, tiling.stride_px), part)


@timed("read")
def _read(reader: PlaneReader, tissue: Tissue, work: tuple[Region, Piece | None]) -> tuple[Pixels, tuple[Box, ...]]:
    """Return the pixels of a piece, white where nothing was scanned, and the parts of the plane that could not be read.

    A model calls black nuclei.
    """
    _, piece = work
    if piece is None:
        return np.empty((0, 0, 3), np.uint8), ()
    pixels = reader.read(piece.box.w_x, piece.box.w_y, piece.box.width, piece.box.height)
    tissue.whiten(pixels, piece.box, reader.plane)
    return pixels, reader.holes(piece.box)


def _infer(
    engine: Segmenter, plan: Plan, piece: Piece, image: Pixels, holes: tuple[Box, ...], result: Segmented
) -> None:
    """Run one piece and lay its core, where there is tissue and no hole, into the arrays of its region."""
    core, region, inside = piece.core, result.region, piece.box.crop(piece.core)
    top, left = core.w_y0 - region.w_y0, core.w_x0 - region.w_x0
    place = slice(top, top + core.height), slice(left, left + core.width)
    mask = without(piece.mask, (core.w_x0, core.w_y0), holes)
    if plan.estimated_peak_bytes:
        give_back(above_bytes=int(KEPT_SHARE * plan.estimated_peak_bytes))
    with interruptible(), timed("forward"):
        answers = engine.predict(image[np.newaxis], [(piece.box.w_x, piece.box.w_y)], plan.seed, plan.precision)
    for out, answer in zip(result.planes, answers, strict=True):
        out[place] = np.where(mask, answer[0][inside], 0)
