"""PUMA: melanoma regions with tissue and nuclei polygons, by its published layout.

01_training_dataset_tif_ROIs/training_set_primary_roi_001.tif              1024 x 1024 px
01_training_dataset_geojson_tissue/training_set_primary_roi_001_tissue.geojson
01_training_dataset_geojson_nuclei/training_set_primary_roi_001_nuclei.geojson
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.training.datasets.pairs import read_image, require_images
from models.training.datasets.polygons import paint, read_features
from models.training.datasets.records import Annotation, DatasetIndex, Record, Shape, class_table
from models.training.datasets.sample import DatasetConfig

# Two names for the ground: the challenge's label table says white_background.
_TISSUE = {
    "tissue_background": 0,
    "tissue_white_background": 0,
    "tissue_stroma": 1,
    "tissue_blood_vessel": 2,
    "tissue_tumor": 3,
    "tissue_epidermis": 4,
    "tissue_necrosis": 5,
}
_NUCLEI = (
    "tumor",
    "lymphocyte",
    "plasma_cell",
    "histiocyte",
    "melanophage",
    "neutrophil",
    "stroma",
    "endothelium",
    "epithelium",
    "apoptosis",
)
# Track 1 of the challenge: tumour, tumour-infiltrating lymphocytes (lymphocytes and plasma cells), all others.
_TRACK_1 = {"tumor": 1, "lymphocyte": 2, "plasma_cell": 2}
_CLASSES = {
    "tissue": class_table("background", "stroma", "blood_vessel", "tumor", "epidermis", "necrosis"),
    "nuclei": class_table("background", *_NUCLEI),
    "nuclei3": class_table("background", "tumor", "lymphocyte", "other"),
}
_LABELS = {
    "tissue": _TISSUE,
    "nuclei": {f"nuclei_{name}": place + 1 for place, name in enumerate(_NUCLEI)},
    "nuclei3": {f"nuclei_{name}": _TRACK_1.get(name, 3) for name in _NUCLEI},
}


def index_puma(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """PUMA at 0.2265 µm/px (the TIFF tags' own value; 40x); each region is a group. Nuclei carry instance numbers."""
    kind = "tissue" if config.variant == "tissue" else "nuclei"
    annotations = _only(folder, f"*_geojson_{kind}")
    paths = require_images(_only(folder, "*_tif_ROIs"))
    records = tuple(
        Record(path.stem, path.stem, source.name, _image(path), _polygons(source, config.variant))
        for path in paths
        for source in (annotations / f"{path.stem}_{kind}.geojson",)
    )
    return DatasetIndex(0.2265, _CLASSES[config.variant], records)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.is_dir())
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} folders {pattern} in {folder}; PUMA has one")
    return found[0]


def _image(path: Path) -> Callable[[], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return lambda: read_image(path)


def _polygons(path: Path, variant: str) -> Callable[[Shape], Annotation]:
    def read(shape: Shape) -> Annotation:
        if not path.is_file():
            raise FileNotFoundError(f"no annotation {path}")
        labels, instances = np.zeros(shape, np.int64), np.zeros(shape, np.int32)
        for number, feature in enumerate(read_features(path), start=1):
            if feature.name not in _LABELS[variant]:
                raise ValueError(f"{path.name} has class {feature.name!r}; known: {', '.join(_LABELS[variant])}")
            # Later objects lie on earlier ones.
            for rings in feature.polygons:
                paint(labels, rings, _LABELS[variant][feature.name])
                paint(instances, rings, number)
        return Annotation(labels, None if variant == "tissue" else instances)

    return read
