"""A coarse answer for a whole slide within seconds: a few hundred small places are segmented, the rest is estimated.

Places are drawn from the tissue by chance. What the model finds there is regressed on colour and texture of the
overview, which covers the whole slide; what the regression leaves over is interpolated between the places (regression
kriging, with a Gaussian in place of a fitted variogram). It is an estimate, marked as such, and no part of any result.

Frames: `w_` working px. Blocks are squares of the overview, about `BLOCK_PX` working px wide; cells are `CELL` × `CELL`
blocks.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from workers.core.checks import Check
from workers.core.objects.coarse import COARSE, CoarsePreview, ExpectedShare
from workers.core.schemas import Plan
from workers.core.slides.slide import Pixels, Slide
from workers.core.storage.files import write_json
from workers.pipeline.inference import Segmenter
from workers.pipeline.objects import centres_of
from workers.pipeline.overview import Overview
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import Tissue
from workers.pipeline.tiling import Box, WorkingPlane
from workers.pipeline.tissue import TissueMask

BLOCK_PX, CELL = 128, 8
MARGIN_PX = 16
"""Context of a sample: less than a halo, for an estimate."""
BUDGET_S, SAMPLES_MIN, SAMPLES_MAX = 4.0, 96, 256
"""No more samples are begun after so many seconds, once there are so many."""
BATCH = 8
TISSUE_MIN = 0.5
"""Share of a block that must be tissue for it to be a sample."""
REGIONS_MIN_PX = 2**25
"""Jobs of fewer px in regions are done before a preview would be looked at."""
RIDGE, SHRINK = 0.01, 1.0
"""Of the regression, and of the interpolated rest: it counts as if there were one more sample without any."""
DARK_QUANTILES = 0.2, 0.05
"""Of red, over all tissue: how much of a block is darker."""
BAND = 32
"""Rows of blocks that are in memory as floats at once."""

Floats = NDArray[np.float64]


def is_due(plan: Plan, index: int, priority: Callable[[], str], out_dir: Path) -> bool:
    """Whether whoever segments this region is to make the preview first: the second region, once, of a large job.

    The priority is asked for last: it has to be read from the job's record.
    """
    large = len(plan.regions) * plan.region_px**2 >= REGIONS_MIN_PX
    here = plan.roi is None and large and index == plan.regions[1] and not (out_dir / COARSE).exists()
    return here and priority() == "interactive"


@dataclass(frozen=True)
class Blocks:
    """A slide's overview in squares.

    Args:
        l0_side: Width and height of a block, level-0 px.
        w_side: The same in working px.
        tissue: How much of each is tissue, float64 (rows, columns), 0 to 1.
        features: What it looks like, float64 (rows, columns, n); the first is 1.
    """

    l0_side: tuple[float, float]
    w_side: tuple[float, float]
    tissue: Floats
    features: Floats

    @classmethod
    def of(cls, overview: Overview, mask: NDArray[np.bool_], plane: WorkingPlane) -> "Blocks":
        """Measure optical density, its spread and how much is dark, over the tissue of each block."""
        per_px = overview.l0_per_px_x, overview.l0_per_px_y
        side = max(1, round(BLOCK_PX / max(per_px[0] / plane.scale_x, per_px[1] / plane.scale_y)))
        dark = np.quantile(overview.pixels[:, :, 0][mask], DARK_QUANTILES) if mask.any() else np.zeros(2)
        bands = [slice(top, top + BAND * side) for top in range(0, len(mask), BAND * side)]
        told = [_features(overview.pixels[band], mask[band], side, dark) for band in bands]
        tissue, features = (np.concatenate(parts) for parts in zip(*told, strict=True))
        l0_side = float(per_px[0] * side), float(per_px[1] * side)
        w_side = l0_side[0] / float(plane.scale_x), l0_side[1] / float(plane.scale_y)
        return cls(l0_side, w_side, tissue, features)

    def box(self, row: int, column: int) -> Box:
        """Return the working px of a block."""
        x0, y0 = round(column * self.w_side[0]), round(row * self.w_side[1])
        return Box(x0, y0, round((column + 1) * self.w_side[0]) - x0, round((row + 1) * self.w_side[1]) - y0)


def _features(pixels: Pixels, mask: NDArray[np.bool_], side: int, dark: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Return for blocks of an overview how much of each is tissue, and what that looks like, see `Blocks`."""
    weight = _sums(mask.astype(np.float64), side)
    density = -np.log((pixels.astype(np.float32) + 1) / 256)
    planes = [*np.moveaxis(density, 2, 0), *np.moveaxis(density**2, 2, 0), *(pixels[:, :, 0] < each for each in dark)]
    means = np.stack([_sums(each * mask, side) / np.maximum(weight, 1) for each in planes], axis=2)
    means[:, :, 3:6] = np.sqrt(np.maximum(means[:, :, 3:6] - means[:, :, :3] ** 2, 0))
    return weight / side**2, np.concatenate([np.ones((*weight.shape, 1)), means], axis=2)


class Sample(NamedTuple):
    """What the model found in a block.

    Args:
        row: Of the block.
        column: Of the block.
        tissue_px: Working px that it looked at.
        found: Share of them in each class, then objects per px.
    """

    row: int
    column: int
    tissue_px: int
    found: Floats


def make_coarse(
    slide: Slide, plan: Plan, tissue: TissueMask, engine: Segmenter, out_dir: Path, check: Check
) -> CoarsePreview:
    """Make the coarse preview of a job and write it into its folder.

    Args:
        slide: The open slide.
        plan: The job's plan, of a whole slide.
        tissue: Its tissue.
        engine: The plan's model.
        out_dir: Folder of the job.
        check: Called before each batch of samples; raises if the work is no longer wanted.

    Raises:
        SlideUnreadable: A tile of the slide cannot be decoded.
    """
    overview, plane = Overview.from_slide(slide), WorkingPlane.from_plan(plan)
    mask = tissue.mask if tissue.mask.shape == overview.dark.shape else np.ones_like(overview.dark)
    blocks = Blocks.of(overview, mask, plane)
    samples = take_samples(PlaneReader(slide, plane, plan.level), blocks, tissue, engine, plan, check)
    preview = estimate(blocks, samples, plan)
    write_json(out_dir / COARSE, preview)
    return preview


class Readable(Protocol):
    """Reads boxes of the working plane."""

    plane: WorkingPlane

    def read(self, w_x: int, w_y: int, width: int, height: int) -> Pixels:
        """Return uint8 (height, width, 3)."""


def take_samples(
    reader: Readable, blocks: Blocks, tissue: Tissue, engine: Segmenter, plan: Plan, check: Check
) -> list[Sample]:
    """Segment blocks of tissue, drawn by chance with the plan's seed, until the time is over or there are enough."""
    full = np.argwhere(blocks.tissue >= TISSUE_MIN)
    places = np.random.default_rng(plan.seed).permutation(full)[:SAMPLES_MAX].tolist()
    started, samples = time.monotonic(), list[Sample]()
    for first in range(0, len(places), BATCH):
        if first >= SAMPLES_MIN and time.monotonic() - started > BUDGET_S:
            break
        check()
        samples += _look(reader, blocks, tissue, engine, plan, places[first : first + BATCH])
    return samples


def _look(
    reader: Readable,
    blocks: Blocks,
    tissue: Tissue,
    engine: Segmenter,
    plan: Plan,
    places: Sequence[tuple[int, int]],
) -> Iterator[Sample]:
    """Segment a batch of blocks, each with a margin and on the model's stride."""
    stride = plan.stride_px
    side = ceil((max(blocks.w_side) + 1 + 2 * MARGIN_PX + stride) / stride) * stride
    cores = [blocks.box(row, column) for row, column in places]
    wide = [_around(core, side, stride) for core in cores]
    images = [reader.read(box.w_x, box.w_y, side, side) for box in wide]
    for image, box in zip(images, wide, strict=True):
        tissue.whiten(image, box, reader.plane)
    planes = engine.predict(np.stack(images), [(box.w_x, box.w_y) for box in wide], plan.seed, plan.precision)
    for number, ((row, column), core, box) in enumerate(zip(places, cores, wide, strict=True)):
        labels, interior = planes[0][number], planes[2][number] if len(planes) > 2 else None
        x, y = core.w_x - box.w_x, core.w_y - box.w_y
        inside = tissue.crop(core, reader.plane)
        part = labels[y : y + core.height, x : x + core.width][inside]
        shares = [(part == each.index).sum() for each in plan.classes]
        centres = np.floor(centres_of(labels, interior, plan)).astype(int) - (y, x)
        within = ((centres >= 0) & (centres < (core.height, core.width))).all(axis=1)
        counted = inside[tuple(centres[within].T)].sum()
        yield Sample(row, column, part.size, np.array([*shares, counted], np.float64) / max(1, part.size))


def _around(core: Box, side: int, stride: int) -> Box:
    """Return a square on the stride that holds a block with its margin."""
    w_x, w_y = (floor((at - MARGIN_PX) / stride) * stride for at in (core.w_x, core.w_y))
    return Box(w_x, w_y, side, side)


def estimate(blocks: Blocks, samples: Sequence[Sample], plan: Plan) -> CoarsePreview:
    """Estimate all cells from samples."""
    expected = expected_of(blocks, samples, len(plan.classes) + 1)
    tissue, on_slide = _sums(blocks.tissue, CELL), _sums(np.ones_like(blocks.tissue), CELL)
    sums = np.stack([_sums(each * blocks.tissue, CELL) for each in np.moveaxis(expected, 2, 0)])
    shares = np.clip(sums / np.where(tissue > 0, tissue, 1), 0, 1)
    none = tissue <= 0
    mm2_per_px = (plan.model_mpp / 1000) ** 2
    per_mm2 = np.round(sums[-1] / on_slide / mm2_per_px, 1)
    return CoarsePreview(
        cell_px=(CELL * blocks.l0_side[0], CELL * blocks.l0_side[1]),
        columns=tissue.shape[1],
        rows=tissue.shape[0],
        samples=len(samples),
        samples_mm2=round(sum(each.tissue_px for each in samples) * mm2_per_px, 4),
        classes=tuple(
            ExpectedShare(index=each.index, name=each.name, share=_listed(np.round(shares[number], 4), none))
            for number, each in enumerate(plan.classes)
            if each.index
        ),
        per_mm2=_listed(per_mm2, none) if plan.objects.interior else None,
    )


def expected_of(blocks: Blocks, samples: Sequence[Sample], kinds: int) -> Floats:
    """Return what is expected in each block, for each px of its tissue, float64 (rows, columns, kinds)."""
    rows, columns = blocks.tissue.shape
    if not samples:
        return np.zeros((rows, columns, kinds))
    at = np.array([(each.row, each.column) for each in samples])
    found = np.stack([each.found for each in samples])
    scale = np.abs(blocks.features[at[:, 0], at[:, 1]]).mean(axis=0) + 1e-9
    features = blocks.features / scale
    seen = features[at[:, 0], at[:, 1]]
    penalty = RIDGE * len(samples) * np.eye(seen.shape[1])
    weights = np.linalg.solve(seen.T @ seen + penalty, seen.T @ found)
    expected: Floats = np.maximum(features @ weights + _interpolated(at, found - seen @ weights, (rows, columns)), 0)
    return expected


def _interpolated(at: NDArray[np.int64], rest: Floats, shape: tuple[int, int]) -> Floats:
    """Return what samples leave over, between them: weighted by a Gaussian one cell wide, shrunk where few are near."""
    near = [
        np.exp(-((np.arange(length)[:, None] - at[:, axis]) ** 2) / (2 * CELL**2)) for axis, length in enumerate(shape)
    ]
    sums = np.einsum("yn,xn,nk->yxk", *near, rest, optimize=True)
    weights: Floats = sums / (np.einsum("yn,xn->yx", *near)[:, :, None] + SHRINK)
    return weights


def _sums(plane: Floats, side: int) -> Floats:
    """Sum a plane over squares; what the edge cuts counts as far as it is there."""
    rows, columns = plane.shape
    padded = np.pad(plane, ((0, -rows % side), (0, -columns % side)))
    sums: Floats = padded.reshape(padded.shape[0] // side, side, -1, side).sum(axis=(1, 3))
    return sums


def _listed(values: Floats, none: NDArray[np.bool_]) -> tuple[float | None, ...]:
    return tuple(
        None if missing else value for value, missing in zip(values.ravel().tolist(), none.ravel(), strict=True)
    )
