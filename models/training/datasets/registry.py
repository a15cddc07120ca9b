"""All adapters by name, and the one function that opens a dataset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.training.datasets.aerial import index_dubai, index_inria, index_massachusetts, index_patches
from models.training.datasets.bcss import index_bcss
from models.training.datasets.folder import index_folder
from models.training.datasets.histology import index_consep, index_dsb2018, index_glas, index_tnbc
from models.training.datasets.pannuke import index_pannuke
from models.training.datasets.puma import index_puma
from models.training.datasets.records import DatasetIndex
from models.training.datasets.sample import DatasetConfig


@dataclass(frozen=True)
class Adapter:
    """What reads one folder layout.

    Attributes:
        index: Takes the dataset's folder and settings (variant filled in) and lists what is there.
        variants: Names of its label schemes, the default first.
        layout: What the folder holds, for people.
    """

    index: Callable[[Path, DatasetConfig], DatasetIndex]
    variants: tuple[str, ...]
    layout: str


ADAPTERS: Final = {
    "folder": Adapter(index_folder, ("",), "images/, masks/, dataset.toml"),
    "glas": Adapter(index_glas, ("binary", "3class"), "images/, masks/, masks_3class/, index.csv here or above"),
    "consep": Adapter(index_consep, ("type", "binary"), "images/, type_masks/, inst_masks/"),
    "tnbc": Adapter(index_tnbc, ("binary",), "images/, masks/"),
    "dsb2018": Adapter(index_dsb2018, ("binary",), "images/, inst_masks/"),
    "aerial_inria": Adapter(index_inria, ("building",), "images/, masks/"),
    "aerial_dubai": Adapter(index_dubai, ("building", "6class"), "images/, building_masks/, masks/"),
    "aerial_massachusetts": Adapter(index_patches, ("building",), "images/, masks/, baseline_preds/"),
    "massachusetts": Adapter(index_massachusetts, ("building",), "tiff/train beside tiff/train_labels"),
    "puma": Adapter(index_puma, ("tissue", "nuclei", "nuclei3"), "01_training_dataset_{tif_ROIs,geojson_*}/"),
    "bcss": Adapter(index_bcss, ("21class", "5class"), "rgbs_colorNormalized/ or rgbs/, masks/"),
    "pannuke": Adapter(index_pannuke, ("type", "binary", "organ"), "Fold 1/{images,masks}/fold1/*.npy"),
    # Not published: read as a folder of one's own.
    "crcd": Adapter(index_folder, ("",), "images/, masks/, dataset.toml"),
}


def open_dataset(config: DatasetConfig, folder: Path) -> DatasetIndex:
    """Return what lies in a folder, nothing read yet. The settings' mpp wins over the adapter's.

    Raises:
        FileNotFoundError: A part of the layout is not there.
        ValueError: The adapter or its variant is not known, or the settings do not fit it.
    """
    if config.adapter not in ADAPTERS:
        raise ValueError(f"unknown adapter {config.adapter!r}; known: {', '.join(ADAPTERS)}")
    adapter = ADAPTERS[config.adapter]
    variant = config.variant or adapter.variants[0]
    if variant not in adapter.variants:
        known = ", ".join(filter(None, adapter.variants)) or "none"
        raise ValueError(f"adapter {config.adapter} has no variant {variant!r}; known: {known}")
    if adapter.index is not index_folder and (config.binary or config.masks != "masks"):
        raise ValueError(f"masks and binary belong to the adapter folder; {config.adapter} takes a variant")
    if not folder.is_dir():
        raise FileNotFoundError(f"no images in {folder}: there is no such folder")
    index = adapter.index(folder, replace(config, variant=variant))
    return index if config.mpp is None else replace(index, mpp=config.mpp)
