"""Metrics against literal counting, torchmetrics and scikit-learn."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import models.torch_compat  # noqa: F401  (before torchmetrics)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from models.training.evaluation.metrics import confusion_matrix, figures, scores, under_protocol

LABELS = npst.arrays(np.uint8, (7, 9), elements=st.integers(0, 3))
WITH_GAPS = npst.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1, 2, 3, 255]))
COUNTS = npst.arrays(np.int64, (5, 3, 3), elements=st.integers(0, 40))


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


@given(reference=WITH_GAPS, predicted=LABELS)
def test_scikit_learn_gives_the_same_figures(reference: np.ndarray, predicted: np.ndarray) -> None:
    known = reference != 255
    if not known.any():
        return
    r, p = reference[known], predicted[known]
    confusion = confusion_matrix(reference, predicted, 4)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(r, p, labels=range(4)))
    result = scores(confusion)
    oracles: list[tuple[tuple[float, ...], Callable[..., NDArray[np.float64]]]] = [
        (result.dice, sk.f1_score),
        (result.iou, sk.jaccard_score),
        (result.accuracy, sk.recall_score),
        (result.precision, sk.precision_score),
    ]
    for ours, oracle in oracles:
        theirs = oracle(r, p, labels=range(4), average=None, zero_division=0)
        defined = ~np.isnan(ours)
        assert set(np.unique(r)) >= set(np.flatnonzero(defined))
        np.testing.assert_allclose(np.array(ours)[defined], theirs[defined])
    present = np.unique(r).tolist()
    assert result.miou == pytest.approx(sk.jaccard_score(r, p, labels=present, average="macro"))
    assert result.mean_dice == pytest.approx(sk.f1_score(r, p, labels=present, average="macro"))
    assert result.mpa == pytest.approx(sk.recall_score(r, p, labels=present, average="macro"))
    assert result.fwiou == pytest.approx(sk.jaccard_score(r, p, labels=present, average="weighted"))


@given(reference=WITH_GAPS, predicted=LABELS)
def test_torchmetrics_gives_the_same_figures(reference: np.ndarray, predicted: np.ndarray) -> None:
    present = sorted(set(np.unique(reference).tolist()) - {255})
    if not present:
        return
    r, p = torch.from_numpy(reference.astype(np.int64)), torch.from_numpy(predicted.astype(np.int64))
    result = scores(confusion_matrix(reference, predicted, 4))
    for ours, oracle in (
        (result.dice, tm.multiclass_f1_score),
        (result.iou, tm.multiclass_jaccard_index),
        (result.accuracy, tm.multiclass_recall),
    ):
        theirs = oracle(p, r, num_classes=4, average="none", ignore_index=255)
        np.testing.assert_allclose(np.array(ours)[present], theirs.numpy()[present], rtol=1e-5)


@given(reference=WITH_GAPS, predicted=LABELS)
def test_cell_protocol_looks_at_cells_only(reference: np.ndarray, predicted: np.ndarray) -> None:
    counted = under_protocol(confusion_matrix(reference, predicted, 4), "cell")
    literal = np.zeros((4, 4), np.int64)
    for r, p in zip(reference.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if r not in (0, 255):
            literal[r, p] += 1
    np.testing.assert_array_equal(counted, literal)
    tissue = scores(confusion_matrix(reference, predicted, 4))
    for easier, harder in zip(scores(counted).dice[1:], tissue.dice[1:], strict=True):
        assert math.isnan(harder) or easier >= harder


def test_protocols_by_hand() -> None:
    confusion = np.array([[90, 10, 0], [5, 15, 0], [0, 10, 10]])
    cell = figures(under_protocol(confusion, "cell"), ("background", "a", "b"))
    assert math.isnan(cell["dice", "background"])
    assert cell["dice", "a"] == pytest.approx(2 * 15 / (20 + 25))
    assert cell["dice", "b"] == pytest.approx(2 * 10 / (20 + 10))
    assert cell["mean_dice",] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert cell["fwiou",] == pytest.approx((15 / 30 + 10 / 20) / 2)
    assert figures(under_protocol(confusion, "tissue"), "xab")["dice", "a"] == pytest.approx(2 * 15 / (20 + 35))
    with pytest.raises(ValueError, match="unknown protocol 'organ'; known: tissue, cell"):
        under_protocol(confusion, "organ")


@given(counts=COUNTS, order=st.permutations(range(5)), cut=st.integers(0, 5))
def test_order_and_parts_of_a_set_do_not_matter(counts: np.ndarray, order: list[int], cut: int) -> None:
    whole = scores(counts.sum(axis=0))
    parts = scores(counts[order][:cut].sum(axis=0) + counts[order][cut:].sum(axis=0))
    assert repr(whole) == repr(parts)


@given(reference=WITH_GAPS, predicted=LABELS, cut=st.integers(0, 7))
def test_merged_matrices_are_the_matrix_of_the_whole(reference: np.ndarray, predicted: np.ndarray, cut: int) -> None:
    parts = [confusion_matrix(reference[rows], predicted[rows], 4) for rows in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal(parts[0] + parts[1], confusion_matrix(reference, predicted, 4))


@given(counts=COUNTS)
def test_figures_are_between_0_and_1(counts: np.ndarray) -> None:
    found = figures(counts[0], ("a", "b", "c"))
    assert all(math.isnan(value) or 0 <= value <= 1 + 1e-12 for value in found.values())
    for name in ("a", "b", "c"):
        iou, dice = found["iou", name], found["dice", name]
        assert math.isnan(iou) or dice == pytest.approx(2 * iou / (1 + iou))


def test_binary_figures_are_those_of_class_1() -> None:
    found = figures(np.array([[80, 10], [4, 6]]), ("background", "building"))
    assert found["binary", "iou"] == pytest.approx(6 / 20)
    assert found["binary", "f1"] == pytest.approx(12 / 26)
    assert found["binary", "precision"] == pytest.approx(6 / 16)
    assert found["binary", "recall"] == pytest.approx(6 / 10)
    assert not [path for path in figures(np.eye(3, dtype=np.int64), "abc") if path[0] == "binary"]


def test_published_massachusetts_predictions(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "aerial_massachusetts"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    masks = {path.stem: np.asarray(Image.open(path)) for path in sorted((folder / "masks").glob("*.png"))}
    for method in ("Mnih-CRF", "Saito-MA-CIS", "Zuo-HF-FCN-ACCV16"):
        total, pixels = np.zeros((2, 2), np.int64), []
        for name, mask in masks.items():
            probability = np.asarray(Image.open(folder / "baseline_preds" / f"{method}_{name}.png"))
            predicted = (probability > 127).astype(np.uint8)  # 0.5 of 255
            total += confusion_matrix(mask, predicted, 2)
            pixels.append((mask.ravel(), predicted.ravel()))
        reference, predicted = (np.concatenate(side) for side in zip(*pixels, strict=True))
        found = figures(total, ("background", "building"))
        theirs = {
            "iou": sk.jaccard_score(reference, predicted),
            "f1": sk.f1_score(reference, predicted),
            "precision": sk.precision_score(reference, predicted),
            "recall": sk.recall_score(reference, predicted),
        }
        with capsys.disabled():
            shown = "  ".join(f"{name} {found['binary', name]:.4f} ({value:.4f})" for name, value in theirs.items())
            sys.stdout.write(f"\n{method}, ours (scikit-learn): {shown}")
        assert {name: found["binary", name] for name in theirs} == pytest.approx(theirs, abs=1e-12)
        assert found["binary", "iou"] > 0.4


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
