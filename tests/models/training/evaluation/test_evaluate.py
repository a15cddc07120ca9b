"""Evaluation as a whole: any segmenter, the tables, the JSON, and the model card."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from threshold_segmenter import NAMES, Thresholds, sample

from models.predictor import Predictor
from models.training.crops.data import DatasetConfig, Sample, load_dataset
from models.training.evaluation.bootstrap import intervals
from models.training.evaluation.evaluate import LDiffusionSegmenter, evaluate, main, measure, segment_sample
from models.training.evaluation.instances import count_figures, instance_figures
from models.training.evaluation.metrics import figures
from models.training.evaluation.report import markdown, per_image, text, to_dict
from models.training.evaluation.segmenter import Answer
from models.training.evaluation.summary import Measured, Setting, summarise

SETTING = Setting("thresholds", "d" * 64, "made/test", NAMES, resamples=50)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure(Thresholds(), [sample(seed) for seed in range(6)])


# --- segmenters -------------------------------------------------------------------------------------------------------


def test_any_segmenter_is_compared_pixel_by_pixel(measured: Measured) -> None:
    one = sample(3)
    literal = np.zeros((3, 3), np.int64)
    predicted = Thresholds()(one.image).labels
    for r, p in zip(one.labels.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if r != 255:
            literal[r, p] += 1
    np.testing.assert_array_equal(measured.confusion[3], literal)
    assert measured.names == tuple("012345")
    assert measured.groups[3] == "patient 1"


def test_l_diffusion_is_one_of_them(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    found = measure(LDiffusionSegmenter(predictor, seed=3), [sample(0, 24), sample(1)])
    np.testing.assert_array_equal(found.confusion.sum(axis=0), evaluate(predictor, [sample(0, 24), sample(1)], seed=3))
    assert found.confusion.sum() == 24 * 24 + 20 * 20 - 6


@given(side=st.integers(5, 40), mpp=st.floats(0.2, 1.2))
def test_labels_come_back_on_the_annotation_grid(side: int, mpp: float) -> None:
    """Left black, right white: the border stays where it is to one pixel of the coarser grid."""
    image = np.full((side, side + 3, 3), 255, np.uint8)
    image[:, : side // 2] = 0
    labels = segment_sample(Thresholds(mpp=mpp), Sample("x", image, image[..., 0], 0.5)).labels
    assert labels.shape == image.shape[:2]
    reach = 1 + math.ceil(max(1.0, mpp / 0.5))
    assert (labels[:, : max(0, side // 2 - reach)] == 1).all()
    assert (labels[:, side // 2 + reach :] == 0).all()


def test_an_answer_of_another_size_is_refused() -> None:
    class Cropped(Thresholds):
        def __call__(self, image: NDArray[np.uint8], /) -> Answer:
            return Answer(super().__call__(image).labels[1:])

    with pytest.raises(ValueError, match=r"0: the image is \(20, 20\), the segmenter's labels are \(19, 20\)"):
        segment_sample(Cropped(), sample(0))


def test_objects_are_counted_only_where_every_image_has_them(measured: Measured) -> None:
    assert measured.objects is not None
    assert measured.objects.counts.shape == (6, 6)
    assert (measured.objects.references, measured.objects.split_by) == (("instances",) * 6, "distance")
    assert measure(Thresholds(), [sample(0), sample(1, objects=False)]).objects is None
    assert measure(Thresholds(), [sample(0, objects=False)]).objects is None
    assert measure(Thresholds(), []).objects is None


# --- figures and intervals --------------------------------------------------------------------------------------------


def test_figures_and_intervals_are_those_of_the_sum(measured: Measured) -> None:
    evaluation = summarise(SETTING, measured)
    assert measured.objects is not None
    counts = measured.objects.counts
    expected = figures(measured.confusion.sum(axis=0), NAMES) | instance_figures(counts.sum(axis=0))
    expected |= count_figures(counts)
    assert evaluation.figures == pytest.approx(expected, nan_ok=True)
    drawn = intervals(measured.confusion, lambda counts: figures(counts, NAMES), 50, 0)
    assert evaluation.intervals["miou",] == drawn["miou",]
    for path, interval in evaluation.intervals.items():
        assert interval.low <= interval.high or math.isnan(evaluation.figures[path]), path
    assert evaluation.intervals["dice", "nucleus"].low < evaluation.figures["dice", "nucleus"]


def test_order_of_images_does_not_change_the_figures() -> None:
    there, back = (
        summarise(SETTING, measure(Thresholds(), [sample(seed) for seed in order]))
        for order in (range(5), range(4, -1, -1))
    )
    assert there.figures == pytest.approx(back.figures, rel=1e-12, nan_ok=True)


def test_cell_protocol_also_tells_the_harder_figure(measured: Measured) -> None:
    tissue = summarise(SETTING, measured)
    cell = summarise(Setting("thresholds", "", "made", NAMES, "cell", resamples=20), measured)
    assert cell.figures["all_pixels", "dice", "nucleus"] == tissue.figures["dice", "nucleus"]
    assert cell.figures["dice", "nucleus"] > tissue.figures["dice", "nucleus"]
    assert math.isnan(cell.figures["dice", "background"])
    assert "Classes, all pixels" in text(cell)
    assert "Classes, cell" in text(cell)
    assert to_dict(cell)["confusion"] == measured.confusion.sum(axis=0).tolist()


def test_groups_are_resampled_whole(measured: Measured) -> None:
    by_group = Setting("thresholds", "", "made", NAMES, resamples=40, unit="group")
    pairs = measured.confusion.reshape(3, 2, 3, 3).sum(axis=1)
    expected = intervals(pairs, lambda counts: figures(counts, NAMES), 40, 0)["miou",]
    assert summarise(by_group, measured).intervals["miou",] == expected


def test_one_image_has_no_interval_and_none_is_an_error(measured: Measured) -> None:
    alone = summarise(SETTING, measure(Thresholds(), [sample(0)]))
    assert alone.intervals == {}
    assert "No intervals" in text(alone)
    assert summarise(Setting("x", "", "made", NAMES, resamples=0), measured).intervals == {}
    with pytest.raises(ValueError, match="made/test has no image"):
        summarise(SETTING, measure(Thresholds(), []))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"unit": "pixel"}, "unknown unit 'pixel'; known: image, group"), ({"resamples": -1}, "-1 resamples given")],
)
def test_bad_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting("x", "", "made", NAMES, **options)


# --- output -----------------------------------------------------------------------------------------------------------


def test_tables_show_each_figure_with_its_interval(measured: Measured) -> None:
    evaluation = summarise(SETTING, measured)
    for page in (text(evaluation), markdown(evaluation)):
        for path in (("dice", "nucleus"), ("iou", "stroma"), ("mean_dice",), ("fwiou",), ("instances", "aji")):
            interval = evaluation.intervals[path]
            assert f"{evaluation.figures[path]:.4f} ({interval.low:.4f} to {interval.high:.4f})" in page, path
        assert "over images, 50 resamples" in page
    assert f"Model digest: `{'d' * 64}`" in markdown(evaluation)
    row = next(line for line in text(evaluation).splitlines() if line.startswith("nucleus"))
    assert row.split()[-1] == str(measured.confusion.sum(axis=0)[1].sum())


def test_json_holds_everything_that_the_figures_come_from(measured: Measured) -> None:
    whole = to_dict(summarise(SETTING, measured)) | {"per_image": per_image(measured)}
    again = json.loads(json.dumps(whole, allow_nan=False))
    assert again["dice"]["nucleus"] == whole["dice"]["nucleus"]
    assert again["intervals"]["dice"]["nucleus"][0] <= again["dice"]["nucleus"]
    assert again["objects"] == {"reference": {"instances": 6}, "split_by": "distance", "images_counted": 0}
    assert np.sum([one["instances"] for one in again["per_image"]], axis=0)[3:].any()
    assert {one["reference"] for one in again["per_image"]} == {"instances"}
    assert np.sum([one["confusion"] for one in again["per_image"]], axis=0).tolist() == again["confusion"]
    assert [one["group"] for one in again["per_image"]][:3] == ["patient 0", "patient 0", "patient 1"]
    assert (again["protocol"], again["digest"], again["seed"], again["images"]) == ("tissue", "d" * 64, 0, 6)
    absent = Measured(("a",), ("a",), np.zeros((1, 3, 3), np.int64))
    assert to_dict(summarise(SETTING, absent))["dice"]["nucleus"] is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(3):
        for name, pixels in (("images", sample(seed).image), ("masks", sample(seed).labels)):
            path = tmp_path / "set" / "test" / name / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "set" / "test"


def test_command_prints_tables_and_one_line_and_writes_both(
    folder: Path, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--mpp", "0.5", "--bootstrap", "20", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([str(random_model), str(folder), *options]) == 0
    printed = capsys.readouterr().out
    line = json.loads(printed.splitlines()[-1])
    assert set(line) >= {"dice", "iou", "accuracy", "mean_dice", "mpa", "miou", "fwiou", "confusion", "intervals"}
    assert line["dataset"] == "set/test"
    predictor = Predictor.load(random_model, "cpu")
    samples = load_dataset(DatasetConfig("test", 0.5), folder.parent, 3)
    assert line["confusion"] == evaluate(predictor, samples).tolist()
    assert line["digest"] == predictor.digest
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {key: value for key, value in written.items() if key != "per_image"} == line
    assert len(written["per_image"]) == 3
    assert (tmp_path / "out" / "evaluation.md").read_text().startswith("# random-model on set/test")
    assert main([str(random_model), str(folder), *options[:2], "--bootstrap", "0", "--protocol", "cell"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["intervals"] == {}


def test_command_takes_the_test_part_where_there_is_one(
    folder: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dataset.toml").write_text('mpp = 0.5\n[splits]\ntrain = ["0"]\ntest = ["1", "2"]\n')
    counted = []
    for split in ([], ["--split", "train"], ["--split", "all"]):
        assert main([str(random_model), str(folder), "--bootstrap", "0", "--device", "cpu", *split]) == 0
        counted.append(json.loads(capsys.readouterr().out.splitlines()[-1])["images"])
    assert counted == [2, 1, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mpp", "0.5", "--adapter", "glass"], "unknown adapter 'glass'"),
        (["--mpp", "0"], "mpp is 0.0; accepted: above 0"),
        ([], "mpp is not known"),
        (["--mpp", "0.5", "--masks", "nothing"], "nothing"),
        (["--mpp", "0.5", "--bootstrap", "-3"], "-3 resamples given"),
    ],
)
def test_bad_input_of_the_command_is_one_sentence(
    options: list[str], message: str, folder: Path, random_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(random_model), str(folder), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
