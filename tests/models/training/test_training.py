"""Training: a few real steps on made images, exact resume, one stage at a time, errors before anything is trained."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from disc_data import RECIPE_TEXT, disc_image, disc_recipe, write_discs
from safetensors.torch import load_file

from models.config import ScheduleConfig
from models.predictor import Predictor
from models.training.__main__ import main
from models.training.crops.batch import Batch
from models.training.crops.data import DatasetConfig, Sample, load_dataset
from models.training.evaluation.evaluate import LDiffusionSegmenter, evaluate, segment_sample
from models.training.evaluation.metrics import scores
from models.training.evaluation.publish import publish
from models.training.processes import Processes
from models.training.recipe import Recipe, StageConfig
from models.training.splits import load_split
from models.training.state import read_place
from models.training.trainer import Trainer


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return write_discs(tmp_path)


@pytest.fixture
def trainer(data_root: Path, tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of a recipe in a run folder."""

    def make(recipe: Recipe, run: str = "run", processes: Processes | None = None) -> Trainer:
        train, validation = load_split(recipe, data_root)
        return Trainer(recipe, train, validation, tmp_path / run, processes)

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_same_model(left: Path, right: Path) -> None:
    expected, found = weights(left), weights(right)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_interrupted_run_ends_with_the_same_bits(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    stopping: dict[str, Any] = {"patience": 1, "watch": "val_dice_disc", "best": "highest", "accumulate": 2}
    full = disc_recipe()
    full.stages["stage2"] = replace(full.stages["stage2"], **stopping)
    trainer(full, "straight").run()

    cut = trainer(full, "cut")
    batch = cut._batch

    def failing(crops: Any, name: str, step: int) -> Batch:
        if (name, step) == ("stage2", 3):
            raise InterruptedError
        return batch(crops, name, step)

    cut._batch = failing  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        cut.run()
    torch.manual_seed(12345)
    trainer(full, "cut").run()
    assert_same_model(tmp_path / "straight", tmp_path / "cut")
    network = weights(tmp_path / "cut")
    assert network["segmenter.stem.1.num_batches_tracked"].dtype == torch.int64


def test_stages_one_by_one_are_the_whole_run(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    recipe = disc_recipe(2)
    trainer(recipe, "whole").run()
    with pytest.raises(ValueError, match="stage0 comes before stage1: 0 of its 2 steps are done"):
        trainer(recipe, "parts").run("stage1")
    for name in ("stage0", "stage1", "stage2", "joint"):
        trainer(recipe, "parts").run(name)
    assert_same_model(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(ValueError, match="is past stage1, at joint step 2; use another run folder"):
        trainer(recipe, "parts").run("stage1")
    steps = json.loads((tmp_path / "parts" / "model" / "config.json").read_text())["training"]["steps"]
    assert steps == dict.fromkeys(("stage0", "stage1", "stage2", "joint"), 2)


def test_running_a_finished_run_again_keeps_the_model(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer(disc_recipe(1)).run()
    before = weights(tmp_path / "run")
    trainer(disc_recipe(1)).run()
    assert all(torch.equal(tensor, weights(tmp_path / "run")[name]) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("stage", "parts"), [("stage0", {"encoder", "decoder"}), ("stage1", {"unet", "decoder"}), ("stage2", {"segmenter"})]
)
def test_each_stage_trains_its_own_parts(trainer: Callable[..., Trainer], stage: str, parts: set[str]) -> None:
    one = trainer(replace(disc_recipe(), stages={stage: StageConfig(steps=2, batch=2)}))
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    one.run()
    changed = {n.split(".")[0] for n, t in one.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == parts


def test_stages_with_a_head_see_annotated_images_only(data_root: Path, tmp_path: Path) -> None:
    recipe = disc_recipe(1)
    train, _ = load_split(recipe, data_root)
    unlabelled = [replace(sample, labels=np.full_like(sample.labels, 255)) for sample in train[:3]]
    run = Trainer(recipe, unlabelled + train[3:], [], tmp_path / "run")
    names = {}
    for stage in ("stage0", "stage1", "stage2", "joint"):
        source = run._source(stage)
        assert source is not None
        names[stage] = [plane.name for plane in source.planes]
    assert names == {"stage0": list("0123"), "stage1": list("0123"), "stage2": ["3"], "joint": ["3"]}
    run.run()
    with pytest.raises(ValueError, match=r"\[stage2\] has no image to train on with annotation"):
        Trainer(recipe, unlabelled, [], tmp_path / "none")


@pytest.mark.slow
def test_training_learns_the_discs(data_root: Path, tmp_path: Path) -> None:
    stages = {
        "stage0": StageConfig(steps=30, batch=4, lr=5e-3, warmup_steps=5),
        "stage1": StageConfig(steps=30, batch=4, lr=3e-3, warmup_steps=5),
        "stage2": StageConfig(steps=120, batch=4, lr=5e-3, warmup_steps=5),
    }
    longer = replace(disc_recipe(), stages=stages, validate_every=1000, ema_decay=0.9)
    train, validation = load_split(longer, data_root)
    Trainer(longer, train, validation, tmp_path / "run").run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["val_dice_disc"] > 0.8
    predictor = Predictor.load(tmp_path / "run" / "model", "cpu")
    confusion = evaluate(predictor, validation)
    assert confusion.sum() == 96 * 96
    assert 2 * confusion[1, 1] / (confusion[1].sum() + confusion[:, 1].sum()) == pytest.approx(
        rows[-1]["val_dice_disc"]
    )


def with_stage2(**changes: Any) -> Recipe:
    recipe = disc_recipe(1)
    recipe.stages["stage2"] = replace(recipe.stages["stage2"], **changes)
    return recipe


@pytest.mark.parametrize(
    ("recipe", "processes", "message"),
    [
        (replace(disc_recipe(), stages={}), 1, "no stage has steps; give at least one of stage0, "),
        (with_stage2(batch=6, accumulate=2), 2, r"\[stage0\] batch is 2; .* must divide it|\[stage2\] batch is 6; "),
        (
            with_stage2(patience=1, watch="val_dice_disk"),
            1,
            r"watch is 'val_dice_disk'; .*val_dice_disc, val_dice_loss",
        ),
        (
            replace(with_stage2(patience=1), datasets=(DatasetConfig("discs", 0.5),)),
            1,
            r"\[stage2\] patience needs validation images",
        ),
    ],
)
def test_what_cannot_be_done_is_said_before_training(
    trainer: Callable[..., Trainer], tmp_path: Path, recipe: Recipe, processes: int, message: str
) -> None:
    companions = Processes(torch.device("cpu"), SimpleNamespace(process_index=0, num_processes=processes))
    with pytest.raises(ValueError, match=message):
        trainer(recipe, processes=companions)
    assert read_place(tmp_path / "run").state == ""


def test_a_run_of_another_network_is_refused(trainer: Callable[..., Trainer]) -> None:
    recipe = replace(disc_recipe(), stages={"stage0": StageConfig(steps=1, batch=2)})
    trainer(recipe).run()
    other = replace(recipe, model=replace(recipe.model, schedule=ScheduleConfig(timesteps=(20, 60, 90))))
    with pytest.raises(ValueError, match="the run folder holds another network than the recipe's: size mismatch"):
        trainer(other)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("crop_px = 32", "speed = 3"), [], "r.toml: speed is not known; known: "),
        (("steps = 1", 'steps = "1"'), [], "r.toml: stage0.steps is '1'; accepted: a whole number"),
        (("mpp = 0.5", "mpp = "), [], "r.toml is not TOML: Invalid value"),
        (('root = "discs"', 'root = "discus"'), [], "discus"),
        (("", ""), ["--stage", "joint"], "stage0 comes before joint: 0 of its 1 steps"),
        (("", ""), ["--device", "cuda"], "device 'cuda': torch finds no CUDA device"),
        (('name = "disc"', 'name = "disc"\ncolor = [1, 1, 1]\n[[classes]]\nname = "rare"'), [], "rare"),
    ],
)
def test_bad_input_is_one_sentence(
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "r.toml"
    path.write_text(RECIPE_TEXT.replace(*change))
    assert main([str(path), "--data", str(data_root), "--run", str(tmp_path / "run"), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_evaluation_comes_back_on_the_annotation_grid(random_model: Path) -> None:
    image, labels = disc_image(0, side=90)
    segmenter = LDiffusionSegmenter(Predictor.load(random_model, "cpu"))
    assert segment_sample(segmenter, Sample("x", image, labels, mpp=0.25)).labels.shape == labels.shape


def test_publishing_writes_measured_figures(trainer: Callable[..., Trainer], data_root: Path, tmp_path: Path) -> None:
    tests = (DatasetConfig("discs", 0.5),)
    only = replace(disc_recipe(), stages={"stage2": StageConfig(steps=1, batch=2)}, tests=tests)
    trainer(only).run()
    changed = replace(only, halo_px=48)
    figures = publish(changed, data_root, tmp_path / "run", tmp_path / "out")
    predictor = Predictor.load(tmp_path / "out", "cpu")
    assert predictor.halo_px == 48
    assert predictor.spec.figures == figures
    confusion = evaluate(predictor, load_dataset(only.tests[0], data_root, 2))
    assert figures["dice_disc_discs"] == pytest.approx(scores(confusion).dice[1], abs=1e-4)
    before = (tmp_path / "out" / "config.json").read_bytes()
    with pytest.raises(FileNotFoundError, match="nothing"):
        publish(replace(only, tests=(DatasetConfig("nothing", 0.5),)), data_root, tmp_path / "run", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == before
