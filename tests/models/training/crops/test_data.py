"""Datasets as the trainer gets them: which images, which labels, which groups, and the last check before a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_dataset import half, write_image, write_pair

from models.training.crops.check import check_training_data
from models.training.crops.data import IGNORE, DatasetConfig, Sample, load_dataset, load_parts
from models.training.datasets.records import Annotation, LabelClass, Record
from models.training.datasets.selection import annotated_names, choose

CLASSES = (LabelClass("background"), LabelClass("gland"))
NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=40, unique=True)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Four patients with three images each, in a folder `mine`."""
    for patient in "abcd":
        for number in range(3):
            write_pair(tmp_path / "mine", f"{patient}_{number}", half(0, 1))
    (tmp_path / "mine" / "dataset.toml").write_text("mpp = 0.5\ngroup = '^([a-z])_'\n")
    return tmp_path


def record(name: str, group: str = "", split: str = "train") -> Record:
    return Record(name, group or name, name, lambda: np.zeros((2, 2, 3), np.uint8), no_labels, split)


def no_labels(shape: tuple[int, int]) -> Annotation:
    return Annotation(np.zeros(shape, np.int64))


@given(names=NAMES, seed=st.integers(0, 5), fractions=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_annotated_fractions_are_nested_and_of_their_size(
    names: list[str], seed: int, fractions: tuple[float, float]
) -> None:
    small, large = sorted(fractions)
    few, many = annotated_names(names, small, seed), annotated_names(names, large, seed)
    assert few <= many <= set(names)
    assert abs(len(few) - small * len(names)) <= 1
    assert few == annotated_names(names[::-1], small, seed)
    assert annotated_names(names, 1, seed) == set(names)


def test_the_annotated_part_depends_on_the_seed() -> None:
    names = [f"image_{number}" for number in range(40)]
    assert len({frozenset(annotated_names(names, 0.25, seed)) for seed in range(8)}) == 8


@given(
    members=st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30),
    held=st.sets(st.sampled_from("abcdef"), min_size=1),
)
def test_groups_never_straddle_a_split(members: list[str], held: set[str]) -> None:
    records = [record(f"{place}", group) for place, group in enumerate(members)]
    config = DatasetConfig("x", validation_groups=tuple(sorted(held & set(members))), annotated=0.5)
    choices = choose(records, config)
    held_out = {choice.record.group for choice in choices if choice.held_out}
    kept = {choice.record.group for choice in choices if not choice.held_out}
    assert held_out == held & set(members)
    assert not held_out & kept
    assert all(choice.annotated for choice in choices if choice.held_out)


def test_a_name_pattern_that_cuts_a_group_is_refused(data_root: Path) -> None:
    config = DatasetConfig("mine", validation=("b_0", "b_1"))
    with pytest.raises(ValueError, match="validation cuts the groups b, which have training images too"):
        load_parts(config, data_root, 2)
    train, validation = load_parts(replace(config, validation=("b_*",)), data_root, 2)
    assert [sample.name for sample in validation] == ["b_0", "b_1", "b_2"]
    assert len(train) == 9


@pytest.mark.parametrize("key", ["validation", "validation_groups"])
def test_a_pattern_that_names_nothing_is_refused(data_root: Path, key: str) -> None:
    patterns: dict[str, tuple[str, ...]] = {key: ("z*",)}
    with pytest.raises(ValueError, match=rf"mine: {key} 'z\*' names nothing; there are a"):
        load_parts(DatasetConfig("mine", **patterns), data_root, 2)  # type: ignore[arg-type]


def test_images_that_are_not_annotated_keep_only_their_pixels(data_root: Path) -> None:
    config = DatasetConfig("mine", validation_groups=("d",), annotated=1 / 3)
    train, validation = load_parts(config, data_root, 2)
    blank = [sample for sample in train if (sample.labels == IGNORE).all()]
    assert (len(train), len(blank)) == (9, 6)
    everything = {sample.name: sample for sample in load_dataset(DatasetConfig("mine"), data_root, 2)}
    for sample in [*train, *validation]:
        assert np.array_equal(sample.image, everything[sample.name].image)
        assert sample.group == sample.name[0]
        if not any(sample is one for one in blank):
            assert np.array_equal(sample.labels, half(0, 1))


def test_load_dataset_holds_both_parts_in_order(data_root: Path) -> None:
    samples = load_dataset(DatasetConfig("mine", validation_groups=("a",)), data_root, 2)
    assert [sample.name for sample in samples] == [f"{p}_{n}" for p in "abcd" for n in range(3)]
    assert {sample.mpp for sample in samples} == {0.5}
    assert load_dataset(DatasetConfig("mine", mpp=0.75), data_root, 2)[0].mpp == 0.75


def test_a_folder_without_masks_is_unlabelled(data_root: Path) -> None:
    samples = load_dataset(DatasetConfig("mine", masks=""), data_root, 2)
    assert len(samples) == 12
    assert all((sample.labels == IGNORE).all() for sample in samples)


def test_faults_of_a_dataset_are_one_error(data_root: Path) -> None:
    with pytest.raises(ValueError, match="unknown adapter 'coco'; known: folder, glas"):
        load_dataset(DatasetConfig("mine", adapter="coco"), data_root, 2)
    with pytest.raises(ValueError, match="glas has no variant 'grade'; known: binary, 3class"):
        load_dataset(DatasetConfig("mine", adapter="glas", variant="grade"), data_root, 2)
    with pytest.raises(ValueError, match="masks and binary belong to the adapter folder; tnbc takes a variant"):
        load_dataset(DatasetConfig("mine", adapter="tnbc", binary=True), data_root, 2)
    with pytest.raises(ValueError, match="unknown split 'dev'; known: train, validation, test, all"):
        load_dataset(DatasetConfig("mine", split="dev"), data_root, 2)
    with pytest.raises(ValueError, match="no image in the split test"):
        load_dataset(DatasetConfig("mine", split="test"), data_root, 2)
    with pytest.raises(ValueError, match="annotated is 0; accepted: above 0"):
        DatasetConfig("mine", annotated=0)
    with pytest.raises(ValueError, match="mpp is -1; accepted: above 0"):
        DatasetConfig("mine", mpp=-1)
    (data_root / "mine" / "dataset.toml").unlink()
    with pytest.raises(ValueError, match="mine: mpp is not known; give it with the dataset"):
        load_dataset(DatasetConfig("mine"), data_root, 2)


def test_a_dataset_of_more_classes_than_the_model_is_refused(data_root: Path) -> None:
    (data_root / "mine" / "dataset.toml").write_text(
        'mpp = 1\n[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n[[classes]]\nname = "c"\n'
    )
    with pytest.raises(ValueError, match=r"mine has 3 classes \(a, b, c\), the model 2"):
        load_dataset(DatasetConfig("mine"), data_root, 2)
    assert len(load_dataset(DatasetConfig("mine"), data_root, 4)) == 12


def test_stems_with_pattern_letters_find_their_masks(tmp_path: Path) -> None:
    write_pair(tmp_path / "odd", "a[1]*", half(0, 1))
    write_pair(tmp_path / "odd", "a.b", half(1, 0))
    samples = load_dataset(DatasetConfig("odd", mpp=1), tmp_path, 2)
    assert [sample.name for sample in samples] == ["a.b", "a[1]*"]
    assert samples[1].labels[0, 0] == 0


def test_deep_images_and_coloured_masks_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "odd", "a", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png is \(8, 8, 3\), its image \(8, 8\): masks are one number a pixel"):
        load_dataset(DatasetConfig("odd", mpp=1), tmp_path, 2)
    write_image(tmp_path / "odd" / "images" / "a.png", np.zeros((8, 8), np.uint16))
    with pytest.raises(ValueError, match=r"a\.png cannot be read: its pixels are of kind I;16; 8 bits"):
        load_dataset(DatasetConfig("odd", mpp=1), tmp_path, 2)


# --- check_training_data ----------------------------------------------------------------------------------------------


def sample(name: str, labels: np.ndarray, shape: tuple[int, int] = (8, 8)) -> Sample:
    return Sample(name, np.zeros((*shape, 3), np.uint8), labels, 0.5)


def test_good_training_data_pass() -> None:
    unlabelled = sample("b", np.full((8, 8), IGNORE, np.uint8))
    check_training_data([sample("a", half(0, 1)), unlabelled], CLASSES)
    check_training_data([sample("a", half(0, 0)), sample("b", half(1, 255))], CLASSES)


def test_each_fault_of_the_training_data_is_named() -> None:
    good = sample("good", half(0, 1))
    with pytest.raises(ValueError, match=r"small has a mask of \(4, 16\) and an image of \(8, 8\)$"):
        check_training_data([good, sample("small", half(0, 1).reshape(4, 16))], CLASSES)
    with pytest.raises(ValueError, match=r"odd holds labels \[7\]; the model knows 0\.\.1 and 255"):
        check_training_data([good, sample("odd", half(0, 7))], CLASSES)
    with pytest.raises(ValueError, match=r"class 1 \(gland\) has no pixel in the training part$"):
        check_training_data([sample("a", half(0, 0))], CLASSES)
    with pytest.raises(ValueError, match="none of the 1 images is annotated"):
        check_training_data([sample("a", half(255, 255))], CLASSES)
    with pytest.raises(ValueError, match="none of the 0 images is annotated"):
        check_training_data([], CLASSES)


def test_many_faults_stay_one_readable_error() -> None:
    samples = [sample(f"s{number}", half(0, 9)) for number in range(20)] + [sample("small", half(0, 1, 4))]
    with pytest.raises(ValueError, match="small has a mask") as caught:
        check_training_data(samples, CLASSES)
    text = str(caught.value)
    assert text.count("holds labels") == 3
    assert "and 17 more like these" in text
