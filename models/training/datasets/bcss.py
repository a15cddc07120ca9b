"""BCSS: regions of breast cancer slides (TCGA) with 21 tissue classes, by its published layout.

    rgbs_colorNormalized/TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500.png     (or rgbs/)
    masks/               the same names, pixel value = code of `gtruth_codes.tsv`

Code 0 is what lies outside the annotated region: not a class, but not annotated (255).
"""

from pathlib import Path

from models.training.datasets.pairs import PairLayout, by_value, list_images, pair_faults, pair_records
from models.training.datasets.records import DatasetIndex, class_table
from models.training.datasets.sample import IGNORE, DatasetConfig

CODES = (
    "outside_roi",
    "tumor",
    "stroma",
    "lymphocytic_infiltrate",
    "necrosis_or_debris",
    "glandular_secretions",
    "blood",
    "exclude",
    "metaplasia_NOS",
    "fat",
    "plasma_cells",
    "other_immune_infiltrate",
    "mucoid_material",
    "normal_acinus_or_duct",
    "lymphatics",
    "undetermined",
    "nerve",
    "skin_adnexa",
    "blood_vessel",
    "angioinvasion",
    "dcis",
    "other",
)
_COARSE = class_table("other", "tumor", "stroma", "inflammatory", "necrosis")
_COARSE_CODES = {1: 1, 19: 1, 20: 1, 2: 2, 3: 3, 10: 3, 11: 3, 4: 4, 7: IGNORE}


def index_bcss(folder: Path, config: DatasetConfig) -> DatasetIndex:
    """BCSS at 0.25 µm/px; the group is the patient (`TCGA-A1-A0SK`).

    Class 0 of a model is its background, so the code "other" (21) becomes 0 and codes 1 to 20 keep their numbers.
    """
    if config.variant == "21class":
        classes = class_table(CODES[21], *CODES[1:21])
        table = {code: code % 21 for code in range(1, 22)}
    else:
        classes = _COARSE
        table = {code: _COARSE_CODES.get(code, 0) for code in range(1, 22)}
    decode = by_value(table | {0: IGNORE})
    images = next((f for name in ("rgbs_colorNormalized", "rgbs") if list_images(f := folder / name)), folder / "rgbs")
    layout = PairLayout(images, folder / "masks", decode=decode, group=lambda stem: "-".join(stem.split("-")[:3]))
    problems, notes = pair_faults(layout)
    return DatasetIndex(0.25, classes, pair_records(layout), problems, notes)
