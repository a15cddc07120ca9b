"""Stained tissue and nuclei sets kept as image and mask files: GlaS, CoNSeP, TNBC, DSB 2018."""

import csv
from dataclasses import replace
from pathlib import Path

from models.training.datasets.pairs import PairLayout, above_zero, pair_faults, pair_records, plain_labels
from models.training.datasets.records import DatasetIndex, LabelClass, class_table
from models.training.datasets.sample import DatasetConfig

_GLAS = {
    "binary": ("masks", class_table("background", "gland")),
    "3class": ("masks_3class", class_table("background", "benign gland", "malignant gland")),
}
_NUCLEUS = class_table("background", "nucleus")
_CONSEP_TYPES = class_table("background", "other", "inflammatory", "epithelial", "spindle-shaped")


def index_glas(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """GlaS / Warwick-QU glands at 0.62 µm/px; the group is the patient of `index.csv` here or one folder up."""
    masks, classes = _GLAS[config.variant]
    table = next((path for path in (folder / "index.csv", folder.parent / "index.csv") if path.is_file()), None)
    if table is None:
        raise FileNotFoundError(f"no index.csv in {folder} or {folder.parent}: it says which patient an image is of")
    with table.open(newline="", encoding="utf-8") as file:
        patients = {row["name"]: row["patient_id"] for row in csv.DictReader(file)}
    layout = PairLayout(folder / "images", folder / masks, group=lambda stem: patients.get(stem, stem))
    found = _index(layout, classes, 0.62)
    lost = tuple(f"image {record.name} is not in {table}" for record in found.records if record.name not in patients)
    return replace(found, problems=found.problems + lost)


def index_consep(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """CoNSeP nuclei at 0.25 µm/px, patches called `<image>_<patch>`; the group is the image."""
    decode, classes = (plain_labels, _CONSEP_TYPES) if config.variant == "type" else (above_zero, _NUCLEUS)
    layout = PairLayout(
        folder / "images",
        folder / "type_masks",
        folder / "inst_masks",
        decode=decode,
        group=lambda stem: stem.rpartition("_")[0] or stem,
    )
    return _index(layout, classes, 0.25)


def index_tnbc(folder: Path, config: DatasetConfig) -> DatasetIndex:  # noqa: ARG001 - every adapter's signature
    """TNBC nuclei at 0.25 µm/px, images called `<patient>_<n>`; the group is the patient. No instance maps."""
    layout = PairLayout(folder / "images", folder / "masks", group=lambda stem: stem.partition("_")[0])
    return _index(layout, _NUCLEUS, 0.25)


def index_dsb2018(folder: Path, config: DatasetConfig) -> DatasetIndex:  # noqa: ARG001 - every adapter's signature
    """Stained images of DSB 2018 at a nominal 0.25 µm/px; instance maps; no patient is known, so each is a group."""
    masks = folder / "inst_masks"
    return _index(PairLayout(folder / "images", masks, masks, decode=above_zero), _NUCLEUS, 0.25)


def _index(layout: PairLayout, classes: tuple[LabelClass, ...], mpp: float) -> DatasetIndex:
    problems, notes = pair_faults(layout)
    return DatasetIndex(mpp, classes, pair_records(layout), problems, notes)
