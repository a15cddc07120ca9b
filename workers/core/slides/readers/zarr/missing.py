"""Chunks of an OME-Zarr that were lost: not stored, where a coarser level shows that there was something.

What is not stored is fill, and nothing in the metadata says how much of it there should be. A chunk that was left out
because all of it was fill is fill in the coarser levels as well; one that a copy or an upload lost is not.
"""

from collections.abc import Iterator
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from workers.core.slide_schemas import TrustWarning
from workers.core.slides.slide import Pixels, Slide

WHOLE_PX = 2**22
"""A coarser level of no more px is held as a whole, and all places are compared with it; of a larger one `READS`."""

READS = 64
MIN_PX = 4
"""Px of the coarser level along a side of a chunk, at least: a rim of one px is left to the filter."""

DIFFERENCE, SHARE = 24, 0.05
"""Grey levels by which a px is not fill, and the share of such px that says that the chunk was lost."""


class Place(NamedTuple):
    """Where a chunk is not stored, px of its level, and which of the three colours it would be."""

    left: int
    top: int
    right: int
    bottom: int
    colours: slice


def missing_doubts(slide: Slide, level: int, side: int, fill: int, places: list[Place]) -> Iterator[TrustWarning]:
    """Yield a warning if chunks of a level were lost.

    Args:
        slide: Open.
        level: Number of the level.
        side: The shorter one of its chunks, px.
        fill: What is shown where nothing is stored.
        places: Where that is.

    Raises:
        SlideUnreadable: A tile of a coarser level cannot be decoded.
    """
    coarse = _coarser(slide, level, side) if places else None
    if coarse is None:
        return
    size = slide.geometry.levels[coarse]
    ratio = size.downsample / slide.geometry.levels[level].downsample
    whole = slide.read_level(coarse, 0, 0, size.width, size.height) if size.width * size.height <= WHOLE_PX else None
    chosen = places if whole is not None else places[:: max(1, len(places) // READS)]
    lost: list[Place] = []
    for place in chosen:
        left, top = (ceil(at / ratio) + 1 for at in (place.left, place.top))
        right, bottom = (floor(at / ratio) - 1 for at in (place.right, place.bottom))
        right, bottom = min(right, size.width), min(bottom, size.height)
        if left < right and top < bottom:
            seen = (
                slide.read_level(coarse, left, top, right - left, bottom - top)
                if whole is None
                else whole[top:bottom, left:right]
            )
            if _is_something(seen[..., place.colours], fill):
                lost.append(place)
    if lost:
        yield TrustWarning(
            code="tiles_missing",
            message="Chunks of this OME-Zarr are not stored where a coarser level shows that there is something.",
            value=f"level {level}: {len(lost)} of {len(chosen)} places that are not stored",
        ).at(
            slide.geometry.l0_box(level, (each.left, each.top), (each.right - each.left, each.bottom - each.top))
            for each in lost
        )


def _coarser(slide: Slide, level: int, side: int) -> int | None:
    """Return the coarsest level in which a chunk is still some px wide, None if there is none."""
    levels = slide.geometry.levels
    fine = [
        number
        for number in range(level + 1, len(levels))
        if side * levels[level].downsample / levels[number].downsample >= MIN_PX
    ]
    return fine[-1] if fine else None


def _is_something(seen: Pixels, fill: int) -> bool:
    off = np.abs(seen.astype(np.int16) - fill).max(axis=2) > DIFFERENCE
    return bool(off.mean() > SHARE)
