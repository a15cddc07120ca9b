"""What a dataset is asked for and what it gives: the settings of one, and one annotated image."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.settings import settings

IGNORE = 255


@settings
class DatasetConfig:
    """Where a dataset lies and how to read it.

    Attributes:
        root: Folder of the dataset, relative to the data root.
        mpp: µm per px of the images; None takes the adapter's own, or the one in `dataset.toml`.
        masks: Name of the masks folder (adapter "folder"); empty: the images have no masks and are used unlabelled.
        binary: Masks hold instance numbers (adapter "folder"); anything above 0 is class 1.
        validation: Glob patterns of image names (file stems) kept for validation.
        adapter: Name of the adapter that knows the folder's layout, see `models.training.datasets.registry`.
        variant: Which of the adapter's label schemes; empty takes its first.
        annotated: Fraction of the training images whose labels are used, in (0, 1]; the others are unlabelled.
        annotated_images: Their number instead; 0: the fraction.
        annotated_seed: Seed of that choice. With one seed, a smaller fraction is a part of a larger one.
        validation_groups: Glob patterns of groups (patients, slides, tiles) kept for validation.
        split: Which of `dataset.toml`'s splits to read: "train", "validation", "test" or "all"; empty: train and
            validation, the latter held out.
    """

    root: str
    mpp: Annotated[float, Field(gt=0)] | None = None
    masks: str = "masks"
    binary: bool = False
    validation: tuple[str, ...] = ()
    adapter: str = "folder"
    variant: str = ""
    annotated: Annotated[float, Field(gt=0, le=1)] = 1.0
    annotated_seed: int = 0
    validation_groups: tuple[str, ...] = ()
    split: str = ""
    annotated_images: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Sample:
    """One image with its label map, both at the annotation's resolution.

    Attributes:
        name: File stem, or what stands for it in an array file.
        image: (H, W, 3) RGB.
        labels: (H, W) class numbers; 255 where there is no annotation.
        mpp: µm per px.
        group: What must not be cut by a split: patient, slide or tile.
        instances: (H, W) object numbers, 0 for none, or None where the dataset has none.
    """

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    mpp: float
    group: str = ""
    instances: NDArray[np.int32] | None = None
