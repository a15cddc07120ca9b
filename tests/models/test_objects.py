"""Objects of a mask: components where there is no interior map, a watershed of it where there is one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from models.config import ObjectConfig
from models.objects import split_objects

CONFIG = ObjectConfig(marker=0.6, marker_um2=0.5)


def discs(seed: int, count: int = 25, side: int = 96) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Return a mask of overlapping discs and an interior that is full 3 px inside of each."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side]
    deep = np.zeros((side, side))
    for _ in range(count):
        row, col, radius = *rng.integers(0, side, 2), rng.integers(3, 10)
        deep = np.maximum(deep, radius - np.hypot(rows - row, cols - col))
    return deep > 0, (np.clip(deep / 3, 0, 1) * 255).astype(np.uint8)


@given(st.integers(0, 10**6))
def test_objects_cut_up_the_mask_along_its_components(seed: int) -> None:
    mask, interior = discs(seed)
    numbers = split_objects(mask, interior, 0.5, CONFIG)
    assert np.array_equal(numbers > 0, mask)
    pieces, count = ndimage.label(mask)
    assert numbers.max() >= count
    for number in range(1, int(numbers.max()) + 1):
        inside = numbers == number
        assert ndimage.label(inside)[1] == 1  # in one piece, no number left out
        assert len(np.unique(pieces[inside])) == 1
    first = [int(np.flatnonzero(numbers == number)[0]) for number in range(1, int(numbers.max()) + 1)]
    assert first == sorted(first)


@given(st.integers(0, 10**6))
def test_a_component_is_split_alone_as_within_its_plane(seed: int) -> None:
    mask, interior = discs(seed)
    whole = split_objects(mask, interior, 0.5, CONFIG)
    pieces, _ = ndimage.label(mask)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        own = pieces[box] == number
        alone = split_objects(own, interior[box], 0.5, CONFIG)
        pairs = {(int(a), int(b)) for a, b in zip(alone[own], whole[box][own], strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_two_touching_discs_are_two_and_one_without_a_map() -> None:
    rows, cols = np.mgrid[:40, :60]
    deep = np.maximum(10 - np.hypot(rows - 20, cols - 20), 10 - np.hypot(rows - 20, cols - 37))
    mask, interior = deep > 0, (np.clip(deep / 5, 0, 1) * 255).astype(np.uint8)
    assert split_objects(mask, None, 0.5, CONFIG).max() == 1
    numbers = split_objects(mask, interior, 0.5, CONFIG)
    assert numbers.max() == 2
    # The border lies between the centres, where the two discs meet.
    assert (numbers[mask & (cols < 28)] == 1).all()
    assert (numbers[mask & (cols > 29)] == 2).all()
    # Markers that are too small are none; the component stays one object.
    assert split_objects(mask, interior, 0.5, ObjectConfig(marker=0.6, marker_um2=100)).max() == 1


def test_a_component_too_thin_for_a_marker_is_an_object_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 1:8] = True
    assert np.array_equal(split_objects(mask, np.zeros((9, 9), np.uint8), 0.5, CONFIG), mask)
    assert not split_objects(mask & False, np.zeros((9, 9), np.uint8), 0.5, CONFIG).any()


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="marker is 0; accepted: above 0"):
        ObjectConfig(marker=0)
