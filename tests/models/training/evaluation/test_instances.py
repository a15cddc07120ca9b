"""Objects: splitting, AJI and PQ against literal loops and cases counted by hand."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.training.evaluation.instances import (
    SplitConfig,
    instance_counts,
    instance_scores,
    split_instances,
    watershed,
)

OBJECTS = npst.arrays(np.int32, (6, 8), elements=st.integers(0, 5))


def literal_aji(reference: NDArray[np.int32], predicted: NDArray[np.int32]) -> tuple[int, int]:
    intersection = union = 0
    used = set()
    for g in sorted(set(reference.ravel().tolist()) - {0}):
        best, best_iou = 0, 0.0
        for p in sorted(set(predicted.ravel().tolist()) - {0}):
            both = int(((reference == g) & (predicted == p)).sum())
            iou = both / int(((reference == g) | (predicted == p)).sum())
            if iou > best_iou:
                best, best_iou = p, iou
        if best:
            intersection += int(((reference == g) & (predicted == best)).sum())
            union += int(((reference == g) | (predicted == best)).sum())
            used.add(best)
        else:
            union += int((reference == g).sum())
    for p in set(predicted.ravel().tolist()) - {0} - used:
        union += int((predicted == p).sum())
    return intersection, union


def literal_pq(reference: NDArray[np.int32], predicted: NDArray[np.int32]) -> tuple[float, int, int, int]:
    ours, theirs = (set(ids.ravel().tolist()) - {0} for ids in (predicted, reference))
    matched = []
    for g, p in itertools.product(theirs, ours):
        iou = ((reference == g) & (predicted == p)).sum() / ((reference == g) | (predicted == p)).sum()
        if iou > 0.5:
            matched.append((iou, g, p))
    assert len({g for _, g, _ in matched}) == len({p for _, _, p in matched}) == len(matched)
    return sum(i for i, _, _ in matched), len(matched), len(ours) - len(matched), len(theirs) - len(matched)


@given(reference=OBJECTS, predicted=OBJECTS)
def test_counts_are_those_of_literal_loops(reference: NDArray[np.int32], predicted: NDArray[np.int32]) -> None:
    counts = instance_counts(reference, predicted)
    assert tuple(counts[:2]) == literal_aji(reference, predicted)
    assert tuple(counts[2:]) == pytest.approx(literal_pq(reference, predicted))


@given(reference=OBJECTS, change=npst.arrays(np.bool_, (6, 8)))
def test_close_objects_match_as_the_loops_say(reference: NDArray[np.int32], change: NDArray[np.bool_]) -> None:
    """Random maps seldom match; here large blocks lose a few pixels."""
    blocks = np.kron(reference[::3, ::4], np.ones((3, 4), np.int32))
    predicted = np.where(change & np.roll(change, 1), 0, blocks)
    counts = instance_counts(blocks, predicted)
    assert tuple(counts[:2]) == literal_aji(blocks, predicted)
    assert tuple(counts[2:]) == pytest.approx(literal_pq(blocks, predicted))


@given(reference=OBJECTS, predicted=OBJECTS)
def test_scores_are_bounded_and_perfect_on_the_reference(
    reference: NDArray[np.int32], predicted: NDArray[np.int32]
) -> None:
    result = instance_scores(instance_counts(reference, predicted))
    values = (result.aji, result.pq, result.sq, result.dq)
    if not (reference.any() or predicted.any()):
        assert all(math.isnan(value) for value in values)
        return
    assert all(0 <= value <= 1 for value in values)
    numbers = np.array([0, 900, 7, 31, 2, 400], np.int32)
    if reference.any():
        same = instance_scores(instance_counts(reference, numbers[reference]))
        assert (same.aji, same.pq, same.sq, same.dq) == (1, 1, 1, 1)


def test_aji_and_pq_by_hand() -> None:
    reference = np.zeros((4, 20), np.int32)
    reference[:, 0:4], reference[:, 5:9], reference[:, 12:14] = 1, 2, 3  # areas 16, 16, 8
    predicted = np.zeros((4, 20), np.int32)
    predicted[:, 0:3], predicted[:, 6:11], predicted[:, 16:18] = 5, 6, 9  # areas 12, 20, 8
    # 1-5: 12 of 16 is a match. 2-6: 12 of 24, half, is none. 3 is missed, 9 is invented.
    counts = instance_counts(reference, predicted)
    assert counts.tolist() == [24, 16 + 24 + 8 + 8, 0.75, 1, 2, 2]
    result = instance_scores(counts)
    assert result.aji == pytest.approx(24 / 56)
    assert result.sq == 0.75
    assert result.dq == pytest.approx(1 / 3)
    assert result.pq == pytest.approx(0.25)


def test_one_found_object_over_two_serves_both_in_aji_and_none_in_pq() -> None:
    reference = np.array([[1, 1, 2, 2]], np.int32)
    counts = instance_counts(reference, np.ones_like(reference))
    assert counts.tolist() == [4, 8, 0, 0, 1, 2]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reference has shape \(2, 2\), prediction \(2, 3\)"):
        instance_counts(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))


# --- splitting --------------------------------------------------------------------------------------------------------


def literal_watershed(
    relief: NDArray[np.float64], seeds: NDArray[np.int32], mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Kruskal: join neighbours from the lightest edge on, never two trees that both hold a seed."""
    cells = [(int(r), int(c)) for r, c in np.argwhere(mask)]
    order = sorted(cells, key=lambda cell: (relief[cell], cell))
    rank = {cell: place for place, cell in enumerate(order)}
    tree = {cell: {cell} for cell in cells}
    owner = {cell: int(seeds[cell]) for cell in cells}
    edges = [((r, c), n) for r, c in cells for n in ((r + 1, c), (r, c + 1)) if n in rank]
    for a, b in sorted(edges, key=lambda e: sorted((rank[e[0]], rank[e[1]]), reverse=True)):
        if tree[a] is tree[b] or (owner[a] and owner[b]):
            continue
        joined, number = tree[a] | tree[b], owner[a] or owner[b]
        for cell in joined:
            tree[cell], owner[cell] = joined, number
    labels = np.zeros(mask.shape, np.int32)
    for cell, number in owner.items():
        labels[cell] = number
    return labels


@given(
    relief=npst.arrays(np.float64, (6, 7), elements=st.integers(-4, 0).map(float)),
    seeds=npst.arrays(np.int32, (6, 7), elements=st.sampled_from([0] * 8 + [1, 2, 3])),
    mask=npst.arrays(np.bool_, (6, 7), elements=st.sampled_from([True, True, True, False])),
)
def test_watershed_is_the_literal_one(
    relief: NDArray[np.float64], seeds: NDArray[np.int32], mask: NDArray[np.bool_]
) -> None:
    np.testing.assert_array_equal(watershed(relief, seeds, mask), literal_watershed(relief, seeds, mask))


def test_watershed_cuts_a_valley_at_its_ridge() -> None:
    relief = np.array([[0.0, 1, 2, 5, 3, 1, 0]])
    seeds = np.array([[1, 0, 0, 0, 0, 0, 2]], np.int32)
    whole = np.ones((1, 7), np.bool_)
    assert watershed(relief, seeds, whole).tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    whole[0, 3] = False
    assert watershed(relief, np.where(seeds == 2, 0, seeds), whole).tolist() == [[1, 1, 1, 0, 0, 0, 0]]


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


@given(mask=npst.arrays(np.bool_, (14, 17)))
def test_splitting_numbers_connected_parts_of_the_mask(mask: NDArray[np.bool_]) -> None:
    split = split_instances(mask, mpp=0.5, config=SplitConfig(least_um2=0))
    np.testing.assert_array_equal(split > 0, mask)
    assert set(np.unique(split).tolist()) - {0} == set(range(1, split.max() + 1))
    for number in range(1, split.max() + 1):
        assert ndimage.label(split == number, np.ones((3, 3)))[1] == 1


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
