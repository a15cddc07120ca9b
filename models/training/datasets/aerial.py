"""Buildings from the air: crops of Inria, Dubai and Massachusetts, and the full Massachusetts set.

Aerial images have metres per pixel, which a model for slides does not know: their mpp is 1.0, and so must the
model's be.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.datasets.pairs import PairLayout, list_images, pair_faults, pair_records, read_mask
from models.training.datasets.records import DatasetIndex, LabelClass, class_table
from models.training.datasets.sample import DatasetConfig

AERIAL_MPP = 1.0
_BUILDING = class_table("background", "building")
_DUBAI = class_table("unlabelled", "building", "land", "road", "vegetation", "water")


def index_inria(folder: Path, config: DatasetConfig) -> DatasetIndex:  # noqa: ARG001 - every adapter's signature
    """Inria crops called `<scene>_<n>`; the group is the scene (`austin1`)."""
    layout = PairLayout(folder / "images", folder / "masks", group=lambda stem: stem.rpartition("_")[0] or stem)
    return _index(layout, _BUILDING)


def index_dubai(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """Dubai images called `Tile<k>_image_part_<n>`; the group is the tile."""
    masks, classes = ("building_masks", _BUILDING) if config.variant == "building" else ("masks", _DUBAI)
    return _index(PairLayout(folder / "images", folder / masks, group=lambda stem: stem.partition("_")[0]), classes)


def index_patches(folder: Path, config: DatasetConfig) -> DatasetIndex:  # noqa: ARG001 - every adapter's signature
    """Patches of Massachusetts test images; each is a group."""
    return _index(PairLayout(folder / "images", folder / "masks"), _BUILDING)


def index_massachusetts(folder: Path, config: DatasetConfig) -> DatasetIndex:  # noqa: ARG001 - every adapter's signature
    """The full Massachusetts set: `tiff/train` beside `tiff/train_labels`, buildings red on black; a group each."""
    return _index(PairLayout(folder, folder.parent / f"{folder.name}_labels", decode=_red), _BUILDING)


def baseline_predictions(folder: Path) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Read the published predictions beside the Massachusetts patches.

    Returns:
        Method name to image name to probability of a building, (H, W) from 0 to 255.

    Raises:
        FileNotFoundError: There are none.
    """
    paths = list_images(folder / "baseline_preds")
    if not paths:
        raise FileNotFoundError(f"no predictions in {folder / 'baseline_preds'}; expected <method>_<image>.png")
    found: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for path in paths:
        method, _, image = path.stem.rpartition("_")
        found.setdefault(method, {})[image] = read_mask(path).astype(np.uint8)
    return found


def _red(raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take red as building. A grey copy of the masks (0 and 255) reads the same. Half-way, for labels kept as JPEG."""
    return ((raw if raw.ndim == 2 else raw[..., 0]) > 127).astype(np.int64)


def _index(layout: PairLayout, classes: tuple[LabelClass, ...]) -> DatasetIndex:
    problems, notes = pair_faults(layout)
    return DatasetIndex(AERIAL_MPP, classes, pair_records(layout), problems, notes)
