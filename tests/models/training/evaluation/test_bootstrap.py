"""Bootstrap intervals against a literal loop, and how often they hold what they should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from models.training.evaluation.bootstrap import (
    Interval,
    intervals,
    intervals_of_images,
    paired_difference,
    resample_weights,
)
from models.training.evaluation.metrics import Figures, figures

COUNTS = npst.arrays(np.int64, (6, 2, 2), elements=st.integers(0, 50))


def binary(confusion: NDArray[np.int64]) -> Figures:
    return figures(confusion, ("background", "nucleus"))


def mean(counts: NDArray[np.float64]) -> Figures:
    return {("mean",): float(counts[0] / counts[1])}


@given(counts=COUNTS, seed=st.integers(0, 1000))
def test_intervals_are_percentiles_of_a_literal_loop(counts: NDArray[np.int64], seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, 6, (40, 6))
    values = []
    for row in drawn:
        total = np.zeros((2, 2), np.int64)
        for image in row:
            total = total + counts[image]
        values.append(binary(total)["dice", "nucleus"])
    defined = [value for value in values if not math.isnan(value)]
    found = intervals(counts, binary, resamples=40, seed=seed)["dice", "nucleus"]
    if not defined:
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        return
    assert (found.low, found.high) == pytest.approx(np.percentile(defined, (2.5, 97.5)).tolist(), abs=1e-12)


@given(counts=npst.arrays(np.float64, (6, 2), elements=st.integers(0, 9).map(float)), seed=st.integers(0, 1000))
def test_intervals_of_a_median_are_percentiles_of_a_literal_loop(counts: NDArray[np.float64], seed: int) -> None:
    def median(rows: NDArray[np.float64]) -> Figures:
        return {("median",): float(np.median(rows[:, 0]))}

    groups = [[0, 3], [1], [2, 4, 5]]
    units = np.array([0, 1, 2, 0, 2, 2])
    drawn = np.random.default_rng(seed).integers(0, 3, (40, 3)).tolist()
    medians = [np.median([counts[image, 0] for group in row for image in groups[group]]) for row in drawn]
    found = intervals_of_images(counts, median, units, resamples=40, seed=seed)["median",]
    assert (found.low, found.high) == pytest.approx(np.percentile(medians, (2.5, 97.5)).tolist())
    alone = intervals_of_images(counts, lambda rows: mean(rows.sum(axis=0) + 1), np.arange(6), 40, seed)
    assert alone == intervals(counts, lambda total: mean(total + 1), 40, seed)


def test_every_resample_is_as_large_as_the_set_and_seeded() -> None:
    weights = resample_weights(9, 200, seed=4)
    assert weights.shape == (200, 9)
    assert set(weights.sum(axis=1).tolist()) == {9}
    np.testing.assert_array_equal(weights, resample_weights(9, 200, seed=4))
    assert (weights != resample_weights(9, 200, seed=5)).any()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.25)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        counts = np.stack([rng.normal(3, 1, 40), np.ones(40)], axis=1)
        found = intervals(counts, mean, resamples=200, seed=trial)["mean",]
        held += found.low <= 3 <= found.high
    # 0.95 less what the percentile method loses with 40 images; 4 standard errors are 0.05.
    assert 0.88 <= held / 300 <= 0.985


def test_width_is_that_of_the_standard_error() -> None:
    counts = np.stack([np.random.default_rng(1).normal(0, 2, 400), np.ones(400)], axis=1)
    found = intervals(counts, mean, resamples=2000)["mean",]
    assert found.high - found.low == pytest.approx(2 * 1.96 * counts[:, 0].std() / 20, rel=0.1)


@given(counts=COUNTS)
def test_equal_images_leave_no_room(counts: NDArray[np.int64]) -> None:
    same = np.repeat(counts[:1], 4, axis=0)
    value = binary(same.sum(axis=0))["miou",]
    found = intervals(same, binary, resamples=5)["miou",]
    assert (found.low, found.high) == pytest.approx((value, value), nan_ok=True)


@given(first=COUNTS, second=COUNTS)
def test_difference_is_paired_and_antisymmetric(first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    there = paired_difference(first, second, binary, resamples=20)
    back = paired_difference(second, first, binary, resamples=20)
    none = paired_difference(first, first, binary, resamples=20)["miou",]
    assert math.isnan(none.value) or (none.value, none.interval) == (0, Interval(0, 0))
    name = ("iou", "nucleus")
    value = binary(first.sum(axis=0))[name] - binary(second.sum(axis=0))[name]
    assert there[name].value == pytest.approx(value, nan_ok=True)
    assert there[name].interval.low == pytest.approx(-back[name].interval.high, nan_ok=True)


def test_pairing_finds_a_difference_that_two_intervals_hide() -> None:
    rng = np.random.default_rng(2)
    easy = rng.uniform(0.3, 0.9, 30)
    first, second = (np.stack([easy + gain, np.ones(30)], axis=1) for gain in (0.02, 0.0))
    found = paired_difference(first, second, mean, resamples=200)["mean",]
    assert found.value == pytest.approx(0.02)
    assert found.interval.low > 0.019
    one, other = (intervals(counts, mean, resamples=200)["mean",] for counts in (first, second))
    assert one.low < other.high


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="0 images and 10 resamples given"):
        intervals(np.zeros((0, 2, 2)), binary, resamples=10)
    with pytest.raises(ValueError, match="2 images and 0 resamples given"):
        intervals(np.zeros((2, 2, 2)), binary, resamples=0)
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\), the second \(2, 2, 2\)"):
        paired_difference(np.zeros((3, 2, 2)), np.zeros((2, 2, 2)), binary)
