"""One dataset folder layout: `images/` and a masks folder with the same file stems, read at the model's mpp."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

IGNORE = 255
_IMAGE_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"}


@dataclass(frozen=True)
class DatasetConfig:
    """Where a dataset lies and how to read it.

    Attributes:
        root: Folder, relative to the data root, holding `images/` and the masks folder.
        mpp: µm per px of the images.
        masks: Name of the masks folder.
        binary: Masks hold instance numbers; anything above 0 is class 1.
        validation: Glob patterns of file stems kept for validation.
    """

    root: str
    mpp: float
    masks: str = "masks"
    binary: bool = False
    validation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One image with its label map, both at the annotation's resolution."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    mpp: float


def load_dataset(config: DatasetConfig, data_root: Path, classes: int) -> list[Sample]:
    """Read every pair of a dataset, sorted by name.

    Raises:
        FileNotFoundError: A folder is missing, or an image has no mask.
        ValueError: A mask's size differs from its image's, or it holds a label the model does not know.
    """
    folder = data_root / config.root
    images = sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not images:
        raise FileNotFoundError(f"no images in {folder / 'images'}; expected one of {sorted(_IMAGE_SUFFIXES)}")
    return [_load_pair(path, folder / config.masks, config, classes) for path in images]


def _load_pair(path: Path, masks: Path, config: DatasetConfig, classes: int) -> Sample:
    found = [p for p in sorted(masks.glob(f"{path.stem}.*")) if p.suffix.lower() in _IMAGE_SUFFIXES]
    if not found:
        raise FileNotFoundError(f"image {path.name} has no mask in {masks}")
    image = np.asarray(Image.open(path).convert("RGB"))
    raw = np.asarray(Image.open(found[0]))
    if raw.shape != image.shape[:2]:
        raise ValueError(f"{found[0].name} is {raw.shape}, its image {image.shape[:2]}: masks are one number a pixel")
    labels = (raw > 0).astype(np.uint8) if config.binary else raw.astype(np.int64)
    unknown = sorted(set(np.unique(labels).tolist()) - set(range(classes)) - {IGNORE})
    if unknown:
        raise ValueError(f"{found[0].name} holds labels {unknown}; the model knows 0..{classes - 1} and 255 (ignored)")
    return Sample(path.stem, image, labels.astype(np.uint8), config.mpp)


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
    """A sample at the model's mpp, as tensors: image (3, H, W) in [−1, 1], labels (H, W) int64."""

    name: str
    image: Tensor
    labels: Tensor


def to_plane(sample: Sample, mpp: float) -> Plane:
    """Resample to the model's mpp and convert."""
    width, height = working_size(sample, mpp)
    image = torch.from_numpy(resize_image(sample.image, width, height).copy()).permute(2, 0, 1)
    labels = torch.from_numpy(resize_labels(sample.labels, width, height).astype(np.int64))
    return Plane(sample.name, image.float() / 127.5 - 1, labels)
