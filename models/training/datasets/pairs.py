"""Images in one folder, masks of the same file stem in another: what most datasets are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.training.datasets.records import Annotation, Record, Shape
from models.training.datasets.sample import IGNORE

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# What Pillow raises on files that are cut off, damaged or no image at all.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
_DEEP_MODES = ("I", "F")


def plain_labels(raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take pixel values as class numbers."""
    return raw


def above_zero(raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take anything above 0 as class 1."""
    return (raw > 0).astype(np.int64)


def by_value(table: dict[int, int]) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Return a decoder that replaces pixel values by class numbers.

    Raises (the decoder):
        ValueError: A pixel holds a value that is not in the table.
    """

    def decode(raw: NDArray[np.int64]) -> NDArray[np.int64]:
        values, places = np.unique(raw, return_inverse=True)
        if unknown := [int(value) for value in values if int(value) not in table]:
            raise ValueError(f"holds values {unknown[:10]}; known: {', '.join(map(str, sorted(table)))}")
        classes = np.array([table[int(value)] for value in values], np.int64)
        return classes[places].reshape(raw.shape)

    return decode


@dataclass(frozen=True)
class PairLayout:
    """Where images and masks lie and what a mask's pixels mean.

    Attributes:
        images: Folder of images.
        masks: Folder of masks, or None: the images are not annotated.
        instances: Folder of instance maps with the same stems, or None.
        decode: Turns a mask as read into class numbers.
        group: Turns a file stem into its group.
        split: Turns a group into its split.
    """

    images: Path
    masks: Path | None
    instances: Path | None = None
    decode: Callable[[NDArray[np.int64]], NDArray[np.int64]] = plain_labels
    group: Callable[[str], str] = field(default=lambda stem: stem)
    split: Callable[[str], str] = field(default=lambda _group: "train")


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted by name; none if it is not there."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def require_images(folder: Path) -> list[Path]:
    """Return the image files of a folder.

    Raises:
        FileNotFoundError: There are none; folders nearby that hold some are named.
    """
    if images := list_images(folder):
        return images
    near = sorted({path.parent.name for path in folder.parent.glob("*/images") if list_images(path)})
    hint = f"; folders with images here: {', '.join(near)}" if near else ""
    raise FileNotFoundError(f"no images in {folder}; expected one of {list(IMAGE_SUFFIXES)}{hint}")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an 8-bit image as RGB (H, W, 3).

    Raises:
        ValueError: The file cannot be read, or has more than 8 bits a channel.
    """

    def convert(image: Image.Image) -> NDArray[np.uint8]:
        if image.mode.startswith(_DEEP_MODES):
            raise ValueError(f"its pixels are of kind {image.mode}; 8 bits a channel are expected")
        return np.asarray(image.convert("RGB"))

    return _opened(path, convert)


def read_mask(path: Path) -> NDArray[np.int64]:
    """Read a mask as it is: (H, W), or (H, W, C) where it is coloured.

    Raises:
        ValueError: The file cannot be read.
    """
    return _opened(path, lambda image: np.asarray(image).astype(np.int64))


def _opened(path: Path, convert: Callable[[Image.Image], NDArray[Any]]) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            return convert(image)
    except _UNREADABLE as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def pair_records(layout: PairLayout) -> tuple[Record, ...]:
    """Return a record for every image.

    Raises:
        FileNotFoundError: There is no image.
    """
    return tuple(_record(path, layout) for path in require_images(layout.images))


def pair_faults(layout: PairLayout) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (problems, notes) of a layout: stems that occur twice, masks that belong to no image."""
    images, masks = ([] if folder is None else list_images(folder) for folder in (layout.images, layout.masks))
    stems = Counter(path.stem for path in images)
    twice = tuple(
        f"{count} images are called {stem}; a name may occur once" for stem, count in stems.items() if count > 1
    )
    orphans = tuple(f"mask {path.name} belongs to no image" for path in masks if path.stem not in stems)
    return twice, orphans


def _record(path: Path, layout: PairLayout) -> Record:
    group = layout.group(path.stem)

    def annotation(shape: Shape) -> Annotation:
        if layout.masks is None:
            return Annotation(np.full(shape, IGNORE, np.int64))
        mask = _partner(path, layout.masks)
        try:
            labels = layout.decode(read_mask(mask))
        except ValueError as error:
            raise ValueError(str(error) if mask.name in str(error) else f"{mask.name} {error}") from error
        instances = None
        if layout.instances is not None:
            instances = read_mask(_partner(path, layout.instances)).astype(np.int32)
        return Annotation(labels, instances)

    source = path.name if layout.masks is None else f"{layout.masks.name}/{_expected(path, layout.masks)}"
    return Record(path.stem, group, source, lambda: read_image(path), annotation, layout.split(group))


def _expected(path: Path, folder: Path) -> str:
    found = _with_stem(path.stem, folder)
    return found[0].name if found else path.stem


def _partner(path: Path, folder: Path) -> Path:
    if found := _with_stem(path.stem, folder):
        return found[0]
    raise FileNotFoundError(f"image {path.name} has no mask in {folder}")


def _with_stem(stem: str, folder: Path) -> list[Path]:
    """Return the files of a stem. Asked by name, not by glob: a stem may hold `[` or `*`."""
    suffixes = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))
    return [path for suffix in suffixes if (path := folder / f"{stem}{suffix}").is_file()]
