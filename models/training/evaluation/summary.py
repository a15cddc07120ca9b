"""From the counts of each image to all figures of a set with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.bootstrap import Interval, Statistic, intervals, intervals_of_images
from models.training.evaluation.instances import count_figures, instance_figures
from models.training.evaluation.metrics import Figures, figures, under_protocol

UNITS: Final = ("image", "group")

# Where the reference's objects come from: who annotated numbered them, or they are the components of the mask.
Reference: TypeAlias = Literal["instances", "components"]
# What told the found objects apart: the model, the distance map of its mask, or nothing: touching ones are one.
SplitBy: TypeAlias = Literal["model", "distance", "components"]

ALL_PIXELS: Final = "all_pixels"


@dataclass(frozen=True)
class Setting:
    """What was measured, and how.

    Attributes:
        model: Name of the model.
        digest: Its digest, empty where it has none.
        dataset: Name of the dataset.
        classes: Names of the model's classes, background first.
        protocol: *tissue* (all pixels) or *cell* (without the reference's background).
        resamples: Sets drawn for the intervals; 0 for none.
        unit: What is drawn: "image" or "group" (patient, slide).
        seed: Of the noise field and of the resampling.
        piece: What one of the things that are measured is called: "image", "region".
    """

    model: str
    digest: str
    dataset: str
    classes: tuple[str, ...]
    protocol: str = "tissue"
    resamples: int = 1000
    unit: str = "image"
    seed: int = 0
    piece: str = "image"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; known: {', '.join(UNITS)}")
        if self.resamples < 0:
            raise ValueError(f"{self.resamples} resamples given; 0 (no intervals) or more is expected")


@dataclass(frozen=True)
class ObjectCounts:
    """Objects, image by image.

    Attributes:
        counts: (N, 6), see `instances.instance_counts`.
        references: Of each image, where the reference's objects come from.
        split_by: What told the found ones apart.
    """

    counts: NDArray[np.float64]
    references: tuple[Reference, ...]
    split_by: SplitBy


@dataclass(frozen=True)
class Measured:
    """What a model did, image by image.

    Attributes:
        names: Of the N images.
        groups: Patient or slide of each.
        confusion: (N, classes, classes), rows the reference.
        objects: None where an image has no objects for a reference.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    confusion: NDArray[np.int64]
    objects: ObjectCounts | None = None


@dataclass(frozen=True)
class Evaluation:
    """All figures of a model on a dataset, and their 95 % intervals where two or more units could be drawn."""

    setting: Setting
    measured: Measured
    figures: Figures
    intervals: dict[tuple[str, ...], Interval]


def summarise(setting: Setting, measured: Measured) -> Evaluation:
    """Compute the figures of the protocol from the sum over images; under *cell* also those over all pixels.

    Raises:
        ValueError: There is no image, or the protocol or the unit is not known.
    """
    if not measured.names:
        raise ValueError(f"{setting.dataset} has no {setting.piece}")
    sums: list[tuple[NDArray[Any], Statistic]] = [(measured.confusion, lambda counts: _pixel_figures(counts, setting))]
    found: Figures = {}
    ranges: dict[tuple[str, ...], Interval] = {}
    units = _units(setting, measured.groups)
    is_drawn = setting.resamples > 0 and units.max() > 0
    if measured.objects is not None:
        sums.append((measured.objects.counts, instance_figures))
    for counts, statistic in sums:
        found |= statistic(counts.sum(axis=0))
        if is_drawn:
            ranges |= intervals(_by_unit(counts, units), statistic, setting.resamples, setting.seed)
    if measured.objects is not None:
        found |= count_figures(measured.objects.counts)
        if is_drawn:
            drawn = (units, setting.resamples, setting.seed)
            ranges |= intervals_of_images(measured.objects.counts, count_figures, *drawn)
    return Evaluation(setting, measured, found, ranges)


def _pixel_figures(confusion: NDArray[np.int64], setting: Setting) -> Figures:
    found = figures(under_protocol(confusion, setting.protocol), setting.classes)
    if setting.protocol == "cell":
        found |= {(ALL_PIXELS, *name): value for name, value in figures(confusion, setting.classes).items()}
    return found


def _units(setting: Setting, groups: Sequence[str]) -> NDArray[np.int64]:
    """Return of each image the number of what is drawn with it: itself, or its group."""
    if setting.unit == "image":
        return np.arange(len(groups))
    numbers: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1]
    return numbers


def _by_unit(counts: NDArray[Any], units: NDArray[np.int64]) -> NDArray[Any]:
    total = np.zeros((int(units.max()) + 1, *counts.shape[1:]), counts.dtype)
    np.add.at(total, units, counts)
    return total
