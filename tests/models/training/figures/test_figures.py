"""Figures: the numbers behind them against literal computations, and drawings of made data and a random model."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disc_data import disc_image
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score
from torch import Tensor

from models.predictor import Predictor
from models.training.crops.data import Sample
from models.training.evaluation.metrics import figures
from models.training.figures import curves, panels, radar, tsne, vectors
from models.training.figures.__main__ import main
from models.training.figures.style import ink, read_numbers

CLASSES = ["background", "gland", "lumen"]


def made_vectors(per_class: int = 40, apart: float = 3.0) -> vectors.PixelVectors:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], per_class)
    centres = apart * np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    values = centres[labels] + rng.normal(0, 0.2, (len(labels), 4))
    colors = ((255, 255, 255), (0, 100, 200), (200, 0, 0))
    rows = tuple(map(tuple, values.tolist()))
    return vectors.PixelVectors("made", (1, 2, 3, 4), tuple(CLASSES), colors, tuple(labels.tolist()), rows)


def write_evaluation(path: Path, model: str, confusion: NDArray[np.int64], names: list[str]) -> None:
    tree: dict[str, Any] = {"model": model, "classes": names, "confusion": confusion.tolist(), "intervals": {}}
    for (key, *rest), value in figures(confusion, names).items():
        if rest:
            tree.setdefault(key, {})[rest[0]] = None if math.isnan(value) else value
    tree["intervals"] = {"dice": {names[1]: [0.1, 0.9]}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def log_row(stage: str, step: int, **values: float) -> str:
    return json.dumps({"stage": stage, "step": step, **values}) + "\n"


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Return a data root with `discs`: three images of odd sizes with labels 0, 1 and 255."""
    for number in range(3):
        image, labels = disc_image(number, 70 + number)
        labels[:5] = 255
        for folder, pixels in (("images", image), ("masks", labels)):
            (tmp_path / "discs" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "discs" / folder / f"{number}.png")
    return tmp_path


# --- curves -----------------------------------------------------------------------------------------------------------


def test_stages_of_a_log_follow_each_other(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = [log_row("stage0", 2, noise=0.5), log_row("stage0", 4, noise=0.25), log_row("stage0", 4, val_noise=0.3)]
    log.write_text("".join([*rows, log_row("stage2", 3, dice_loss=0.7), log_row("stage2", 6, val_dice_disc=0.8)]))
    found = curves.read_log(log)
    assert [(span.name, span.start, span.steps) for span in found.stages] == [("stage0", 0, 4), ("stage2", 4, 6)]
    assert curves.Line("noise", "stage0", (2, 4), (0.5, 0.25)) in found.lines
    assert len(found.lines) == 4
    drawn = curves.draw(found)
    titled = {axis.get_ylabel(): axis for axis in drawn.axes}
    assert set(titled) == {"noise, mean square", "Dice loss", "Dice, held-out images"}
    (line,) = [line for line in titled["Dice loss"].lines if line.get_label() == "training batch"]
    assert np.asarray(line.get_xdata()).tolist() == [7]  # step 3 after the four of stage 0
    (line,) = [line for line in titled["Dice, held-out images"].lines if line.get_label() == "disc"]
    assert np.asarray(line.get_ydata()).tolist() == [0.8]


@pytest.mark.parametrize(("text", "message"), [("", "has no row"), ("{", "line 1 is not JSON"), ("[]", "not a row")])
def test_a_log_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        curves.read_log(tmp_path / "log.jsonl")


# --- radar ------------------------------------------------------------------------------------------------------------


def test_radar_has_the_figures_of_each_class_and_its_share(tmp_path: Path) -> None:
    confusion = np.array([[50, 5, 5], [10, 20, 0], [0, 0, 0]])
    write_evaluation(tmp_path / "a.json", "ours", confusion, CLASSES)
    found = radar.read_evaluations([("", tmp_path / "a.json")], "dice")
    expected = [2 * 50 / (60 + 60), 2 * 20 / (30 + 25)]  # 2TP over both row and column
    assert found.traces[0].values[:2] == pytest.approx(expected)
    assert found.traces[0].values[2] is None  # no pixel of the class in the reference
    assert found.traces[0].low == (None, 0.1, None)
    assert found.axes == ("background\n66.7% of pixels", "gland\n33.3% of pixels", "lumen\n0.0% of pixels")


def test_two_classes_are_told_by_four_figures_each(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a.json", "ours", np.array([[6, 2], [1, 3]]), CLASSES[:2])
    found = radar.read_evaluations([("", tmp_path / "a.json"), ("theirs", tmp_path / "a.json")], "dice")
    assert [trace.name for trace in found.traces] == ["ours", "theirs"]
    assert len(found.axes) == 8
    assert found.traces[0].values[5] == pytest.approx(3 / 6)
    assert found.axes[5] == "gland\nIoU"


def test_evaluations_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a.json", "ours", np.eye(3, dtype=np.int64), CLASSES)
    write_evaluation(tmp_path / "b.json", "theirs", np.eye(2, dtype=np.int64), CLASSES[:2])
    (tmp_path / "c.json").write_text("{}")
    a, b, c = (("", tmp_path / f"{name}.json") for name in "abc")
    for given, message in (((a, b), "of the classes"), ((a, a), "names of their own"), ((a, c), "lacks model")):
        with pytest.raises(ValueError, match=message):
            radar.read_evaluations(given, "dice")
    with pytest.raises(ValueError, match="unknown figure 'f2'"):
        radar.read_evaluations([a], "f2")


# --- pixel latent vectors ---------------------------------------------------------------------------------------------


def test_grey_maps_are_what_the_segmentation_network_reads(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(random_model, "cpu")
    image = disc_image(0, 64)[0]
    seen: list[Tensor] = []
    segment = predictor.model.segment

    def watched(x: Tensor, grey: Tensor) -> Tensor:
        seen.append(grey)
        logits: Tensor = segment(x, grey)
        return logits

    monkeypatch.setattr(predictor.model, "segment", watched)
    stride = predictor.stride_px
    logits = predictor.logits(image[None], [(stride, 0)], seed=3)
    grey = predictor.grey_maps(image[None], [(stride, 0)], seed=3)
    assert logits.shape == (1, 3, 64, 64)
    assert grey.shape == (1, 2, 64, 64)
    assert bool((grey == seen[0]).all())


def test_grey_maps_of_an_odd_image_lie_at_its_own_pixels(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    image = disc_image(0, 50)[0]
    halo = predictor.halo_px
    mirrored = np.pad(image, ((halo, halo + 14), (halo, halo + 14), (0, 0)), mode="reflect")
    whole = predictor.grey_maps(mirrored[None], [(-halo, -halo)], seed=3)[0].numpy()
    assert np.array_equal(vectors.grey_maps(predictor, image, 3), whole[:, halo : halo + 50, halo : halo + 50])


def test_drawn_pixels_are_of_their_class_and_never_twice() -> None:
    labels = np.full((9, 11), 255, np.uint8)
    labels[0, :5], labels[4] = 2, 0
    drawn = vectors.draw_pixels(labels, 3, 7, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == len(drawn) == 7 + 0 + 5
    assert labels.ravel()[drawn].tolist() == [0] * 7 + [2] * 5


def test_vectors_are_counted_and_belong_to_their_pixels(random_model: Path) -> None:
    predictor = Predictor.load(random_model, "cpu")
    samples = [Sample(str(number), *disc_image(number, 50 + number), 0.5) for number in range(2)]
    found = vectors.collect(predictor, samples, per_class=20, seed=1)
    assert np.bincount(found.labels, minlength=3).tolist() == [20, 20, 0]
    assert found.timesteps == (20, 90)
    maps = [vectors.grey_maps(predictor, sample.image, 1) for sample in samples]
    assert [one.shape for one in maps] == [(2, 50, 50), (2, 51, 51)]
    for place, (label, value) in enumerate(zip(found.labels, found.values, strict=True)):
        image = place // 20  # the first twenty are of the first image: ten of each class
        distance = np.abs(maps[image][:, samples[image].labels == label].T - np.array(value)).max(axis=1)
        assert distance.min() < 1e-5
    assert vectors.collect(predictor, samples, 20, 1) == found


def test_thinned_vectors_are_some_of_them_the_same_for_each_model() -> None:
    many = made_vectors()
    few = vectors.thin(many, 5, seed=4)
    assert np.bincount(few.labels).tolist() == [5, 5, 5]
    whole = set(zip(many.labels, many.values, strict=True))
    assert set(zip(few.labels, few.values, strict=True)) < whole
    assert vectors.thin(many, 5, seed=4) == few


# --- t-SNE ------------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_tsne_is_a_function_of_vectors_and_seed() -> None:
    first, again = (tsne.embed([("a", made_vectors())], seed=1) for _ in range(2))
    assert first == again
    assert len(first.panels[0].points) == 120


@pytest.mark.process
def test_silhouette_tells_classes_that_are_apart_from_those_that_are_not() -> None:
    found = tsne.embed([("apart", made_vectors()), ("mixed", made_vectors(apart=0.0))], seed=0)
    apart, mixed = (panel.silhouette for panel in found.panels)
    assert apart is not None
    assert mixed is not None
    assert apart > 0.8
    assert abs(mixed) < 0.1
    assert np.allclose(tsne.standardised(np.array(made_vectors().values)).std(axis=0), 1)


def test_tsne_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="3 annotated pixels were drawn"):
        tsne.embed([("a", vectors.thin(made_vectors(), 1, 0))], 0)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.slow
def test_command_draws_everything_and_again_from_the_numbers(discs: Path, random_model: Path, tmp_path: Path) -> None:
    run, out, other = tmp_path / "run", tmp_path / "out", tmp_path / "other"
    run.mkdir()
    (run / "log.jsonl").write_text(log_row("stage0", 2, noise=0.5) + log_row("stage0", 2, val_dice_disc=0.5))
    write_evaluation(tmp_path / "a.json", "ours", np.array([[6, 2, 0], [1, 3, 0], [0, 1, 5]]), CLASSES)
    other.mkdir()
    for name in ("0", "2"):
        Image.fromarray(np.asarray(Image.open(discs / "discs" / "masks" / f"{name}.png")) % 255).save(
            other / f"{name}.png"
        )
    given = [str(run), f"early={random_model}", f"late={random_model}", "--out", str(out)]
    data = ["--data", str(discs), "--dataset", "discs", "--mpp", "0.5", "--limit", "2", "--device", "cpu"]
    few = ["--pixels", "40", "--tsne-pixels", "20", "--other", f"copy={other}"]
    assert main([*given, *data, *few, "--evaluation", str(tmp_path / "a.json")]) == 0
    names = ["curves", "greys", "panels", "radar", "tsne", "violin"]
    assert sorted(path.stem for path in out.glob("*.png")) == names
    for name in names:
        with Image.open(out / f"{name}.png") as image:
            assert round(image.info["dpi"][0]) == 300
    drawn = read_numbers(panels.Panels, out / "panels.json")
    assert [row.name for row in drawn.rows] == ["0", "2"]  # evenly over the names
    for row in drawn.rows:
        truth, ours = (
            np.asarray(Image.open(out / "panels" / f"{row.name}_{k}.png")) for k in ("annotation", "network1")
        )
        known = truth != 255
        assert row.dice[0] == pytest.approx(f1_score(truth[known] == 1, ours[known] == 1))
        assert row.dice[1] == 1.0
    tsne_drawn = read_numbers(tsne.Embeddings, out / "tsne.json")
    assert [panel.name for panel in tsne_drawn.panels] == ["early", "late"]
    assert tsne_drawn.panels[0].points == tsne_drawn.panels[1].points
    assert np.bincount(tsne_drawn.panels[0].labels).tolist() == [20, 20]
    before = {name: (out / f"{name}.png").read_bytes() for name in names}
    assert main(["--again", str(out), "--out", str(tmp_path / "redrawn")]) == 0
    assert {name: (tmp_path / "redrawn" / f"{name}.png").read_bytes() for name in names} == before


def test_bad_input_is_one_sentence(
    discs: Path, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    images = [str(random_model), "--data", str(discs), "--dataset", "discs", "--mpp", "0.5", "--device", "cpu"]
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "tsne.json").write_text("{}")
    for given, message in (
        ([], "nothing to draw"),
        ([str(discs)], "neither a model folder"),
        ([*images, "--images", "x*"], "no image of discs is named x*"),
        ([*images, "--limit", "1", "--other", str(tmp_path)], "No such file"),
        (["--again", str(discs)], "holds none of curves.json"),
        (["--again", str(tmp_path / "numbers")], "tsne.json does not hold the numbers of this figure: classes"),
    ):
        assert main([*given, *out]) == 2
        assert message in capsys.readouterr().err


def test_pale_classes_are_seen_on_paper() -> None:
    assert ink((255, 255, 255)) == "#8c8c8c"
    assert ink((40, 90, 220)) == "#285adc"
