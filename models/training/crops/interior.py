"""What the interior map is to become: distance from the border of one's own object, full from a stated depth on."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from models.training.datasets.sample import IGNORE, Sample

UNKNOWN: Final = -1.0
Numbers = NDArray[np.int32]


def interior_target(sample: Sample, depth_um: float, least_solidity: float = 0.0) -> NDArray[np.float32]:
    """Return min(distance / depth, 1) of every pixel of a sample, on its own grid.

    The distance is that to the nearest pixel of no object or of another one. Objects are the sample's instances;
    without them the 4-connected components of each class, of which those that are not convex enough are likely to be
    several: what is not known is left out of the loss.

    Args:
        sample: Labels and, where there are some, object numbers.
        depth_um: Distance in µm from which on the interior is 1.
        least_solidity: Area over convex area that a component needs to be taken for one object.

    Returns:
        (H, W) float32, 0 outside of objects, `UNKNOWN` where it is not known.
    """
    inside = (sample.labels > 0) & (sample.labels != IGNORE)
    if sample.instances is None:
        numbers = _components(sample.labels, inside)
        unknown = np.isin(numbers, _several(numbers, least_solidity)) if least_solidity else np.zeros_like(inside)
    else:
        numbers, unknown = sample.instances, inside & (sample.instances == 0)
    distance = ndimage.distance_transform_edt(_without_borders(numbers))
    target: NDArray[np.float32] = np.minimum(distance * sample.mpp / depth_um, 1.0).astype(np.float32)
    target[unknown | (sample.labels == IGNORE)] = UNKNOWN
    return target


def _components(labels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> Numbers:
    numbers = np.zeros(labels.shape, np.int32)
    for value in np.unique(labels[inside]):
        pieces, _ = ndimage.label(labels == value)
        numbers += np.where(pieces > 0, pieces + numbers.max(), 0).astype(np.int32)
    return numbers


def _several(numbers: Numbers, least_solidity: float) -> list[int]:
    found: list[Any] = regionprops(numbers)
    return [int(one.label) for one in found if one.area >= 3 and one.solidity < least_solidity]


def _without_borders(numbers: Numbers) -> NDArray[np.bool_]:
    """Return the objects without the pixels that lie beside another object."""
    kept = numbers > 0
    for before, after in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        touching = (numbers[before] > 0) & (numbers[after] > 0) & (numbers[before] != numbers[after])
        kept[before] &= ~touching
        kept[after] &= ~touching
    return kept
