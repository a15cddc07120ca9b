"""The last look at the data before a training run starts."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from models.training.datasets.sample import IGNORE, Sample

_NAMED = 3


class Named(Protocol):
    """Anything with a name, as a model's classes are."""

    @property
    def name(self) -> str:
        """The class's name."""


def check_training_data(samples: Sequence[Sample], classes: Sequence[Named]) -> None:
    """Check the training part of a run, all datasets together.

    Args:
        samples: The images to train on.
        classes: The model's classes; a class's place is its label.

    Raises:
        ValueError: One sentence for each fault: a mask of another size than its image, a label that is no class, no
            annotated pixel at all, a class without a pixel.
    """
    faults = _size_faults(samples) + _label_faults(samples, len(classes))
    if not faults:
        faults = _coverage_faults(samples, classes)
    if faults:
        raise ValueError("the training data cannot be used: " + "; ".join(faults))


def _size_faults(samples: Sequence[Sample]) -> list[str]:
    wrong = [
        f"{s.name} has a mask of {s.labels.shape} and an image of {s.image.shape[:2]}"
        for s in samples
        if s.labels.shape != s.image.shape[:2]
    ]
    return _first(wrong)


def _label_faults(samples: Sequence[Sample], classes: int) -> list[str]:
    wrong = []
    for sample in samples:
        unknown = [int(value) for value in np.unique(sample.labels) if value >= classes and value != IGNORE]
        if unknown:
            wrong.append(f"{sample.name} holds labels {unknown}; the model knows 0..{classes - 1} and 255 (ignored)")
    return _first(wrong)


def _coverage_faults(samples: Sequence[Sample], classes: Sequence[Named]) -> list[str]:
    counts = np.zeros(IGNORE + 1, np.int64)
    for sample in samples:
        counts += np.bincount(sample.labels.ravel(), minlength=counts.size)
    if not counts[:IGNORE].any():
        return [f"none of the {len(samples)} images is annotated"]
    return [
        f"class {label} ({one.name}) has no pixel in the training part"
        for label, one in enumerate(classes)
        if not counts[label]
    ]


def _first(faults: list[str]) -> list[str]:
    return faults[:_NAMED] + ([f"and {len(faults) - _NAMED} more like these"] if len(faults) > _NAMED else [])
