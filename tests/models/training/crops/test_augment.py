"""Random crops: image and labels stay together, colours move, glass is background."""

import numpy as np
import pytest
import torch
from disc_data import disc_image

from models.training.crops.augment import AugmentConfig, Cropper
from models.training.crops.data import Sample, resize_labels, to_plane


def test_majority_resize_keeps_legal_labels() -> None:
    labels = np.array([[0, 0, 3, 3], [0, 7, 3, 3], [7, 7, 255, 0], [7, 7, 255, 255]], np.uint8)
    assert resize_labels(labels, 2, 2).tolist() == [[0, 3], [7, 255]]


def test_crops_keep_image_and_labels_together() -> None:
    image, labels = disc_image(3)
    plane = to_plane(Sample("x", image, labels, 0.5), 0.5)
    still = AugmentConfig(stain=0, brightness=0, contrast=0, blur=0, noise=0, glass=0)
    images, crops, _ = Cropper([plane], 48, still).batch(6, torch.Generator().manual_seed(0))
    dark = images.mean(dim=1) < 0
    inside = crops != 255
    assert (dark == (crops == 1))[inside].float().mean().item() > 0.95
    assert images.min().item() >= -1
    assert images.max().item() <= 1


def test_a_stain_shift_changes_colour_not_shape() -> None:
    image, labels = disc_image(3)
    plane = to_plane(Sample("x", image, labels, 0.5), 0.5)
    cropper = Cropper([plane], 48, AugmentConfig(scale=(1, 1), glass=0))
    images, crops, _ = cropper.batch(4, torch.Generator().manual_seed(1))
    for one, classes in zip(images.mean(dim=1), crops, strict=True):
        if (classes == 1).any() and (classes == 0).any():
            assert one[classes == 1].mean() < one[classes == 0].mean()


def test_glass_covers_one_side_and_is_background() -> None:
    image, _ = disc_image(3)
    plane = to_plane(Sample("x", image, np.ones(image.shape[:2], np.uint8), 0.5), 0.5)
    images, crops, _ = Cropper([plane], 48, AugmentConfig(glass=1)).batch(16, torch.Generator().manual_seed(2))
    covered = crops == 0
    assert 0.1 < covered.float().mean().item() < 0.5
    bright = images.min(dim=1).values
    assert bright[covered].min().item() >= 0.5
    assert bright[~covered].mean().item() < 0.5


def test_large_images_are_drawn_as_often_as_their_pixels_ask() -> None:
    planes = [
        to_plane(Sample("x", np.full((side, side, 3), 128, np.uint8), np.full((side, side), c, np.uint8), 0.5), 0.5)
        for c, side in enumerate((64, 128))
    ]
    _, crops, _ = Cropper(planes, 16, AugmentConfig(glass=0)).batch(400, torch.Generator().manual_seed(3))
    assert (crops[:, 8, 8] == 1).float().mean().item() == pytest.approx(0.8, abs=0.06)
