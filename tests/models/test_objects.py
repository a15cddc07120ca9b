"""Objects of a mask: every component by itself, markers that count, numbers in raster order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from models.config import ObjectConfig
from models.objects import split_objects

UInt8 = NDArray[np.uint8]


def clusters(seed: int, side: int = 48, steps: int = 5) -> tuple[NDArray[np.bool_], UInt8]:
    """Return a mask of components that touch at many places, and an interior map of few values: full of ties."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((side, side)), 1.5)
    interior = np.round((smooth - smooth.min()) / np.ptp(smooth) * steps) / steps * 255
    return ndimage.gaussian_filter(rng.random((side, side)), 2.5) > 0.5, interior.astype(np.uint8)


def numbered(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number again from 1, by first pixel."""
    used, first = np.unique(numbers[numbers > 0], return_index=True)
    order = np.zeros(numbers.max() + 1, np.int32)
    order[used[np.argsort(first)]] = np.arange(1, len(used) + 1)
    again: NDArray[np.int32] = order[numbers]
    return again


@given(seed=st.integers(0, 2**20), marker_um2=st.sampled_from([0.0, 1.0]))
def test_a_component_is_split_as_if_it_were_alone(seed: int, marker_um2: float) -> None:
    mask, interior = clusters(seed)
    config = ObjectConfig(marker_um2=marker_um2)
    numbers = split_objects(mask, interior, 0.5, config)
    assert ((numbers > 0) == mask).all()
    pieces, count = ndimage.label(mask)
    for piece in range(1, count + 1):
        box = ndimage.find_objects((pieces == piece).astype(int))[0]
        alone = split_objects(pieces[box] == piece, interior[box], 0.5, config)
        np.testing.assert_array_equal(numbered(np.where(pieces[box] == piece, numbers[box], 0)), alone)


@given(seed=st.integers(0, 2**20))
def test_objects_are_the_basins_of_the_markers_that_are_large_enough(seed: int) -> None:
    mask, interior = clusters(seed, 32)
    config = ObjectConfig(marker=0.6, marker_um2=1.0)  # 4 px
    pieces, count = ndimage.label(mask)
    wanted = np.zeros(mask.shape, np.int32)
    for piece in range(1, count + 1):
        inside = pieces == piece
        box = ndimage.find_objects(inside.astype(int))[0]
        deep, found = ndimage.label(inside[box] & (interior[box] >= 0.6 * 255))
        for marker in range(1, found + 1):
            if (deep == marker).sum() < 4:
                deep[deep == marker] = 0
        basins = watershed(255 - interior[box], deep, mask=inside[box]) if deep.any() else inside[box].astype(np.int32)
        wanted[box][inside[box]] = wanted.max() + basins[inside[box]]
    np.testing.assert_array_equal(split_objects(mask, interior, 0.5, config), numbered(wanted))


def test_two_that_touch_are_two_and_one_without_a_marker_is_one() -> None:
    mask = np.zeros((5, 12), bool)
    mask[1:4, 1:8] = mask[1:3, 9:11] = True
    interior = np.zeros((5, 12), np.uint8)
    interior[2, 2] = interior[2, 6] = 255
    numbers = split_objects(mask, interior, 1.0, ObjectConfig())
    assert numbers.max() == 3
    assert (numbers[2, 2], numbers[2, 10], numbers[2, 6]) == (1, 3, 2)
    assert (split_objects(mask, None, 1.0, ObjectConfig()) == ndimage.label(mask)[0]).all()


@pytest.mark.parametrize("interior", [None, np.zeros((4, 4), np.uint8)])
def test_nothing_has_no_objects(interior: UInt8 | None) -> None:
    assert not split_objects(np.zeros((4, 4), bool), interior, 0.5, ObjectConfig()).any()
