"""Datasets as samples, and samples at the model's mpp as tensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.training.crops.interior import UNKNOWN, interior_target
from models.training.datasets.records import DatasetIndex, read_sample
from models.training.datasets.registry import open_dataset
from models.training.datasets.sample import IGNORE, DatasetConfig, Sample
from models.training.datasets.selection import choose

# The names of datasets.sample are part of this module: whoever trains needs only this one.
__all__ = [
    "IGNORE",
    "DatasetConfig",
    "Plane",
    "Sample",
    "iterate_dataset",
    "load_dataset",
    "load_parts",
    "resize_image",
    "resize_labels",
    "to_plane",
    "working_size",
]


def iterate_dataset(config: DatasetConfig, data_root: Path, classes: int) -> Iterator[tuple[Sample, bool]]:
    """Read the images of a dataset one by one, sorted by name: (sample, whether it is held out for validation).

    Args:
        config: The dataset.
        data_root: Folder that its root lies in.
        classes: Number of classes of the model.

    Raises:
        FileNotFoundError: A folder is missing, or an image has no mask.
        ValueError: A mask's size differs from its image's, it holds a label the model does not know, a file cannot be
            read, or the settings do not fit the dataset.
    """
    index = open_dataset(config, data_root / config.root)
    mpp = _checked(index, config, classes)
    for choice in choose(index.records, config):
        yield read_sample(choice.record, mpp, classes, choice.annotated), choice.held_out


def load_dataset(config: DatasetConfig, data_root: Path, classes: int) -> list[Sample]:
    """Read every image of a dataset, sorted by name; arguments and errors as for `iterate_dataset`."""
    return [sample for sample, _ in iterate_dataset(config, data_root, classes)]


def load_parts(config: DatasetConfig, data_root: Path, classes: int) -> tuple[list[Sample], list[Sample]]:
    """Read a dataset as (training, validation); arguments and errors as for `iterate_dataset`."""
    train: list[Sample] = []
    validation: list[Sample] = []
    for sample, held_out in iterate_dataset(config, data_root, classes):
        (validation if held_out else train).append(sample)
    return train, validation


def _checked(index: DatasetIndex, config: DatasetConfig, classes: int) -> float:
    """Return the dataset's mpp once it is known to fit the model."""
    if index.problems:
        more = f" (and {len(index.problems) - 5} more)" if len(index.problems) > 5 else ""
        raise ValueError(f"dataset {config.root}: {'; '.join(index.problems[:5])}{more}")
    if len(index.classes) > classes:
        names = ", ".join(one.name for one in index.classes)
        raise ValueError(f"dataset {config.root} has {len(index.classes)} classes ({names}), the model {classes}")
    if index.mpp is None:
        raise ValueError(f"dataset {config.root}: mpp is not known; give it with the dataset or in its dataset.toml")
    return index.mpp


def resize_image(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample with the triangle filter that inference uses too."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_labels(labels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resample by majority: the class covering most of each new pixel (255 counts as a class)."""
    if (height, width) == labels.shape:
        return labels
    values = np.unique(labels)
    cover = [
        np.asarray(Image.fromarray((labels == v).astype(np.float32)).resize((width, height), Image.Resampling.BOX))
        for v in values
    ]
    majority: NDArray[np.uint8] = values[np.argmax(np.stack(cover), axis=0)]
    return majority


def working_size(sample: Sample, mpp: float) -> tuple[int, int]:
    """Return (width, height) of a sample at `mpp`."""
    height, width = sample.labels.shape
    return max(1, round(width * sample.mpp / mpp)), max(1, round(height * sample.mpp / mpp))


@dataclass(frozen=True)
class Plane:
    """A sample at the model's mpp, as tensors.

    Attributes:
        name: Of the sample.
        image: (3, H, W) in [−1, 1].
        labels: (H, W) int64.
        interior: (H, W) target of the interior map, 0 to 1 and below 0 where it is not known; None if not asked for.
    """

    name: str
    image: Tensor
    labels: Tensor
    interior: Tensor | None = None


def to_plane(sample: Sample, mpp: float, interior_um: float = 0.0, least_solidity: float = 0.0) -> Plane:
    """Resample to the model's mpp and convert; the last two as for `interior_target`, 0 µm for no interior map."""
    width, height = working_size(sample, mpp)
    image = torch.from_numpy(resize_image(sample.image, width, height).copy()).permute(2, 0, 1)
    labels = torch.from_numpy(resize_labels(sample.labels, width, height).astype(np.int64))
    interior = _interior(sample, (width, height), interior_um, least_solidity) if interior_um else None
    return Plane(sample.name, image.float() / 127.5 - 1, labels, interior)


def _interior(sample: Sample, size: tuple[int, int], depth_um: float, least_solidity: float) -> Tensor:
    target = interior_target(sample, depth_um, least_solidity)
    resized = np.asarray(Image.fromarray(target.clip(0)).resize(size, Image.Resampling.BOX))
    unknown = np.asarray(Image.fromarray((target < 0).astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
    return torch.from_numpy(np.where(unknown, np.float32(UNKNOWN), resized))
