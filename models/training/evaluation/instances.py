"""Objects against annotated ones: AJI, PQ, finding, and how far the numbers of objects are apart."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.metrics import Figures

MATCH_IOU: Final = 0.5
"""Above this two objects are one and the same. So an object has at most one match: two would share more than all."""

COUNTED_FROM: Final = 20
"""Images with fewer annotated objects do not count in the count error: one object more or less is too much there."""


def instance_counts(reference: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    """Count what the figures of an image's objects are made of; counts of several images add up.

    Args:
        reference: (H, W) numbers of the annotated objects, 0 where there is none.
        predicted: (H, W) numbers of the found ones. Numbers need not be consecutive.

    Returns:
        (6,): pixels of AJI's intersections and of its unions; IoU added up over the matches; matches (IoU > 0.5),
        found objects without a match, annotated ones without.

    Raises:
        ValueError: The shapes differ.
    """
    if reference.shape != predicted.shape:
        raise ValueError(f"reference has shape {reference.shape}, prediction {predicted.shape}")
    pairs = _overlaps(reference, predicted)
    matched = pairs.iou > MATCH_IOU
    matches = int(matched.sum())
    intersection, joined = _aggregated(pairs)
    missed, false = len(pairs.areas) - matches, len(pairs.found_areas) - matches
    return np.array([intersection, joined, pairs.iou[matched].sum(), matches, false, missed])


@dataclass(frozen=True)
class _Overlaps:
    """Areas of all objects in the order of their numbers, and of each pair that meets: its places there, and pixels.

    Pairs are in the order of the annotated, then of the found ones. A table of all pairs would not fit into memory
    where a field has ten thousand nuclei.
    """

    areas: NDArray[np.int64]
    found_areas: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels of either."""
        return self.areas[self.rows] + self.found_areas[self.cols] - self.shared

    @property
    def iou(self) -> NDArray[np.float64]:
        """Shared pixels as a fraction of those of either."""
        return self.shared / self.union


def _overlaps(reference: NDArray[Any], predicted: NDArray[Any]) -> _Overlaps:
    numbers, areas = np.unique(reference[reference > 0], return_counts=True)
    found, found_areas = np.unique(predicted[predicted > 0], return_counts=True)
    both = (reference > 0) & (predicted > 0)
    step = int(predicted.max(initial=0)) + 1
    keys, shared = np.unique(reference[both].astype(np.int64) * step + predicted[both], return_counts=True)
    return _Overlaps(
        areas, found_areas, np.searchsorted(numbers, keys // step), np.searchsorted(found, keys % step), shared
    )


def _aggregated(pairs: _Overlaps) -> tuple[int, int]:
    """Kumar et al., IEEE TMI 2017, algorithm 1: each annotated object with the found one of the largest IoU.

    A found object may serve several annotated ones; one that serves none adds its area to the union.
    """
    order = np.lexsort((-pairs.iou, pairs.rows))  # stable: of equal ones the first
    best = order[np.unique(pairs.rows[order], return_index=True)[1]]
    alone, unused = pairs.areas.copy(), pairs.found_areas.copy()
    alone[pairs.rows[best]] = unused[pairs.cols[best]] = 0
    return int(pairs.shared[best].sum()), int(pairs.union[best].sum() + alone.sum() + unused.sum())


@dataclass(frozen=True)
class InstanceScores:
    """AJI, PQ = SQ · DQ, and finding objects: DQ under its other name, precision, recall. NaN where not defined."""

    aji: float
    pq: float
    sq: float
    dq: float
    f1: float
    precision: float
    recall: float


def instance_scores(counts: NDArray[np.float64]) -> InstanceScores:
    """Compute AJI and, after Kirillov et al., CVPR 2019, PQ = Σ IoU / (TP + FP/2 + FN/2), from counts of a whole set.

    SQ is the mean IoU of the matches, 0 without any; DQ is the F1 of finding objects.
    """
    intersection, union, iou, matches, false, missed = counts.tolist()
    if not matches + false + missed:
        return InstanceScores(*[float("nan")] * 7)
    sq = iou / matches if matches else 0.0
    dq = matches / (matches + false / 2 + missed / 2)
    return InstanceScores(
        aji=intersection / union,
        pq=sq * dq,
        sq=sq,
        dq=dq,
        f1=dq,
        precision=_share(matches, matches + false),
        recall=_share(matches, matches + missed),
    )


def instance_figures(counts: NDArray[np.float64]) -> Figures:
    """Return the scores by their paths."""
    return {("instances", name): value for name, value in asdict(instance_scores(counts)).items()}


def count_figures(counts: NDArray[np.float64]) -> Figures:
    """Return the count error: median over images of |found − annotated| / annotated, of counts (images, 6).

    Only images with `COUNTED_FROM` annotated objects or more take part; NaN without any. It is a figure of the images
    one by one: the sum over a set forgives what one image has too many and another too few.
    """
    _, _, _, matches, false, missed = counts.T
    annotated, found = matches + missed, matches + false
    many = annotated >= COUNTED_FROM
    errors = np.abs(found - annotated)[many] / annotated[many]
    return {("instances", "count_error"): float(np.median(errors)) if errors.size else float("nan")}


def counted_images(counts: NDArray[np.float64]) -> int:
    """Return how many images take part in the count error."""
    return int((counts[:, 3] + counts[:, 5] >= COUNTED_FROM).sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
