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

    Components do not see each other: a component cut out of its plane is split as within it. Without an interior map a
    component is one object. `smallest_um2` is not applied here.

    Args:
        mask: (H, W), true inside objects of one class.
        interior: (H, W) uint8, 255 deep inside an object; None where the model gives none.
        mpp: µm per px.
        config: What a marker is.

    Returns:
        (H, W) int32, 0 outside and 1..n inside, numbered by first pixel in raster order.
    """
    pieces, count = ndimage.label(mask)
    if interior is None or not count:
        return pieces.astype(np.int32, copy=False)  # type: ignore[no-any-return]
    numbers = pieces.astype(np.int32)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == number
        markers = _markers(own, interior[box], mpp, config)
        if markers.max() > 1:  # by itself: the library's answer depends on all that it is given at once
            parts = watershed(_FULL - interior[box], markers, mask=own)
            numbers[box][own] = np.where(parts == 1, number, numbers.max() + parts - 1)[own]
    return _in_raster_order(numbers)


def _markers(
    own: NDArray[np.bool_], interior: NDArray[np.uint8], mpp: float, config: ObjectConfig
) -> NDArray[np.int32]:
    """Number the places of one component that are deep enough and large enough."""
    deep, found = ndimage.label(own & (interior >= config.marker * _FULL))
    large = np.bincount(deep.ravel(), minlength=found + 1) * mpp**2 >= config.marker_um2
    large[0] = False
    order: NDArray[np.int32] = np.where(large, np.cumsum(large), 0).astype(np.int32)
    markers: NDArray[np.int32] = order[deep]
    return markers


def _in_raster_order(numbers: Numbers) -> Numbers:
    used, first = np.unique(numbers, return_index=True)
    kept = used > 0
    order = np.zeros(int(numbers.max()) + 1, np.int32)
    order[used[kept][np.argsort(first[kept])]] = np.arange(1, kept.sum() + 1)
    ordered: Numbers = order[numbers]
    return ordered
