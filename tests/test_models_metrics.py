"""Metrics against literal counting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.training.metrics import confusion_matrix, scores

LABELS = npst.arrays(np.uint8, (7, 9), elements=st.integers(0, 3))


@given(reference=LABELS, predicted=LABELS)
def test_scores_are_those_of_counting_pixels(reference: np.ndarray, predicted: np.ndarray) -> None:
    result = scores(confusion_matrix(reference, predicted, 4))
    dice, iou, accuracy, weighted = [], [], [], 0.0
    for c in range(4):
        r, p = reference == c, predicted == c
        if not r.any():
            assert math.isnan(result.dice[c])
            continue
        both = (r & p).sum()
        dice.append(2 * both / (r.sum() + p.sum()))
        iou.append(both / (r | p).sum())
        accuracy.append(both / r.sum())
        weighted += r.mean() * iou[-1]
        assert result.dice[c] == pytest.approx(dice[-1])
    assert result.mean_dice == pytest.approx(np.mean(dice))
    assert result.mpa == pytest.approx(np.mean(accuracy))
    assert result.miou == pytest.approx(np.mean(iou))
    assert result.fwiou == pytest.approx(weighted)


def test_rows_are_the_reference_and_unannotated_pixels_do_not_count() -> None:
    reference = np.array([0, 1, 1, 255, 2], np.uint8)
    predicted = np.array([1, 1, 0, 2, 2], np.uint8)
    assert confusion_matrix(reference, predicted, 3).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_sum_over_images_is_not_the_mean_of_images() -> None:
    first = confusion_matrix(np.array([1, 1, 1, 1], np.uint8), np.array([1, 1, 1, 1], np.uint8), 2)
    second = confusion_matrix(np.array([0, 0, 0, 1], np.uint8), np.array([0, 0, 0, 0], np.uint8), 2)
    assert scores(first + second).dice[1] == pytest.approx(8 / 9)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        confusion_matrix(np.zeros(2, np.uint8), np.zeros(3, np.uint8), 2)
    with pytest.raises(ValueError, match="class index 7"):
        confusion_matrix(np.array([7], np.uint8), np.array([0], np.uint8), 2)
