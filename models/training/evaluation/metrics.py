"""Segmentation metrics, all from one confusion matrix over the whole test set.

Nothing is averaged per image, and a class absent from the reference is left out rather than counted as 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
# `tissue`: all classes. `cell`: only pixels whose reference is not the background.
PROTOCOLS: Final = ("tissue", "cell")

# One number each, by its path in the JSON: ("dice", "nucleus") or ("miou",).
Figures: TypeAlias = dict[tuple[str, ...], float]


def confusion_matrix(reference: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels.

    Args:
        reference: Class index per pixel, any shape; 255 is not annotated and left out.
        predicted: Class index per pixel, same shape.
        classes: Number of classes with the background.

    Returns:
        (classes, classes): rows are the reference, columns the prediction.

    Raises:
        ValueError: Shapes differ, or an index is not below `classes`.
    """
    if reference.shape != predicted.shape:
        raise ValueError(f"reference has shape {reference.shape}, prediction {predicted.shape}")
    known = reference != IGNORE
    ref, pred = reference[known].astype(np.int64), predicted[known].astype(np.int64)
    if ref.size and max(int(ref.max()), int(pred.max())) >= classes:
        raise ValueError(f"class index {max(int(ref.max()), int(pred.max()))} found, the model knows 0..{classes - 1}")
    return np.bincount(ref * classes + pred, minlength=classes * classes).reshape(classes, classes)


def under_protocol(confusion: NDArray[np.int64], protocol: str) -> NDArray[np.int64]:
    """Return the counts that a protocol looks at: (..., classes, classes) in and out.

    *tissue* looks at all; *cell* leaves out the pixels whose reference is class 0, so that what is wrongly called a
    cell there costs nothing. It is the easier figure of the two.

    Raises:
        ValueError: The protocol is not one of `PROTOCOLS`.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    counted = confusion.copy()
    if protocol == "cell":
        counted[..., 0, :] = 0
    return counted


@dataclass(frozen=True)
class Scores:
    """Per-class figures and their means over the classes present in the reference.

    A per-class figure is NaN where the reference has no pixel of the class; precision also where none was predicted.
    """

    dice: tuple[float, ...]
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    precision: tuple[float, ...]
    mean_dice: float
    mpa: float
    miou: float
    fwiou: float


def scores(confusion: NDArray[np.int64]) -> Scores:
    """Compute Dice_c = 2TP/(2TP+FP+FN), IoU_c, TP/(TP+FN), TP/(TP+FP), their means, and FwIoU = Σ freq_c·IoU_c.

    Dice_c is F1 and the accuracy TP/(TP+FN) is the recall of class c.
    """
    true = np.diag(confusion).astype(np.float64)
    reference, predicted = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    present = reference > 0
    shown = np.where(present, reference, np.nan)
    dice = 2 * true / (shown + predicted)
    iou = true / (shown + predicted - true)
    accuracy = true / shown
    precision = true / np.where(present & (predicted > 0), predicted, np.nan)
    frequency = reference[present] / max(reference.sum(), 1.0)
    return Scores(
        dice=tuple(dice.tolist()),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        precision=tuple(precision.tolist()),
        mean_dice=_mean(dice[present]),
        mpa=_mean(accuracy[present]),
        miou=_mean(iou[present]),
        fwiou=float((frequency * iou[present]).sum()) if present.any() else float("nan"),
    )


def figures(confusion: NDArray[np.int64], names: Sequence[str]) -> Figures:
    """Return every figure of a confusion matrix by its path; with two classes also those of class 1 as a binary set."""
    result = scores(confusion)
    columns = {"dice": result.dice, "iou": result.iou, "accuracy": result.accuracy, "precision": result.precision}
    found: Figures = {
        (column, name): value for column, values in columns.items() for name, value in zip(names, values, strict=True)
    }
    found |= {("mean_dice",): result.mean_dice, ("mpa",): result.mpa, ("miou",): result.miou, ("fwiou",): result.fwiou}
    if len(names) == 2:
        binary = {"iou": result.iou, "f1": result.dice, "precision": result.precision, "recall": result.accuracy}
        found |= {("binary", name): values[1] for name, values in binary.items()}
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
