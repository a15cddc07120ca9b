"""The one interface of all adapters: an index of records, each an image that is not read yet."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.datasets.sample import IGNORE, Sample

Shape = tuple[int, int]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class LabelClass:
    """A class of a dataset. Its place in the index is its label."""

    name: str
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Annotation:
    """Labels (H, W) as class numbers, not yet checked, and object numbers (H, W) where there are some."""

    labels: NDArray[np.int64]
    instances: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Record:
    """One image and its annotation, read when asked for.

    Attributes:
        name: Name within the dataset, unique.
        group: Patient, slide or tile.
        source: The annotation's file name, for messages.
        read_image: Returns (H, W, 3) uint8.
        read_annotation: Takes the image's (H, W) and returns the annotation.
        split: One of `SPLITS`.
    """

    name: str
    group: str
    source: str
    read_image: Callable[[], NDArray[np.uint8]]
    read_annotation: Callable[[Shape], Annotation]
    split: str = "train"


@dataclass(frozen=True)
class DatasetIndex:
    """What an adapter found in a folder.

    Attributes:
        mpp: µm per px, None where neither the folder nor the adapter knows it.
        classes: The classes in the order of their labels; empty where the folder does not say.
        records: The images, sorted by name.
        problems: Faults that make the dataset unusable, a sentence each.
        notes: What is odd but does no harm, a sentence each.
    """

    mpp: float | None
    classes: tuple[LabelClass, ...]
    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def class_table(*names: str) -> tuple[LabelClass, ...]:
    """Return classes without colours."""
    return tuple(LabelClass(name) for name in names)


def annotation_problems(record: Record, annotation: Annotation, shape: Shape, classes: int | None) -> list[str]:
    """Return what is wrong with an annotation of an image of `shape` (H, W), a sentence each.

    With `classes` None only the range of a label file is checked, 0..255.
    """
    labels, problems = annotation.labels, []
    if labels.shape != shape:
        problems.append(f"{record.source} is {labels.shape}, its image {shape}: masks are one number a pixel")
    if annotation.instances is not None and annotation.instances.shape != shape:
        problems.append(f"{record.source}: the instance map is {annotation.instances.shape}, its image {shape}")
    known = IGNORE if classes is None else classes
    unknown = [int(value) for value in np.unique(labels) if value != IGNORE and not 0 <= value < known]
    if unknown:
        listed = f"[{', '.join(map(str, unknown[:10]))}{', …' if len(unknown) > 10 else ''}]"
        problems.append(f"{record.source} holds labels {listed}; the model knows 0..{known - 1} and 255 (ignored)")
    return problems


def read_sample(record: Record, mpp: float, classes: int, annotated: bool = True) -> Sample:
    """Read one record; with `annotated` false its labels are not read and are all 255.

    Raises:
        FileNotFoundError: The image has no mask.
        ValueError: A file cannot be read, the mask's size is not the image's, or a label is not known.
    """
    image = record.read_image()
    shape = (image.shape[0], image.shape[1])
    if not annotated:
        return Sample(record.name, image, np.full(shape, IGNORE, np.uint8), mpp, record.group)
    annotation = record.read_annotation(shape)
    if problems := annotation_problems(record, annotation, shape, classes):
        raise ValueError("; ".join(problems))
    return Sample(record.name, image, annotation.labels.astype(np.uint8), mpp, record.group, annotation.instances)
