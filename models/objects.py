"""Objects of a label map: what counts as one, and how touching ones are told apart.

A connected component of a class is split by a marker-controlled watershed of the interior map, which the network gives
beside the classes: 0 at the border of an object, 255 from `interior_um` inwards (`models.config`). Nothing here needs
torch.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from models.config import ObjectConfig

Numbers: TypeAlias = NDArray[np.int32]
_FULL: Final = 255


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
    markers, owner = _markers(numbers, interior, mpp, config)
    several = np.flatnonzero(np.bincount(owner, minlength=count + 1)[1:] > 1) + 1
    boxes = ndimage.find_objects(numbers) if len(several) else []
    for piece in several.tolist():
        box = boxes[piece - 1]
        inside = numbers[box] == piece
        flooded = watershed(_FULL - interior[box], np.where(inside, markers[box], 0), mask=inside)
        numbers[box][inside] = count + flooded[inside]
    return _in_raster_order(numbers, count + len(owner)) if len(several) else numbers


def _markers(
    pieces: Numbers, interior: NDArray[np.uint8], mpp: float, config: ObjectConfig
) -> tuple[Numbers, NDArray[np.int64]]:
    """Return the markers, numbered from 1, and the component of each: places deep enough and large enough."""
    deep, found = ndimage.label((pieces > 0) & (interior >= config.marker * _FULL))
    large = np.bincount(deep.ravel(), minlength=found + 1) * mpp**2 >= config.marker_um2
    large[0] = False
    owner = np.zeros(found + 1, np.int64)
    owner[deep.ravel()] = pieces.ravel()
    number = np.where(large, np.cumsum(large), 0).astype(np.int32)
    return number[deep], owner[large]


def _in_raster_order(numbers: Numbers, largest: int) -> Numbers:
    places = np.flatnonzero(numbers)
    first = np.full(largest + 1, numbers.size, np.int64)
    np.minimum.at(first, numbers.ravel()[places], places)
    used = np.flatnonzero(first < numbers.size)
    order = np.zeros(largest + 1, np.int32)
    order[used[np.argsort(first[used])]] = np.arange(1, len(used) + 1)
    ordered: Numbers = order[numbers]
    return ordered
