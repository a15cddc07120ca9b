"""PanNuke: 256 x 256 nuclei patches of 19 organs in array files, by its published layout.

    Fold 1/images/fold1/images.npy    (N, 256, 256, 3), values 0..255 kept as float64
    Fold 1/images/fold1/types.npy     (N,) organ names
    Fold 1/masks/fold1/masks.npy      (N, 256, 256, 6), object numbers in five channels by type; the sixth is background

The arrays are mapped, not loaded: a fold's masks are 8 GB.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.datasets.records import Annotation, DatasetIndex, Record, Shape, class_table
from models.training.datasets.sample import DatasetConfig

TYPES = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
ORGANS = (
    "Adrenal_gland",
    "Bile-duct",
    "Bladder",
    "Breast",
    "Cervix",
    "Colon",
    "Esophagus",
    "HeadNeck",
    "Kidney",
    "Liver",
    "Lung",
    "Ovarian",
    "Pancreatic",
    "Prostate",
    "Skin",
    "Stomach",
    "Testis",
    "Thyroid",
    "Uterus",
)
_CLASSES = {
    "type": class_table("background", *TYPES),
    "binary": class_table("background", "nucleus"),
    "organ": class_table("background", *ORGANS),
}


def index_pannuke(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """PanNuke at 0.25 µm/px. The files name neither patient nor slide, so the group is the fold.

    Variants: `type` (nucleus types), `binary`, `organ` (a nucleus has its patch's organ as class).
    """
    folds = sorted(folder.rglob("images.npy"))
    if not folds:
        raise FileNotFoundError(f"no images.npy below {folder}; PanNuke has Fold 1/images/fold1/images.npy")
    records = [record for images in folds for record in _fold(folder, images, config.variant)]
    return DatasetIndex(0.25, _CLASSES[config.variant], tuple(records))


def _fold(folder: Path, images: Path, variant: str) -> list[Record]:
    fold = images.parent.name
    masks = [path for path in sorted(folder.rglob("masks.npy")) if path.parent.name == fold]
    if len(masks) != 1:
        raise FileNotFoundError(f"{len(masks)} masks.npy for {fold} below {folder}; one is expected")
    pixels, objects = _mapped(images), _mapped(masks[0])
    if pixels.ndim != 4 or pixels.shape[3] != 3 or objects.shape != (*pixels.shape[:3], 6):
        raise ValueError(f"{fold}: images are {pixels.shape}, masks {objects.shape}; (N, H, W, 3) and (N, H, W, 6) fit")
    organs = _mapped(images.parent / "types.npy").tolist()
    if len(organs) != len(pixels):
        raise ValueError(f"{fold}: types.npy names {len(organs)} patches, images.npy has {len(pixels)}")
    return [
        Record(
            f"{fold}_{place:05d}",
            fold,
            f"masks.npy of {fold}, patch {place}",
            _patch(pixels, place),
            _nuclei(objects, place, str(organ), variant),
        )
        for place, organ in enumerate(organs)
    ]


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a NumPy array file: {error}") from error
    return array


def _patch(pixels: NDArray[Any], place: int) -> Callable[[], NDArray[np.uint8]]:
    return lambda: np.rint(pixels[place]).clip(0, 255).astype(np.uint8)


def _nuclei(objects: NDArray[Any], place: int, organ: str, variant: str) -> Callable[[Shape], Annotation]:
    def read(shape: Shape) -> Annotation:  # noqa: ARG001 - the size is checked once for the whole array
        labels, instances = np.zeros(objects.shape[1:3], np.int64), np.zeros(objects.shape[1:3], np.int32)
        for channel in range(len(TYPES)):
            numbers = np.asarray(objects[place, ..., channel]).astype(np.int32)
            here = numbers > 0
            labels[here] = _label(channel, organ, variant)
            # Numbered anew: a number may occur in two channels.
            instances[here] = numbers[here] + instances.max()
        return Annotation(labels, instances)

    return read


def _label(channel: int, organ: str, variant: str) -> int:
    if variant == "binary":
        return 1
    if variant == "type":
        return channel + 1
    if organ not in ORGANS:
        raise ValueError(f"types.npy names organ {organ!r}; known: {', '.join(ORGANS)}")
    return ORGANS.index(organ) + 1
