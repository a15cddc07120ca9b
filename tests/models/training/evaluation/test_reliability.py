"""Reliability from counts of levels, against the slow way: pixel by pixel, and averaged over orders of equals."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.evaluation.reliability import BINS, count, expected_error, risk_coverage_area


def pixels(levels: int) -> tuple[NDArray[np.uint8], ...]:
    rng = np.random.default_rng(3)
    confidence = rng.integers(128, 128 + levels, (20, 30)).astype(np.uint8)
    reference = rng.choice([0, 1, 255], (20, 30), p=[0.5, 0.4, 0.1]).astype(np.uint8)
    return reference, rng.integers(0, 2, (20, 30)).astype(np.uint8), confidence


def test_expected_error_is_that_of_a_loop_over_bins() -> None:
    reference, labels, confidence = pixels(128)
    known = reference != 255
    told, right = confidence[known] / 255, (labels == reference)[known]
    total = 0.0
    for k in range(BINS):
        inside = (told >= k / BINS) & ((told < (k + 1) / BINS) | (k == BINS - 1))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - told[inside].mean())
    assert expected_error(count(reference, labels, confidence)) == pytest.approx(total)


@pytest.mark.parametrize("levels", [3, 128])
def test_area_is_the_mean_over_orders_of_equal_pixels(levels: int) -> None:
    reference, labels, confidence = pixels(levels)
    known = reference != 255
    told, wrong = confidence[known].astype(float), (labels != reference)[known]
    rng, areas = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(told)), -told))
        areas.append(float((np.cumsum(wrong[order]) / np.arange(1, len(told) + 1)).mean()))
    area = risk_coverage_area(count(reference, labels, confidence))
    assert area == pytest.approx(np.mean(areas), abs=float(4 * np.std(areas) / 20))


def test_nothing_annotated_says_nothing() -> None:
    empty = np.full((4, 4), 255, np.uint8)
    counts = count(empty, empty * 0, empty)
    assert not counts.any()
    assert np.isnan(expected_error(counts))
    assert np.isnan(risk_coverage_area(counts))
