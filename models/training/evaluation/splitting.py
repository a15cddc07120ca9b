"""What counts as one object, in the reference and in an answer, where nobody numbered them."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from models.config import ObjectConfig
from models.objects import split_objects

Numbers: TypeAlias = NDArray[np.int32]
REFERENCE_UM2: Final = 8.0
"""Smaller connected components of an annotated mask are no objects of the reference: no nucleus is that small."""


@dataclass(frozen=True)
class SplitConfig:
    """How a mask is cut. The defaults cut the annotated masks of nuclei at 0.25 µm/px best, see `docs/evaluation.md`.

    Attributes:
        radius_um: Two seeds are at least this far apart. Smaller cuts more.
        smooth_um: Standard deviation of the blur of the distance map, against seeds from a rough outline.
        least_um2: Smaller objects are dropped.
    """

    radius_um: float = 1.5
    smooth_um: float = 0.5
    least_um2: float = 3.0


def components(mask: NDArray[np.bool_], mpp: float) -> Numbers:
    """Number the 4-connected components of an annotated mask (H, W) that have `REFERENCE_UM2` or more."""
    return at_least(ndimage.label(mask)[0], mpp, REFERENCE_UM2)


def class_objects(
    labels: NDArray[np.uint8], interior: NDArray[np.uint8] | None, mpp: float, config: ObjectConfig
) -> Numbers:
    """Number the objects of a label map, each class for itself: those that a job lists too.

    Args:
        labels: (H, W) class index; 0 has no objects.
        interior: (H, W) uint8, see `models.objects`; None where the model gives none: a component is one object.
        mpp: µm per px.
        config: What counts as one; objects below `smallest_um2` are dropped.

    Returns:
        (H, W), 0 outside and 1..n inside, class by class.
    """
    numbers = np.zeros(labels.shape, np.int32)
    for index in np.unique(labels[labels > 0]):
        found = at_least(split_objects(labels == index, interior, mpp, config), mpp, config.smallest_um2)
        numbers += np.where(found, found + numbers.max(), 0)
    return numbers


def split_instances(mask: NDArray[np.bool_], mpp: float, config: SplitConfig | None = None) -> Numbers:
    """Cut a mask into objects by its shape alone: a watershed of its distance map from the map's local maxima.

    For whoever labels pixels and gives no interior map.

    Args:
        mask: (H, W), true inside nuclei.
        mpp: µm per px of the mask.
        config: Distances that say what one nucleus is.

    Returns:
        (H, W), 0 outside and 1..n inside the objects.
    """
    config = config or SplitConfig()
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), config.smooth_um / mpp) * mask
    labels = watershed(-distance, _seeds(distance, mask, config.radius_um / mpp), mask=mask)
    return at_least(labels, mpp, config.least_um2)


def at_least(numbers: Numbers, mpp: float, um2: float) -> Numbers:
    """Drop the objects that are smaller, and number the others 1..n in their order."""
    areas = np.bincount(numbers.ravel())
    kept = (areas > 0) & (areas * mpp**2 >= um2)
    kept[0] = False
    renumbered: Numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[numbers]
    return renumbered


def _seeds(distance: NDArray[np.float64], mask: NDArray[np.bool_], radius_px: float) -> Numbers:
    reach = max(1, round(radius_px))
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    highest = ndimage.maximum_filter(distance, footprint=rows**2 + cols**2 <= reach**2)
    peaks = mask & (distance == highest)
    pieces, count = ndimage.label(mask)
    # A small piece beside a large one may have no peak of its own.
    bare = np.setdiff1d(np.arange(1, count + 1), pieces[peaks])
    for row, col in ndimage.maximum_position(distance, pieces, bare):
        peaks[row, col] = True
    seeds: Numbers = ndimage.label(peaks, np.ones((3, 3)))[0]
    return seeds
