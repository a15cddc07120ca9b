"""Objects of a label map: what counts as one, and how touching ones are told apart.

A connected component of a class is split by a marker-controlled watershed of the interior map, which the network gives
beside the classes: 0 at the border of an object, 255 from `interior_um` inwards (`models.config`). Nothing here needs
torch.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import skimage  # imports its parts when they are used: the finish of a job, not the start of a worker
from numpy.typing import NDArray
from scipy import ndimage

from models.config import ObjectConfig

Numbers: TypeAlias = NDArray[np.int32]
Depth: TypeAlias = NDArray[np.int16]
Box: TypeAlias = tuple[slice, slice]
_FULL: Final = 255
_CROSS: Final = ndimage.generate_binary_structure(2, 1)
_NEIGHBOURS: Final = (
    (np.s_[1:], np.s_[:-1]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:, 1:], np.s_[:, :-1]),
    (np.s_[:, :-1], np.s_[:, 1:]),
)
BATCH_PX: Final = 2**18
"""Px of the components that are looked at together."""
SHELF_PX: Final = 512
"""Least width of the shelf on which they are laid beside one another."""
GROWTH_STEPS: Final = 96
"""Steps after which what still grows is left to skimage."""
SMALL_UM: Final = 16.0
"""Longest side of a component that `shallow` asks about; small against any halo."""


def shallow(
    labels: NDArray[np.uint8], interior: NDArray[np.uint8], mpp: float, least_interior: float
) -> NDArray[np.bool_]:
    """Return the components, whatever their classes, that are small and whose interior is nowhere high.

    Of a component with a side above `SMALL_UM` it is not asked. So a pixel's answer depends on what lies within
    `SMALL_UM` of it, and tiles with so much more context agree.

    Args:
        labels: (H, W) class index.
        interior: (H, W) uint8.
        mpp: µm per px.
        least_interior: 0 to 1; 0 finds nothing.

    Returns:
        (H, W), true where the label had better be background.
    """
    pieces, count = ndimage.label(labels > 0)
    gone = np.zeros(count + 1, np.bool_)
    if least_interior and count:
        gone[1:] = ndimage.maximum(interior, pieces, np.arange(1, count + 1)) < least_interior * _FULL
        boxes = ndimage.find_objects(pieces)
        for piece in np.flatnonzero(gone).tolist():
            rows, cols = boxes[piece - 1]
            gone[piece] = max(rows.stop - rows.start, cols.stop - cols.start) * mpp <= SMALL_UM
    return gone[pieces]  # type: ignore[no-any-return]


def split_objects(
    mask: NDArray[np.bool_], interior: NDArray[np.uint8] | None, mpp: float, config: ObjectConfig
) -> Numbers:
    """Number the objects of a mask: a watershed of the interior map within each 4-connected component.

    Components do not see each other: a component cut out of its plane is split as within it. So each is flooded by
    itself, from its own box: in a common flood the order of equal values, and with it the border between two objects,
    would depend on what else there is. Without an interior map a component is one object. `smallest_um2` is not applied
    here.

    Args:
        mask: (H, W), true inside objects of one class.
        interior: (H, W) uint8, 255 deep inside an object; None where the model gives none.
        mpp: µm per px.
        config: What a marker is.

    Returns:
        (H, W) int32, 0 outside and 1..n inside, numbered by first pixel in raster order.
    """
    numbers, count = ndimage.label(mask)
    numbers = numbers.astype(np.int32, copy=False)
    if interior is None or not count:
        return numbers  # type: ignore[no-any-return]
    depth = _smoothed(interior, numbers, round(2 * (config.smooth_um / mpp) ** 2))
    several, last = _with_several_maxima(numbers, depth, count), count
    boxes = ndimage.find_objects(numbers) if several else []
    for batch in _batches(several, boxes):
        for piece, markers in _markers(batch, boxes, numbers, depth, config.prominence):
            box = boxes[piece - 1]
            inside = numbers[box] == piece
            flooded = skimage.segmentation.watershed(_FULL - depth[box], markers, mask=inside)
            numbers[box][inside] = last + flooded[inside]
            last += int(markers.max())
    return _in_raster_order(numbers, last) if last > count else numbers


def _smoothed(interior: NDArray[np.uint8], pieces: Numbers, passes: int) -> Depth:
    """Smooth a map within each component, as if there were nothing outside it; 0 there.

    A pass is the binomial filter (1, 2, 1) along both axes, variance 1/2 px². Its sums are whole numbers, rounded after
    each pass: the same wherever the component lies. Neighbours belong to it by 4-connection or are left out.
    """
    depth = np.where(pieces > 0, interior, 0).astype(np.int16)
    for axis in (0, 1) * passes:
        before, after = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        together = pieces[before] == pieces[after]
        total = 2 * depth
        total[after] += np.where(together, depth[before], 0)
        total[before] += np.where(together, depth[after], 0)
        depth = (total + 2) // 4
    return depth


def _with_several_maxima(pieces: Numbers, depth: Depth, count: int) -> list[int]:
    """Return the numbers of the components with more than one local maximum: the others need no closer look."""
    tops, found = ndimage.label(skimage.morphology.local_maxima(depth, connectivity=1))
    owner = np.zeros(found + 1, np.int64)
    owner[tops.ravel()] = pieces.ravel()
    several: list[int] = np.flatnonzero(np.bincount(owner[1:], minlength=count + 1) > 1).tolist()
    return several


def _batches(pieces: Sequence[int], boxes: Sequence[Box]) -> Iterator[list[int]]:
    """Group components, in order, until their boxes hold `BATCH_PX`."""
    batch: list[int] = []
    held = 0
    for piece in pieces:
        batch.append(piece)
        held += _height(boxes[piece - 1]) * _width(boxes[piece - 1])
        if held >= BATCH_PX:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _markers(
    batch: list[int], boxes: Sequence[Box], pieces: Numbers, depth: Depth, prominence: float
) -> Iterator[tuple[int, Numbers]]:
    """Yield the components of a batch with several maxima that stand out by more than `prominence`, and those.

    The components are laid beside one another with 0 between them, and looked at all at once: each by itself would
    take ten times as long, all of it in preparations. They do not see each other across the 0.

    Yields:
        Number of the component; its maxima in its box, int32 (height, width), numbered from 1, 0 elsewhere.
    """
    places, (height, width) = _beside(batch, boxes)
    laid = np.zeros((height, width), depth.dtype)
    for piece, place in places.items():
        box = boxes[piece - 1]
        np.copyto(laid[place], depth[box], where=pieces[box] == piece)
    least = max(1, round(prominence * _FULL))
    # The map with its tops cut off: a top that does not stand out more is gone.
    cut = _grown(np.maximum(laid - least, 0), laid)
    tops, count = ndimage.label(skimage.morphology.local_maxima(cut, connectivity=1))
    del laid, cut
    numbered = np.zeros(count + 1, np.int32)
    for piece, place in places.items():
        own = tops[place]
        found = np.unique(own[own > 0])
        if len(found) > 1:
            numbered[found] = np.arange(1, len(found) + 1)
            yield piece, numbered[own]


def _grown(low: Depth, high: Depth) -> Depth:
    """Return the reconstruction of `high` from `low` by dilation: `low` grows over neighbours, never above `high`.

    A nucleus is through after some tens of steps, each a few passes over the pixels. What winds further is left to
    skimage, which sorts all pixels first.
    """
    level, before = low.copy(), np.empty_like(low)
    for _ in range(GROWTH_STEPS):
        np.copyto(before, level)
        for there, here in _NEIGHBOURS:
            np.maximum(level[there], level[here], out=level[there])
            np.minimum(level[there], high[there], out=level[there])  # after each: two steps could leap a gap
        if np.array_equal(level, before):
            return level
    return skimage.morphology.reconstruction(level, high, footprint=_CROSS)  # type: ignore[no-any-return]


def _beside(batch: list[int], boxes: Sequence[Box]) -> tuple[dict[int, Box], tuple[int, int]]:
    """Lay boxes on shelves, the highest first, a px apart; return the place of each and the size of it all."""
    width = max(SHELF_PX, *(_width(boxes[piece - 1]) for piece in batch))
    places: dict[int, Box] = {}
    top = left = shelf = 0
    for piece in sorted(batch, key=lambda piece: -_height(boxes[piece - 1])):
        across, down = _width(boxes[piece - 1]), _height(boxes[piece - 1])
        if left + across > width:
            top, left, shelf = top + shelf + 1, 0, 0
        places[piece] = np.s_[top : top + down, left : left + across]
        left, shelf = left + across + 1, max(shelf, down)
    return places, (top + shelf, width)


def _height(box: Box) -> int:
    return int(box[0].stop - box[0].start)


def _width(box: Box) -> int:
    return int(box[1].stop - box[1].start)


def _in_raster_order(numbers: Numbers, largest: int) -> Numbers:
    places = np.flatnonzero(numbers)
    first = np.full(largest + 1, numbers.size, np.int64)
    np.minimum.at(first, numbers.ravel()[places], places)
    used = np.flatnonzero(first < numbers.size)
    order = np.zeros(largest + 1, np.int32)
    order[used[np.argsort(first[used])]] = np.arange(1, len(used) + 1)
    ordered: Numbers = order[numbers]
    return ordered
