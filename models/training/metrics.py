"""Segmentation metrics, all from one confusion matrix over the whole test set.

Nothing is averaged per image, and a class absent from the reference is left out rather than counted as 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255


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


@dataclass(frozen=True)
class Scores:
    """Per-class figures (NaN where the reference has no pixel of the class) and their means over present classes."""

    dice: tuple[float, ...]
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    mean_dice: float
    mpa: float
    miou: float
    fwiou: float


def scores(confusion: NDArray[np.int64]) -> Scores:
    """Compute Dice_c = 2TP/(2TP+FP+FN), IoU_c, TP/(TP+FN), their means, and FwIoU = Σ freq_c·IoU_c."""
    true = np.diag(confusion).astype(np.float64)
    reference, predicted = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    present = reference > 0
    shown = np.where(present, reference, np.nan)
    dice = 2 * true / (shown + predicted)
    iou = true / (shown + predicted - true)
    accuracy = true / shown
    frequency = reference[present] / max(reference.sum(), 1.0)
    return Scores(
        dice=tuple(dice.tolist()),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        mean_dice=_mean(dice[present]),
        mpa=_mean(accuracy[present]),
        miou=_mean(iou[present]),
        fwiou=float((frequency * iou[present]).sum()) if present.any() else float("nan"),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
