"""Training: a few real steps on made images, exact resume, and bad input named before anything is trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from small_network import SMALL

from models.checkpoint import ModelClass
from models.config import LDiffusionConfig, ScheduleConfig
from models.predictor import Predictor
from models.training.__main__ import load_split, main
from models.training.augment import AugmentConfig, Cropper
from models.training.data import DatasetConfig, Sample, load_dataset, resize_labels, to_plane
from models.training.evaluate import evaluate, segment_sample
from models.training.metrics import scores
from models.training.publish import publish
from models.training.recipe import Recipe, StageConfig, load_recipe
from models.training.trainer import Trainer, learning_rate

CLASSES = (ModelClass(0, "background", (255, 255, 255)), ModelClass(1, "disc", (0, 0, 255)))


def disc_image(seed: int, side: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Dark discs on a pink ground."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint8)
    for _ in range(6):
        cy, cx, r = rng.integers(8, side - 8), rng.integers(8, side - 8), rng.integers(5, 11)
        labels[(yy - cy) ** 2 + (xx - cx) ** 2 <= r * r] = 1
    image = np.where(labels[..., None] == 1, (90, 60, 140), (230, 180, 210)) + rng.normal(0, 6, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    for folder in ("images", "masks"):
        (tmp_path / "discs" / folder).mkdir(parents=True)
    for seed in range(5):
        image, labels = disc_image(seed)
        Image.fromarray(image).save(tmp_path / "discs" / "images" / f"{seed}.png")
        Image.fromarray(labels).save(tmp_path / "discs" / "masks" / f"{seed}.png")
    return tmp_path


def recipe(steps: int = 4) -> Recipe:
    stages = {name: StageConfig(steps=steps, batch=2, lr=3e-3) for name in ("stage0", "stage1", "stage2", "joint")}
    return Recipe(
        name="discs",
        title="Discs",
        mpp=0.5,
        license="none",
        intended_use="tests",
        classes=CLASSES,
        datasets=(DatasetConfig("discs", 0.5, validation=("4",)),),
        model=LDiffusionConfig(network=SMALL, schedule=ScheduleConfig(timesteps=(20, 90)), input="sequence+rgb"),
        crop_px=32,
        halo_px=16,
        log_every=1,
        validate_every=2,
        stages=stages,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_interrupted_run_ends_with_the_same_bits(data_root: Path, tmp_path: Path) -> None:
    full = recipe()
    train, validation = load_split(full, data_root)
    Trainer(full, train, validation, tmp_path / "straight").run()

    class Cut(Exception):
        pass

    trainer = Trainer(full, train, validation, tmp_path / "cut")
    step, seen = trainer._step, []

    def failing(name: str, index: int, *rest: object) -> object:
        seen.append((name, index))
        if (name, index) == ("stage1", 3):
            raise Cut
        return step(name, index, *rest)  # type: ignore[arg-type]

    trainer._step = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(Cut):
        trainer.run()
    torch.manual_seed(12345)
    Trainer(full, train, validation, tmp_path / "cut").run()
    expected, resumed = weights(tmp_path / "straight"), weights(tmp_path / "cut")
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_running_a_finished_run_again_keeps_the_model(data_root: Path, tmp_path: Path) -> None:
    train, validation = load_split(recipe(1), data_root)
    Trainer(recipe(1), train, validation, tmp_path / "run").run()
    before = weights(tmp_path / "run")
    Trainer(replace(recipe(1), seed=0), train, validation, tmp_path / "run").run()
    assert all(torch.equal(tensor, weights(tmp_path / "run")[name]) for name, tensor in before.items())


def test_each_stage_trains_its_own_parts(data_root: Path, tmp_path: Path) -> None:
    train, _ = load_split(recipe(), data_root)
    only = replace(recipe(), stages={"stage1": StageConfig(steps=2, batch=2)})
    trainer = Trainer(only, train, [], tmp_path)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    changed = {n.split(".")[0] for n, t in trainer.model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"unet", "decoder"}


def test_training_learns_the_discs(data_root: Path, tmp_path: Path) -> None:
    stages = {
        "stage0": StageConfig(steps=30, batch=4, lr=5e-3, warmup_steps=5),
        "stage1": StageConfig(steps=30, batch=4, lr=3e-3, warmup_steps=5),
        "stage2": StageConfig(steps=120, batch=4, lr=5e-3, warmup_steps=5),
    }
    longer = replace(recipe(), stages=stages, validate_every=1000, ema_decay=0.9)
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


def test_evaluation_comes_back_on_the_annotation_grid(random_model: Path) -> None:
    image, labels = disc_image(0, side=90)
    predictor = Predictor.load(random_model, "cpu")
    assert segment_sample(predictor, Sample("x", image, labels, mpp=0.25)).shape == labels.shape


def test_learning_rate_warms_up_and_falls() -> None:
    config = StageConfig(steps=100, lr=1.0, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.98, abs=0.02)
    assert rates[-1] < 0.03


def test_majority_resize_keeps_legal_labels() -> None:
    labels = np.array([[0, 0, 3, 3], [0, 7, 3, 3], [7, 7, 255, 0], [7, 7, 255, 255]], np.uint8)
    assert resize_labels(labels, 2, 2).tolist() == [[0, 3], [7, 255]]


def test_crops_keep_image_and_labels_together() -> None:
    image, labels = disc_image(3)
    plane = to_plane(Sample("x", image, labels, 0.5), 0.5)
    still = AugmentConfig(stain=0, brightness=0, contrast=0, blur=0, noise=0, glass=0)
    images, crops = Cropper([plane], 48, still).batch(6, torch.Generator().manual_seed(0))
    dark = images.mean(dim=1) < 0
    inside = crops != 255
    assert (dark == (crops == 1))[inside].float().mean().item() > 0.95
    assert images.min().item() >= -1
    assert images.max().item() <= 1


def test_a_stain_shift_changes_colour_not_shape() -> None:
    image, labels = disc_image(3)
    plane = to_plane(Sample("x", image, labels, 0.5), 0.5)
    cropper = Cropper([plane], 48, AugmentConfig(scale=(1, 1), glass=0))
    images, crops = cropper.batch(4, torch.Generator().manual_seed(1))
    for one, classes in zip(images.mean(dim=1), crops, strict=True):
        if (classes == 1).any() and (classes == 0).any():
            assert one[classes == 1].mean() < one[classes == 0].mean()


def test_glass_covers_one_side_and_is_background() -> None:
    image, _ = disc_image(3)
    plane = to_plane(Sample("x", image, np.ones(image.shape[:2], np.uint8), 0.5), 0.5)
    images, crops = Cropper([plane], 48, AugmentConfig(glass=1)).batch(16, torch.Generator().manual_seed(2))
    covered = crops == 0
    assert 0.1 < covered.float().mean().item() < 0.5
    bright = images.min(dim=1).values
    assert bright[covered].min().item() >= 0.5
    assert bright[~covered].mean().item() < 0.5


def test_large_images_are_drawn_as_often_as_their_pixels_ask() -> None:
    planes = [
        to_plane(Sample("x", np.full((side, side, 3), 128, np.uint8), np.full((side, side), c, np.uint8), 0.5), 0.5)
        for c, side in enumerate((64, 128))
    ]
    _, crops = Cropper(planes, 16, AugmentConfig(glass=0)).batch(400, torch.Generator().manual_seed(3))
    assert (crops[:, 8, 8] == 1).float().mean().item() == pytest.approx(0.8, abs=0.06)


def test_bad_datasets_are_named(data_root: Path) -> None:
    config = DatasetConfig("discs", 0.5)
    with pytest.raises(FileNotFoundError, match="no images"):
        load_dataset(DatasetConfig("nothing", 0.5), data_root, 2)
    Image.fromarray(np.full((96, 96), 9, np.uint8)).save(data_root / "discs" / "masks" / "2.png")
    with pytest.raises(ValueError, match=r"2\.png holds labels \[9\]; the model knows 0\.\.1"):
        load_dataset(config, data_root, 2)
    Image.fromarray(np.zeros((95, 96), np.uint8)).save(data_root / "discs" / "masks" / "2.png")
    with pytest.raises(ValueError, match=r"2\.png is \(95, 96\)"):
        load_dataset(config, data_root, 2)
    (data_root / "discs" / "masks" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.png has no mask"):
        load_dataset(config, data_root, 2)


def test_shipped_recipes_load(repo_root: Path) -> None:
    paths = sorted((repo_root / "models" / "training" / "configs").glob("*.toml"))
    assert paths
    for path in paths:
        assert load_recipe(path).stage("stage1").steps > 0


def test_bad_recipe_is_one_sentence(tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'name = "x"\nspeed = 3\n[[datasets]]\nroot = "discs"\nmpp = 0.5\n[[classes]]\nname="a"\n'
        'color=[0,0,0]\n[[classes]]\nname="b"\ncolor=[1,1,1]\n'
    )
    assert main([str(path), "--data", str(data_root), "--run", str(tmp_path / "run")]) == 2
    assert "Recipe has no speed" in capsys.readouterr().err


def test_publishing_writes_measured_figures(data_root: Path, tmp_path: Path) -> None:
    only = replace(recipe(), stages={"stage2": StageConfig(steps=1, batch=2)}, tests=(DatasetConfig("discs", 0.5),))
    train, _ = load_split(only, data_root)
    Trainer(only, train, [], tmp_path / "run").run()
    changed = replace(only, halo_px=48)
    figures = publish(changed, data_root, tmp_path / "run", tmp_path / "out")
    predictor = Predictor.load(tmp_path / "out", "cpu")
    assert predictor.halo_px == 48
    assert predictor.spec.figures == figures
    confusion = evaluate(predictor, load_dataset(only.tests[0], data_root, 2))
    assert figures == {"dice_disc_discs": pytest.approx(scores(confusion).dice[1], abs=1e-4)}
    before = (tmp_path / "out" / "config.json").read_bytes()
    with pytest.raises(FileNotFoundError, match="no images"):
        publish(replace(only, tests=(DatasetConfig("nothing", 0.5),)), data_root, tmp_path / "run", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == before
