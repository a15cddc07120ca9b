"""Objects that nobody numbered: cut by their shape, by the model's interior map, or as components."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.config import ObjectConfig
from models.objects import split_objects
from models.training.evaluation.instances import instance_counts, instance_scores
from models.training.evaluation.splitting import SplitConfig, at_least, class_objects, components, split_instances

MASKS = npst.arrays(np.bool_, (14, 17))


def discs(*centres: tuple[int, int, int], shape: tuple[int, int] = (60, 90)) -> NDArray[np.bool_]:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.any([(rows - y) ** 2 + (cols - x) ** 2 <= r**2 for y, x, r in centres], axis=0))


def test_touching_discs_are_cut_between_their_centres() -> None:
    split = split_instances(discs((30, 25, 14), (30, 49, 14)), mpp=0.25)
    assert split.max() == 2
    assert split[30, 25] != split[30, 49]
    assert len(set(split[30, 12:36].tolist())) == 1
    assert len(set(split[30, 39:62].tolist())) == 1
    np.testing.assert_array_equal(split > 0, discs((30, 25, 14), (30, 49, 14)))


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_round_and_long_nuclei_stay_whole(mpp: float) -> None:
    rows, cols = np.mgrid[:60, :90]
    ellipse = ((rows - 30) / 10) ** 2 + ((cols - 45) / 26) ** 2 <= 1
    assert split_instances(ellipse, mpp).max() == 1
    assert split_instances(discs((30, 30, 12)), mpp).max() == 1


def test_small_objects_beside_large_ones_are_kept_and_specks_dropped() -> None:
    mask = discs((30, 30, 15), (30, 50, 3))
    mask[5, 70] = True
    split = split_instances(mask, mpp=0.25, config=SplitConfig(radius_um=3.0, least_um2=0.5))
    assert sorted(set(split.ravel().tolist())) == [0, 1, 2]
    assert split[5, 70] == 0
    assert split[30, 30] != split[30, 50] != 0
    assert not split_instances(np.zeros((4, 5), np.bool_), 0.25).any()


@given(mask=MASKS)
def test_splitting_numbers_connected_parts_of_the_mask(mask: NDArray[np.bool_]) -> None:
    split = split_instances(mask, mpp=0.5, config=SplitConfig(least_um2=0))
    np.testing.assert_array_equal(split > 0, mask)
    assert set(np.unique(split).tolist()) - {0} == set(range(1, split.max() + 1))
    for number in range(1, split.max() + 1):
        assert ndimage.label(split == number, np.ones((3, 3)))[1] == 1


@given(mask=MASKS, mpp=st.sampled_from([0.25, 0.5, 1.0]))
def test_components_are_literal_floods_of_8_um2_and_more(mask: NDArray[np.bool_], mpp: float) -> None:
    found = components(mask, mpp)
    left = {(r, c) for r, c in np.argwhere(mask).tolist()}
    kept = []
    while left:
        edge = [min(left)]
        flood = set(edge)
        while edge:
            r, c = edge.pop()
            fresh = ({(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)} & left) - flood
            flood |= fresh
            edge += fresh
        left -= flood
        if len(flood) * mpp**2 >= 8:
            kept.append(flood)
    assert found.max() == len(kept)
    for number, flood in enumerate(kept, 1):
        assert {tuple(place) for place in np.argwhere(found == number).tolist()} == flood


def test_what_is_as_large_as_the_limit_stays() -> None:
    numbers = np.array([[5, 5, 5, 0, 2, 2, 9]], np.int32)
    assert at_least(numbers, 2.0, 8.0).tolist() == [[2, 2, 2, 0, 1, 1, 0]]
    assert at_least(numbers, 2.0, 8.1).tolist() == [[1, 1, 1, 0, 0, 0, 0]]
    assert at_least(np.zeros((2, 2), np.int32), 1.0, 1.0).tolist() == [[0, 0], [0, 0]]


@given(
    labels=npst.arrays(np.uint8, (12, 15), elements=st.integers(0, 3)),
    interior=npst.arrays(np.uint8, (12, 15)),
    smallest=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_objects_of_an_answer_are_those_of_each_class(
    labels: NDArray[np.uint8], interior: NDArray[np.uint8], smallest: float
) -> None:
    config = ObjectConfig(smallest_um2=smallest, prominence=0.4)
    expected = set()
    for index in (1, 2, 3):
        one = split_objects(labels == index, interior, 0.5, config)
        for number in range(1, one.max() + 1):
            if (one == number).sum() * 0.25 >= smallest:
                expected.add(tuple(np.flatnonzero(one == number).tolist()))
    found = class_objects(labels, interior, 0.5, config)
    numbers = range(1, found.max() + 1)
    assert len(numbers) == len(expected)
    assert {tuple(np.flatnonzero(found == number).tolist()) for number in numbers} == expected


def test_an_interior_map_tells_touching_nuclei_apart_and_none_leaves_one() -> None:
    labels = np.ones((3, 8), np.uint8)
    interior = np.tile(np.array([0, 255, 255, 0, 0, 255, 255, 0], np.uint8), (3, 1))
    assert class_objects(labels, interior, 0.5, ObjectConfig()).max() == 2
    assert class_objects(labels, None, 0.5, ObjectConfig()).max() == 1
    assert not class_objects(labels, interior, 0.5, ObjectConfig(smallest_um2=9)).any()


def test_splitting_beats_connected_components_on_real_nuclei(shared_data: Path) -> None:
    paths = sorted((shared_data / "dsb2018_stained" / "train" / "inst_masks").glob("*.png"))[:6]
    if not paths:
        pytest.skip("no dsb2018_stained")
    maps = [np.asarray(Image.open(path)).astype(np.int32) for path in paths]
    split = instance_scores(sum((instance_counts(m, split_instances(m > 0, 0.25)) for m in maps), np.zeros(6)))
    joined = instance_scores(sum((instance_counts(m, ndimage.label(m > 0)[0]) for m in maps), np.zeros(6)))
    assert split.aji > joined.aji
    assert split.pq > joined.pq
    assert split.pq > 0.75
