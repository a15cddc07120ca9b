"""Percentile bootstrap over images: how far a figure would move had other images of the same kind been drawn.

The images are drawn anew with replacement, their counts are added up, and the figure is computed from the sum, as it
is for the set itself. Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.metrics import Figures

# Counts of a set, the sum over its images → its figures. Or, for figures that no sum tells, the counts of each image.
Statistic: TypeAlias = Callable[[NDArray[Any]], Figures]


@dataclass(frozen=True)
class Interval:
    """Both ends; NaN where no resample has the figure."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """First minus second on the same images, with its interval."""

    value: float
    interval: Interval


def resample_weights(images: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return (resamples, images): how often each image is in each resample. Every row adds up to `images`.

    Raises:
        ValueError: There is no image, or no resample.
    """
    if images < 1 or resamples < 1:
        raise ValueError(f"{images} images and {resamples} resamples given, at least 1 of each is needed")
    drawn = np.random.default_rng(seed).integers(0, images, (resamples, images))
    rows = np.arange(resamples)[:, None] * images
    return np.bincount((rows + drawn).ravel(), minlength=resamples * images).reshape(resamples, images)


def intervals(
    per_image: NDArray[Any], statistic: Statistic, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[tuple[str, ...], Interval]:
    """Return the interval of each figure.

    Args:
        per_image: (images, ...) counts that add up over images.
        statistic: From the sum of counts to figures; the same figures whatever the counts.
        resamples: How many sets are drawn.
        seed: Of the draws; equal seeds and numbers of images draw equal sets.
        level: Share of resamples between both ends.

    A figure that is NaN in a resample (its class was not drawn) is left out there.
    """
    return _percentiles([statistic(counts) for counts in _resampled(per_image, resamples, seed)], level)


def intervals_of_images(
    per_image: NDArray[Any],
    statistic: Statistic,
    units: NDArray[np.int64],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[tuple[str, ...], Interval]:
    """Return the interval of each figure that is one of the images, such as a median over them.

    Args:
        per_image: (images, ...) counts.
        statistic: From the counts of images, each as often as it was drawn, to figures.
        units: (images,) the number of what each image is drawn with, 0..n − 1: itself, or its group.
        resamples: As for `intervals`; so are `seed` and `level`. Equal seeds and numbers of units draw the same sets.
    """
    weights = resample_weights(int(units.max()) + 1, resamples, seed)[:, units]
    return _percentiles([statistic(per_image.repeat(row, axis=0)) for row in weights], level)


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    statistic: Statistic,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[tuple[str, ...], Difference]:
    """Compare two models on the same images, in the same order: both are resampled alike.

    Args:
        first: (images, ...) counts of one model.
        second: The same of the other.
        statistic: As for `intervals`; so are `resamples`, `seed` and `level`.

    Raises:
        ValueError: The shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the first model has counts of shape {first.shape}, the second {second.shape}")
    both = zip(_resampled(first, resamples, seed), _resampled(second, resamples, seed), strict=True)
    drawn = _percentiles([_minus(statistic(a), statistic(b)) for a, b in both], level)
    whole = _minus(statistic(first.sum(axis=0)), statistic(second.sum(axis=0)))
    return {name: Difference(whole[name], interval) for name, interval in drawn.items()}


def _resampled(per_image: NDArray[Any], resamples: int, seed: int) -> NDArray[Any]:
    weights = resample_weights(len(per_image), resamples, seed)
    sums = weights @ per_image.reshape(len(per_image), -1)
    shaped: NDArray[Any] = sums.reshape(resamples, *per_image.shape[1:])
    return shaped


def _minus(first: Figures, second: Figures) -> Figures:
    return {name: value - second[name] for name, value in first.items()}


def _percentiles(drawn: list[Figures], level: float) -> dict[tuple[str, ...], Interval]:
    tail = 50 * (1 - level)
    found = {}
    for name in drawn[0]:
        values = np.array([one[name] for one in drawn])
        values = values[~np.isnan(values)]
        low, high = np.percentile(values, (tail, 100 - tail)).tolist() if values.size else (np.nan, np.nan)
        found[name] = Interval(low, high)
    return found
