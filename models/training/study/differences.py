"""Each row of a study minus one of them, on the same images: what a difference is worth beside the choice of images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.bootstrap import Difference, paired_difference
from models.training.evaluation.metrics import Figures, figures, under_protocol
from models.training.study.results import figure_path

_ALL_PIXELS: Final = "all_pixels"

# Confusion matrices as (images, seeds, classes, classes).
Counts: TypeAlias = NDArray[np.int64]


def difference(
    first: Sequence[Path], second: Sequence[Path], figure: str, protocol: str, resamples: int = 1000
) -> Difference | None:
    """Return the first runs' figure minus the second runs', each the mean over its seeds, with its 95 % interval.

    The interval is that of a percentile bootstrap over images, both sides resampled alike: it says how far the
    difference would move with other images of the kind, not with other seeds.

    Args:
        first: `evaluation.json` of one row, one for each seed.
        second: Of the other row, as many, on the same images.
        figure: Path of the figure, joined by dots. Of objects there is none: their counts do not add up over images.
        protocol: That of the evaluations.
        resamples: Sets of images drawn.

    Raises:
        ValueError: The evaluations are not of the same images, or not as many.
    """
    read = [json.loads(path.read_text(encoding="utf-8")) for path in (*first, *second)]
    if len({_names(one) for one in read}) > 1 or len(first) != len(second):
        raise ValueError(f"{first[0].parent.name}: the evaluations are not of the same images with the same seeds")
    path = tuple(figure_path(figure))
    if path[0] == _ALL_PIXELS:
        path, protocol = path[1:], "tissue"
    classes = read[0]["classes"]

    def mean_over_seeds(counts: NDArray[Any]) -> Figures:
        each = [figures(under_protocol(one, protocol), classes) for one in counts]
        return {path: float(np.mean([found[path] for found in each]))} if path in each[0] else {}

    both = (_counts(read[: len(first)]), _counts(read[len(first) :]))
    return paired_difference(*both, mean_over_seeds, resamples).get(path)


def _names(evaluation: dict[str, Any]) -> tuple[str, ...]:
    return tuple(image["name"] for image in evaluation["per_image"])


def _counts(evaluations: Sequence[dict[str, Any]]) -> Counts:
    each = [[image["confusion"] for image in evaluation["per_image"]] for evaluation in evaluations]
    return np.array(each, np.int64).swapaxes(0, 1)
