"""Do the levels of a slide show the same picture? Places of each level beside the next finer one, averaged.

A level whose tiles were mixed up, or that belongs to another picture, has the right size and opens without a word;
then far views, tissue and whatever a coarse model says are of somewhere else. How many px are read is bounded.
"""

from collections.abc import Iterator
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.core.slide_schemas import TrustWarning
from workers.core.slides.slide import Pixels, Slide

FINE_PX = 256
"""Side of a place, in px of the finer level: as large as most tiles are."""

PLACES = 20
"""In all levels together, the coarsest first; a slide that has no more is compared as a whole."""

MIN_PLACES = 4
"""In every level."""

FAR_MAX_PX = 2**20
"""A coarsest level of more px is not read as a whole to find where there is something to see."""

CELL_PX = 8
"""Px of the coarser level that are averaged before they are compared: levels are made with all kinds of filters."""

CELL_DIFFERENCE = 24.0
"""Grey levels by which the channel of a cell that differs most may do so."""

CELLS_SHARE = 0.1
"""A place differs where more of its cells than this do."""

Place = tuple[int, int]
"""Column and row on the grid of `FINE_PX` of the finer level."""


class _Pair(NamedTuple):
    """Two levels, and how many px of the finer one a px of the coarser one measures."""

    fine: int
    coarse: int
    ratio: float


def level_doubts(slide: Slide) -> Iterator[TrustWarning]:
    """Yield a warning for every level that does not show what the next finer one shows.

    Raises:
        SlideUnreadable: A tile cannot be decoded.
    """
    levels = slide.geometry.levels
    pairs = [
        _Pair(index - 1, index, level.downsample / levels[index - 1].downsample)
        for index, level in enumerate(levels)
        if index > 0
    ]
    left = PLACES
    for pair in reversed(pairs):
        places = _places(slide, pair, max(MIN_PLACES, left // pair.coarse))
        left -= len(places)
        off = [place for place in places if _differs(slide, pair, place)]
        if off:
            yield TrustWarning(
                code="level_differs",
                message="A level of the pyramid does not show what the next finer level shows.",
                value=f"level {pair.coarse}: {len(off)} of {len(places)} places",
            ).at(
                slide.geometry.l0_box(pair.fine, (column * FINE_PX, row * FINE_PX), (FINE_PX, FINE_PX))
                for column, row in off
            )


def _places(slide: Slide, pair: _Pair, most: int) -> list[Place]:
    """Return all places of a level, or of many those that are most uneven in the far view, and some anywhere."""
    size = slide.geometry.levels[pair.fine]
    columns, rows = -(-size.width // FINE_PX), -(-size.height // FINE_PX)
    if columns * rows <= most:
        return [(column, row) for row in range(rows) for column in range(columns)]
    coarsest = slide.geometry.levels[-1]
    if coarsest.width * coarsest.height > FAR_MAX_PX:
        return [(index % columns, index // columns) for index in np.linspace(0, columns * rows - 1, most).astype(int)]
    uneven = _unevenness(slide, columns, rows)
    order = np.argsort(-uneven, axis=None, kind="stable")
    spread = np.linspace(0, columns * rows - 1, most // 4).astype(int)
    stride = max(1, np.count_nonzero(uneven > uneven.max() / 2) // (most - len(spread)))
    chosen = [*order[::stride][: most - len(spread)].tolist(), *spread.tolist()]
    return [(index % columns, index // columns) for index in dict.fromkeys(chosen)]


def _unevenness(slide: Slide, columns: int, rows: int) -> npt.NDArray[np.float64]:
    """Return how much there is to see in every place, (rows, columns), by the coarsest level."""
    coarsest = len(slide.geometry.levels) - 1
    longer = max(slide.geometry.levels[coarsest].width, slide.geometry.levels[coarsest].height)
    small = slide.reduced(coarsest, max(1, longer // 512)).mean(axis=2).astype(np.float32)
    edges = np.abs(np.gradient(small)).sum(axis=0) if min(small.shape) > 1 else np.zeros_like(small)
    resized = Image.fromarray(edges.astype(np.float32)).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(resized, np.float64)


def _differs(slide: Slide, pair: _Pair, place: Place) -> bool:
    fine, coarse = slide.geometry.levels[pair.fine], slide.geometry.levels[pair.coarse]
    x, y = (ceil(index * FINE_PX / pair.ratio) for index in place)
    width = min(floor(FINE_PX / pair.ratio), coarse.width - x, floor(fine.width / pair.ratio) - x)
    height = min(floor(FINE_PX / pair.ratio), coarse.height - y, floor(fine.height / pair.ratio) - y)
    if min(width, height) < 1:
        return False
    left, top = floor(x * pair.ratio), floor(y * pair.ratio)
    right, bottom = ceil((x + width) * pair.ratio), ceil((y + height) * pair.ratio)
    finer = Image.fromarray(slide.read_level(pair.fine, left, top, right - left, bottom - top))
    box = (
        x * pair.ratio - left,
        y * pair.ratio - top,
        (x + width) * pair.ratio - left,
        (y + height) * pair.ratio - top,
    )
    wanted = np.asarray(finer.resize((width, height), Image.Resampling.BOX, box))
    found = slide.read_level(pair.coarse, x, y, width, height)
    off = np.abs(_cells(wanted) - _cells(found)).max(axis=2)
    return float((off > CELL_DIFFERENCE).mean()) > CELLS_SHARE


def _cells(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Average cells, uint8 (height, width, 3) to (rows, columns, 3); what is left at the edges is not looked at."""
    height, width = pixels.shape[:2]
    tall, wide = min(CELL_PX, height), min(CELL_PX, width)
    rows, columns = height // tall, width // wide
    cut = pixels[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide, 3)
    return np.asarray(cut.mean(axis=(1, 3)), np.float64)
