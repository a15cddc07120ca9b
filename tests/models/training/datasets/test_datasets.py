"""Adapters on the real data: what is listed, what a label means, which images belong together."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.training.crops.data import DatasetConfig, load_parts
from models.training.datasets.aerial import baseline_predictions
from models.training.datasets.records import DatasetIndex, read_sample
from models.training.datasets.registry import ADAPTERS, open_dataset
from models.training.datasets.sample import Sample
from models.training.datasets.selection import choose

# folder, adapter, variant, µm/px, classes, an image, its group, its masks folder, instances
REAL = [
    ("glas/train", "glas", "binary", 0.62, 2, "train_12", "13", "masks", False),
    ("glas/val", "glas", "3class", 0.62, 3, "train_45", "10", "masks_3class", False),
    ("consep/train", "consep", "type", 0.25, 5, "train_10_000", "train_10", "type_masks", True),
    ("tnbc/train", "tnbc", "binary", 0.25, 2, "01_1", "01", "masks", False),
    ("dsb2018_stained/train", "dsb2018", "binary", 0.25, 2, "", "", "inst_masks", True),
    ("aerial_inria/extra", "aerial_inria", "building", 1.0, 2, "tyrol-w2_12", "tyrol-w2", "masks", False),
    (
        "aerial_dubai/train",
        "aerial_dubai",
        "building",
        1.0,
        2,
        "Tile1_image_part_001",
        "Tile1",
        "building_masks",
        False,
    ),
    ("aerial_dubai/test", "aerial_dubai", "6class", 1.0, 6, "Tile5_image_part_001", "Tile5", "masks", False),
    ("aerial_massachusetts", "aerial_massachusetts", "building", 1.0, 2, "3", "3", "masks", False),
]


def opened(folder: Path, adapter: str, variant: str = "") -> DatasetIndex:
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return open_dataset(DatasetConfig(folder.name, adapter=adapter, variant=variant), folder)


def one(index: DatasetIndex, name: str) -> Sample:
    assert index.mpp is not None
    record = next(r for r in index.records if not name or r.name == name)
    return read_sample(record, index.mpp, len(index.classes))


@pytest.mark.parametrize(
    ("where", "adapter", "variant", "mpp", "classes", "name", "group", "masks", "objects"),
    REAL,
    ids=[f"{row[1]}-{row[2]}" for row in REAL],
)
def test_real_datasets_read_as_they_are(
    shared_data: Path,
    where: str,
    adapter: str,
    variant: str,
    mpp: float,
    classes: int,
    name: str,
    group: str,
    masks: str,
    objects: bool,
) -> None:
    index = opened(shared_data / where, adapter, variant)
    assert (index.mpp, len(index.classes), index.problems) == (mpp, classes, ())
    assert len(index.records) == len(list((shared_data / where / "images").iterdir()))
    sample = one(index, name)
    assert sample.group == (group or sample.name)
    mask = np.asarray(Image.open(shared_data / where / masks / f"{sample.name}.png"))
    assert np.array_equal(sample.labels, (mask > 0) if masks == "inst_masks" else mask)
    image = Image.open(next((shared_data / where / "images").glob(f"{sample.name}.*"))).convert("RGB")
    assert np.array_equal(sample.image, np.asarray(image))
    assert (sample.instances is not None) == objects


def test_the_first_variant_is_the_default(shared_data: Path) -> None:
    for where, adapter, variant, _, _, name, *_ in REAL:
        if variant == ADAPTERS[adapter].variants[0]:
            index = opened(shared_data / where, adapter)
            explicit = opened(shared_data / where, adapter, variant)
            assert np.array_equal(one(index, name).labels, one(explicit, name).labels)


def test_binary_consep_is_the_union_of_its_types(shared_data: Path) -> None:
    types = one(opened(shared_data / "consep/test", "consep"), "test_11_001")
    binary = one(opened(shared_data / "consep/test", "consep", "binary"), "test_11_001")
    assert np.array_equal(binary.labels, types.labels > 0)
    assert set(np.unique(types.labels)) - {0, 1}
    assert binary.instances is not None
    assert np.array_equal(binary.instances > 0, binary.labels == 1)


def test_glas_patients_stay_together(shared_data: Path) -> None:
    folder = shared_data / "glas/train"
    index = opened(folder, "glas")
    with (shared_data / "glas" / "index.csv").open(newline="") as file:
        patients = {row["name"]: row["patient_id"] for row in csv.DictReader(file)}
    config = DatasetConfig("glas/train", adapter="glas", validation_groups=("9", "1[06]"))
    choices = choose(index.records, config)
    held_out = {choice.record.name for choice in choices if choice.held_out}
    assert held_out == {r.name for r in index.records if patients[r.name] in ("9", "10", "16")}
    with pytest.raises(ValueError, match="validation cuts the groups"):
        choose(index.records, DatasetConfig("glas/train", adapter="glas", validation=("train_1",)))


def test_a_glas_image_outside_the_index_is_a_problem(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / folder / "train_1.png")
    config = DatasetConfig(tmp_path.name, adapter="glas")
    with pytest.raises(FileNotFoundError, match=r"no index\.csv in"):
        open_dataset(config, tmp_path)
    (tmp_path / "index.csv").write_text("name,patient_id\ntrain_2,7\n")
    (problem,) = open_dataset(config, tmp_path).problems
    assert problem == f"image train_1 is not in {tmp_path / 'index.csv'}"
    with pytest.raises(ValueError, match="image train_1 is not in"):
        load_parts(config, tmp_path.parent, 2)


def test_the_folder_above_the_splits_says_where_they_are(shared_data: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folders with images here: test, train"):
        opened(shared_data / "tnbc", "tnbc")


def test_published_predictions_fit_the_patches(shared_data: Path) -> None:
    folder = shared_data / "aerial_massachusetts"
    index = opened(folder, "aerial_massachusetts")
    predictions = baseline_predictions(folder)
    assert set(predictions) == {"Mnih-CRF", "Saito-MA-CIS", "Zuo-HF-FCN-ACCV16"}
    names = {record.name for record in index.records}
    truth = one(index, "2").labels == 1
    for by_image in predictions.values():
        assert set(by_image) == names
        building = by_image["2"] > 127
        assert building.shape == truth.shape
        # Published methods, so most of what they call a building is one.
        assert (building & truth).sum() / (building | truth).sum() > 0.5
    with pytest.raises(FileNotFoundError, match="no predictions in"):
        baseline_predictions(shared_data / "tnbc")


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"glas"}))
def test_an_empty_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        open_dataset(DatasetConfig(tmp_path.name, adapter=name), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        open_dataset(DatasetConfig("x", adapter=name), tmp_path / "x")
