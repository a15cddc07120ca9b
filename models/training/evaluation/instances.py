"""Objects: split a nucleus mask into nuclei, and compare them with annotated ones by AJI and PQ."""

from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from models.training.evaluation.metrics import Figures

Labels: TypeAlias = NDArray[np.int32]
_MATCH_IOU: Final = 0.5


@dataclass(frozen=True)
class SplitConfig:
    """How a mask is cut. The defaults cut the annotated masks of nuclei at 0.25 µm/px best, see `docs/evaluation.md`.

    Attributes:
        radius_um: Two seeds are at least this far apart. Smaller cuts more.
        smooth_um: Standard deviation of the blur of the distance map, against seeds from a rough outline.
        least_um2: Smaller objects are dropped.
    """

    radius_um: float = 1.5
    smooth_um: float = 0.5
    least_um2: float = 3.0


def split_instances(mask: NDArray[np.bool_], mpp: float, config: SplitConfig | None = None) -> Labels:
    """Cut a mask into objects: a watershed of its distance map from the map's local maxima.

    Args:
        mask: (H, W), true inside nuclei.
        mpp: µm per px of the mask.
        config: Distances that say what one nucleus is.

    Returns:
        (H, W), 0 outside and 1..n inside the objects.
    """
    config = config or SplitConfig()
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), config.smooth_um / mpp) * mask
    seeds = _seeds(distance, mask, config.radius_um / mpp)
    labels = watershed(-distance, seeds, mask)
    areas = np.bincount(labels.ravel())
    kept = areas * mpp**2 >= config.least_um2
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    split: Labels = numbers[labels]
    return split


def _seeds(distance: NDArray[np.float64], mask: NDArray[np.bool_], radius_px: float) -> Labels:
    reach = max(1, round(radius_px))
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    highest = ndimage.maximum_filter(distance, footprint=rows**2 + cols**2 <= reach**2)
    peaks = mask & (distance == highest)
    pieces, count = ndimage.label(mask)
    # A small piece beside a large one may have no peak of its own.
    bare = np.setdiff1d(np.arange(1, count + 1), pieces[peaks])
    for row, col in ndimage.maximum_position(distance, pieces, bare):
        peaks[row, col] = True
    seeds: Labels = ndimage.label(peaks, np.ones((3, 3)))[0]
    return seeds


def watershed(relief: NDArray[np.float64], seeds: Labels, mask: NDArray[np.bool_]) -> Labels:
    """Give every pixel of the mask to a seed: the minimum spanning forest rooted in the seeds.

    Cousty et al., IEEE TPAMI 2009, "Watershed Cuts". Each pixel's path to its seed climbs no higher than any other
    path to a seed must. Of several, the one over the lowest neighbour is taken; equal heights count in raster order,
    so the answer is one and the same everywhere.

    Args:
        relief: (H, W) heights.
        seeds: (H, W) numbers above 0 where a flood begins; only those inside the mask count.
        mask: (H, W) pixels to give away, four-connected; one without a way to a seed stays 0.

    Returns:
        (H, W) numbers of the seeds.
    """
    inside = np.flatnonzero(mask)
    count, numbers = inside.size, seeds.ravel()[inside]
    starts = np.flatnonzero(numbers > 0)
    first, second, weights = _edges(relief, mask, inside)
    # All seeds hang on one more node, by the lightest edges: the tree takes these, and never joins two seeds.
    rows, cols = np.concatenate([first, np.full(starts.size, count)]), np.concatenate([second, starts])
    weights = np.concatenate([weights, np.full(starts.size, 0.5)])
    tree = csgraph.minimum_spanning_tree(sparse.csr_array((weights, (rows, cols)), shape=(count + 1, count + 1)))
    parts, part = csgraph.connected_components(tree[:count, :count], directed=False)
    owner = np.zeros(parts, np.int32)
    owner[part[starts]] = numbers[starts]
    labels = np.zeros(mask.shape, np.int32)
    labels.ravel()[inside] = owner[part]
    return labels


def _edges(
    relief: NDArray[np.float64], mask: NDArray[np.bool_], inside: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Both ends and the weight of every pair of neighbours: all weights differ, whole numbers, the higher end first."""
    count = inside.size
    node, rank = np.zeros(mask.shape, np.int64), np.zeros(mask.shape, np.int64)
    node.ravel()[inside] = np.arange(count)
    rank.ravel()[inside[np.argsort(relief.ravel()[inside], kind="stable")]] = np.arange(1, count + 1)
    ends = []
    for before, after in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
        both = mask[before] & mask[after]
        ends.append((node[before][both], node[after][both], rank[before][both], rank[after][both]))
    first, second, one, other = (np.concatenate(parts) for parts in zip(*ends, strict=True))
    return first, second, np.maximum(one, other) * (count + 1.0) + np.minimum(one, other)


def instance_counts(reference: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    """Count what AJI and PQ of an image are made of; counts of several images add up.

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
    shared, areas, found_areas = _overlaps(reference, predicted)
    union = areas[:, None] + found_areas[None, :] - shared
    iou = shared / union
    matched = iou > _MATCH_IOU  # at most one an object: two would share more than all of it
    matches = int(matched.sum())
    intersection, joined = _aggregated(shared, union, iou, areas, found_areas)
    return np.array(
        [intersection, joined, iou[matched].sum(), matches, len(found_areas) - matches, len(areas) - matches]
    )


def _overlaps(
    reference: NDArray[Any], predicted: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return shared pixels (annotated, found), and both areas; objects in the order of their numbers."""
    numbers, rows = np.unique(np.append(reference.ravel(), 0), return_inverse=True)
    found, cols = np.unique(np.append(predicted.ravel(), 0), return_inverse=True)
    table = np.bincount(rows[:-1] * len(found) + cols[:-1], minlength=len(numbers) * len(found))
    table = table.reshape(len(numbers), len(found))
    return table[numbers > 0][:, found > 0], table[numbers > 0].sum(axis=1), table[:, found > 0].sum(axis=0)


def _aggregated(
    shared: NDArray[np.int64],
    union: NDArray[np.int64],
    iou: NDArray[np.float64],
    areas: NDArray[np.int64],
    found_areas: NDArray[np.int64],
) -> tuple[int, int]:
    """Kumar et al., IEEE TMI 2017, algorithm 1: each annotated object with the found one of the largest IoU.

    A found object may serve several annotated ones; one that serves none adds its area to the union.
    """
    if not shared.size:
        return 0, int(areas.sum() + found_areas.sum())
    best = iou.argmax(axis=1)
    rows = np.arange(len(areas))
    touched = shared[rows, best] > 0
    alone = np.setdiff1d(np.arange(len(found_areas)), best[touched])
    joined = np.where(touched, union[rows, best], areas).sum() + found_areas[alone].sum()
    return int(shared[rows, best].sum()), int(joined)


@dataclass(frozen=True)
class InstanceScores:
    """AJI, and PQ = SQ · DQ. NaN where there is nothing to compare."""

    aji: float
    pq: float
    sq: float
    dq: float


def instance_scores(counts: NDArray[np.float64]) -> InstanceScores:
    """Compute AJI and, after Kirillov et al., CVPR 2019, PQ = Σ IoU / (TP + FP/2 + FN/2), from counts of a whole set.

    SQ is the mean IoU of the matches, 0 without any; DQ is the F1 of finding objects.
    """
    intersection, union, iou, matches, false, missed = counts.tolist()
    if not matches + false + missed:
        return InstanceScores(*[float("nan")] * 4)
    sq = iou / matches if matches else 0.0
    dq = matches / (matches + false / 2 + missed / 2)
    return InstanceScores(aji=intersection / union, pq=sq * dq, sq=sq, dq=dq)


def instance_figures(counts: NDArray[np.float64]) -> Figures:
    """Return the scores by their paths."""
    return {("instances", name): value for name, value in asdict(instance_scores(counts)).items()}
