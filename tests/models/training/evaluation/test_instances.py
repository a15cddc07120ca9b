"""Objects: AJI, PQ and finding, against literal loops, torchmetrics and cases counted by hand."""

import itertools
import math
import tracemalloc
from dataclasses import astuple

import models.torch_compat  # noqa: F401  (before torchmetrics)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from torchmetrics.functional.detection import panoptic_quality

from models.training.evaluation.instances import (
    count_figures,
    counted_images,
    instance_counts,
    instance_scores,
)

OBJECTS = npst.arrays(np.int32, (6, 8), elements=st.integers(0, 5))
OTHERS = np.array([0, 900, 7, 31, 2, 400], np.int32)
"""Other numbers for the same objects, in another order."""


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
    values = astuple(result)
    if not (reference.any() or predicted.any()):
        assert all(math.isnan(value) for value in values)
        return
    assert all(0 <= value <= 1 for value in values if not math.isnan(value))
    assert math.isnan(result.precision) == (not predicted.any())
    assert math.isnan(result.recall) == (not reference.any())
    if reference.any():
        assert astuple(instance_scores(instance_counts(reference, OTHERS[reference]))) == (1,) * 7


@given(reference=OBJECTS, predicted=OBJECTS)
def test_the_numbers_of_objects_do_not_matter(reference: NDArray[np.int32], predicted: NDArray[np.int32]) -> None:
    counts = instance_counts(reference, predicted)
    assert instance_counts(OTHERS[reference], predicted) == pytest.approx(counts)
    # A found object may be the best of two for an annotated one; AJI takes the first, so only the order is kept.
    assert instance_counts(reference, np.array([0, 3, 8, 9, 50, 51])[predicted]) == pytest.approx(counts)
    assert instance_counts(reference, OTHERS[predicted])[2:] == pytest.approx(counts[2:])


@given(reference=OBJECTS, change=npst.arrays(np.bool_, (6, 8)))
def test_torchmetrics_gives_the_same_panoptic_quality(reference: NDArray[np.int32], change: NDArray[np.bool_]) -> None:
    blocks = np.kron(reference[::3, ::4], np.ones((3, 4), np.int32))
    predicted = np.where(change & np.roll(change, 1), 0, blocks)
    if not (blocks.any() or predicted.any()):
        return
    found, annotated = (
        torch.from_numpy(np.stack([ids > 0, ids], axis=-1).astype(np.int64))[None] for ids in (predicted, blocks)
    )
    theirs = panoptic_quality(found, annotated, things={1}, stuffs={0}, return_sq_and_rq=True, return_per_class=True)
    ours = instance_scores(instance_counts(blocks, predicted))
    assert (ours.pq, ours.sq, ours.dq) == pytest.approx(tuple(theirs[0].tolist()), rel=1e-5)


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
    assert (result.f1, result.precision, result.recall) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert astuple(instance_scores(np.array([0, 9, 0, 0, 0, 3])))[:5] == (0, 0, 0, 0, 0)


def test_one_found_object_over_two_serves_both_in_aji_and_none_in_pq() -> None:
    reference = np.array([[1, 1, 2, 2]], np.int32)
    counts = instance_counts(reference, np.ones_like(reference))
    assert counts.tolist() == [4, 8, 0, 0, 1, 2]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reference has shape \(2, 2\), prediction \(2, 3\)"):
        instance_counts(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))


# --- how many ---------------------------------------------------------------------------------------------------------


def test_the_count_error_is_the_median_over_images_with_enough_objects() -> None:
    # matches, invented, missed: 20 annotated and 25 found; 40 and 30; 100 and 98; 19 and none at all.
    counts = np.array([[0, 0, 0, *three] for three in ((15, 10, 5), (28, 2, 12), (98, 0, 2), (0, 0, 19))], np.float64)
    assert count_figures(counts)["instances", "count_error"] == pytest.approx(0.25)  # of 0.25, 0.25, 0.02
    assert count_figures(counts[1:])["instances", "count_error"] == pytest.approx((0.25 + 0.02) / 2)
    assert counted_images(counts) == 3
    assert math.isnan(count_figures(counts[3:])["instances", "count_error"])


@given(counts=npst.arrays(np.int64, (5, 3), elements=st.integers(0, 40)), order=st.permutations(range(5)))
def test_the_count_error_is_that_of_a_loop_whatever_the_order(counts: NDArray[np.int64], order: list[int]) -> None:
    errors = []
    for matches, invented, missed in counts.tolist():
        if matches + missed >= 20:
            errors.append(abs(invented - missed) / (matches + missed))
    errors.sort()
    middle = len(errors) // 2
    expected = math.nan
    if errors:
        expected = errors[middle] if len(errors) % 2 else (errors[middle - 1] + errors[middle]) / 2
    padded = np.hstack([np.zeros((5, 3)), counts])[order]
    assert count_figures(padded)["instances", "count_error"] == pytest.approx(expected, nan_ok=True)


def test_ten_thousand_nuclei_take_no_table_of_all_pairs() -> None:
    side = 300
    numbers = np.arange(side * side, dtype=np.int32).reshape(side, side) + 1
    reference = np.kron(numbers[::3, ::3], np.ones((3, 3), np.int32))
    tracemalloc.start()
    counts = instance_counts(reference, np.roll(reference, 1, axis=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts[3:].tolist() == [0, 10_000, 10_000]  # each shares 6 of 12 px with one: half, which is no match
    assert peak < 50 * 2**20
