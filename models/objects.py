"""Objects of a label map: what counts as one, and how touching ones are told apart.

A connected component of a class is split by a marker-controlled watershed of the interior map, which the network gives
beside the classes: 0 at the border of an object, 255 from `interior_um` inwards (`models.config`). Nothing here needs
torch.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from models.config import ObjectConfig

Numbers: TypeAlias = NDArray[np.int32]
Depth: TypeAlias = NDArray[np.int16]
_FULL: Final = 255
_CROSS: Final = ndimage.generate_binary_structure(2, 1)
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
    for piece in several:
        box = boxes[piece - 1]
        inside = numbers[box] == piece
        markers, found = _markers(np.where(inside, depth[box], 0), config.prominence)
        if found > 1:
            flooded = watershed(_FULL - depth[box], markers, mask=inside)
            numbers[box][inside] = last + flooded[inside]
            last += found
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
    tops, found = ndimage.label(local_maxima(depth, connectivity=1))
    owner = np.zeros(found + 1, np.int64)
    owner[tops.ravel()] = pieces.ravel()
    several: list[int] = np.flatnonzero(np.bincount(owner[1:], minlength=count + 1) > 1).tolist()
    return several


def _markers(depth: Depth, prominence: float) -> tuple[Numbers, int]:
    """Number the maxima of one component, 0 around it, that stand out by more than `prominence`, and count them."""
    least = max(1, round(prominence * _FULL))
    # The map with its tops cut off: a top that does not stand out more is gone.
    level = reconstruction(np.maximum(depth - least, 0), depth, footprint=_CROSS)
    return ndimage.label(local_maxima(level, connectivity=1))  # type: ignore[no-any-return]


def _in_raster_order(numbers: Numbers, largest: int) -> Numbers:
    places = np.flatnonzero(numbers)
    first = np.full(largest + 1, numbers.size, np.int64)
    np.minimum.at(first, numbers.ravel()[places], places)
    used = np.flatnonzero(first < numbers.size)
    order = np.zeros(largest + 1, np.int32)
    order[used[np.argsort(first[used])]] = np.arange(1, len(used) + 1)
    ordered: Numbers = order[numbers]
    return ordered
