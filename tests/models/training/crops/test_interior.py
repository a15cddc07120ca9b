"""The interior map's target against a slow oracle, and what becomes of it in crops and in the loss."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.training.crops.augment import AugmentConfig, Cropper
from models.training.crops.batch import Batch
from models.training.crops.data import to_plane
from models.training.crops.interior import UNKNOWN, interior_target
from models.training.datasets.sample import IGNORE, Sample
from models.training.losses import interior_loss


def sample(labels: np.ndarray, instances: np.ndarray | None = None) -> Sample:
    image = np.full((*labels.shape, 3), 128, np.uint8)
    return Sample("x", image, labels.astype(np.uint8), 0.5, instances=instances)


def nearest(numbers: np.ndarray, row: int, col: int) -> float:
    """Distance to the nearest pixel that is no part of this object, or lies beside another one; by looking at all."""
    height, width = numbers.shape
    best = math.inf
    for r in range(height):
        for c in range(width):
            around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            beside = any(
                0 <= y < height and 0 <= x < width and numbers[y, x] not in (0, numbers[r, c]) for y, x in around
            )
            if numbers[r, c] == 0 or beside:
                best = min(best, math.hypot(r - row, c - col))
    return best


@given(st.integers(0, 10**6))
def test_target_is_the_distance_to_the_border_of_ones_own_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.kron(rng.integers(0, 3, (4, 5)), np.ones((3, 3), np.int64)).astype(np.int32)
    numbers[0, 0] = 0
    found = interior_target(sample(numbers > 0, numbers), depth_um=1.5)
    for row in range(numbers.shape[0]):
        for col in range(numbers.shape[1]):
            expected = min(nearest(numbers, row, col) * 0.5 / 1.5, 1) if numbers[row, col] else 0
            assert found[row, col] == pytest.approx(expected, abs=1e-6)


def test_components_that_are_several_and_what_is_not_annotated_are_not_known() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 2:8] = 1  # one square
    labels[10:18, 2:6] = 1  # an L: area over convex area is far from 1
    labels[14:18, 2:14] = 1
    labels[:, 25:] = IGNORE
    found = interior_target(sample(labels), 1.0, least_solidity=0.9)
    assert (found[2:8, 2:8] >= 0).all()
    assert (found[10:18, 2:6] == UNKNOWN).all()
    assert (found[:, 25:] == UNKNOWN).all()
    assert (interior_target(sample(labels), 1.0)[10:18, 2:6] >= 0).all()
    # An instance map that lacks an object that the mask has: it is not known where its border is.
    assert (interior_target(sample(labels, np.zeros((20, 30), np.int32)), 1.0)[2:8, 2:8] == UNKNOWN).all()


def test_crops_carry_the_map_to_where_the_labels_go() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = 1
    labels[:, 56:] = IGNORE
    still = AugmentConfig(stain=0, brightness=0, contrast=0, blur=0, noise=0, glass=0, scale=(1, 1))
    plane = to_plane(sample(labels), 0.5, interior_um=4.0)
    _, crops, interior = Cropper([plane], 48, still).batch(8, torch.Generator().manual_seed(0))
    assert interior is not None
    assert interior.max() > 0.9
    inside = crops == 1
    assert (interior[crops == 0] < 0.2).all()  # smooth: a border pixel may be half inside
    assert (interior[inside] >= 0).float().mean() > 0.99
    assert (interior[crops == IGNORE] < 0.05).all()
    _, _, none = Cropper([to_plane(sample(labels), 0.5)], 48, still).batch(2, torch.Generator().manual_seed(0))
    assert none is None
    glass = AugmentConfig(glass=1)
    images, crops, interior = Cropper([plane], 48, glass).batch(16, torch.Generator().manual_seed(2))
    assert interior is not None
    white = (images == images.amax(dim=(1, 2, 3), keepdim=True)).all(dim=1) & (crops == 0)
    assert (interior[white] <= 0.2).all()


def test_parts_of_a_batch_keep_their_maps() -> None:
    interior = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    batch = Batch(torch.zeros(4, 3, 2, 2), torch.zeros(4, 2, 2), torch.Generator(), 0, interior)
    parts = batch.split(2)
    assert [part.interior[:, 0, 0].tolist() for part in parts if part.interior is not None] == [[0, 1], [2, 3]]


def test_loss_is_the_cross_entropy_over_what_is_known() -> None:
    logit = torch.tensor([[[0.3, -1.0, 2.0, 5.0, 0.0, 1.5]]], requires_grad=True)
    target = torch.tensor([[[0.5, 0.0, 0.0, -1.0, 0.0, 0.0]]])
    weights = [1, 1, 1, 0, 0.1, 0.1]  # near, near, near, not known, far, far
    values = [
        -(t * math.log(1 / (1 + math.exp(-x))) + (1 - t) * math.log(1 - 1 / (1 + math.exp(-x))))
        for x, t in zip(logit[0, 0].tolist(), target[0, 0].tolist(), strict=True)
    ]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert interior_loss(logit, target).item() == pytest.approx(expected, rel=1e-5)
    nothing = interior_loss(logit, torch.full((1, 2, 2), -1.0))
    nothing.backward()
    assert nothing.item() == 0
