"""Baselines: the same crops as the recipe's head, the same bits again, the same evaluation as L-Diffusion."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from disc_data import CLASSES, RECIPE_TEXT, disc_image, disc_recipe, write_discs
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoint import CheckpointError
from models.training.baselines import BaselineTrainer, baseline_config, crops_seen, main, segmentation_loss
from models.training.crops.batch import Batch
from models.training.crops.data import Sample, load_dataset
from models.training.evaluation.evaluate import LDiffusionSegmenter, segment_sample
from models.training.evaluation.metrics import confusion_matrix
from models.training.losses import cross_entropy, dice_loss
from models.training.recipe import Recipe, StageConfig
from models.training.rgb_networks import NETWORKS, RgbSegmenter, build_network, load_rgb
from models.training.splits import load_split
from models.training.trainer import Trainer

CPU = torch.device("cpu")
Make = Callable[..., BaselineTrainer]


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return write_discs(tmp_path)


@pytest.fixture
def make(data_root: Path, tmp_path: Path) -> Make:
    """Return a function that makes a trainer of the smallest baseline, which has dropout, in a run folder."""

    def build(recipe: Recipe, run: str = "run", **options: Any) -> BaselineTrainer:
        train, validation = load_split(recipe, data_root)
        return BaselineTrainer(recipe, "fpn-convnext", train, validation, tmp_path / run, **options)

    return build


def uneven_recipe() -> Recipe:
    recipe = disc_recipe()
    head = {"stage2": StageConfig(steps=3, batch=2, lr=3e-3), "joint": StageConfig(steps=2, batch=4, lr=1e-3)}
    return replace(recipe, stages=recipe.stages | head, validate_every=100)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "baseline" / "model.safetensors")


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_logits_of_its_images_size_and_downloads_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    network = build_network(name, 3).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 64, 96))
    assert logits.shape == (1, 3, 64, 96)
    assert logits.std() > 0
    momenta = {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta <= {0.02}


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="unknown network 'vgg'; known: unet, unetplusplus"):
        build_network("vgg", 2)


# --- crops ------------------------------------------------------------------------------------------------------------


def test_a_baseline_sees_the_crops_of_stage_2_and_joint_and_no_others(make: Make, data_root: Path) -> None:
    recipe = uneven_recipe()
    ours = Trainer(recipe, *load_split(recipe, data_root), data_root / "ours")
    expected = [
        ours._batch(ours._source(name), name, step)
        for name in ("stage2", "joint")
        for step in range(recipe.stage(name).steps)
    ]
    baseline, seen = make(recipe), []
    batch = baseline.batch

    def watched(crops: Any, step: int) -> Batch:
        found = batch(crops, step)
        seen.extend([found] if step >= 0 else [])
        return found

    baseline.batch = watched  # type: ignore[method-assign]
    baseline.run()
    assert len(seen) == len(expected)
    for one, other in zip(seen, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert sum(len(one.images) for one in seen) == crops_seen(recipe) == 3 * 2 + 2 * 4


def test_unannotated_images_are_left_out_as_in_stage_2(data_root: Path, tmp_path: Path) -> None:
    recipe = disc_recipe(1)
    train, _ = load_split(recipe, data_root)
    blank = [replace(sample, labels=np.full_like(sample.labels, 255)) for sample in train[:3]]
    baseline = BaselineTrainer(recipe, "segformer", blank + train[3:], [], tmp_path / "run")
    assert baseline._crops is not None
    assert [plane.name for plane in baseline._crops.planes] == [train[3].name]
    with pytest.raises(ValueError, match="no image to train on with annotation"):
        BaselineTrainer(recipe, "segformer", blank, [], tmp_path / "none")


def test_settings_are_those_of_stage_2_but_for_what_is_given() -> None:
    recipe = uneven_recipe()
    assert baseline_config(recipe) == replace(recipe.stage("stage2"), steps=5)
    assert baseline_config(recipe, lr=0.5, steps=7) == replace(recipe.stage("stage2"), steps=7, lr=0.5)
    assert crops_seen(recipe, 7) == 3 * 2 + 4 * 4
    alone = replace(recipe, stages={"stage2": recipe.stage("stage2")})
    assert crops_seen(alone, 5) == 5 * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stages": {}}, r"\[stage2\] has no steps"),
        ({"crop_px": 48}, "crop_px is 48; the baselines need a multiple of 32"),
        ({"stages": {"stage2": StageConfig(steps=1, batch=1)}}, r"\[stage2\] batch is 1"),
        (
            {"stages": {"stage2": StageConfig(steps=1, batch=4, accumulate=2), "joint": StageConfig(steps=1, batch=5)}},
            r"\[joint\] batch is 5; in 2 parts",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_an_error(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        baseline_config(replace(disc_recipe(), **changed))


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_seed_gives_the_same_bits_also_when_interrupted(make: Make, tmp_path: Path) -> None:
    recipe = replace(disc_recipe(2), seed=5)
    make(recipe, "first").run()
    torch.manual_seed(77)
    make(recipe, "second").run()
    cut = make(recipe, "cut")
    batch = cut.batch

    def failing(crops: Any, step: int) -> Batch:
        if step == 3:
            raise InterruptedError
        return batch(crops, step)

    cut.batch = failing  # type: ignore[method-assign]
    with pytest.raises(InterruptedError):
        cut.run()
    assert not (tmp_path / "cut" / "baseline").exists()
    torch.manual_seed(78)
    make(recipe, "cut").run()
    make(replace(recipe, seed=6), "other").run()
    first, second, resumed, other = (weights(tmp_path / run) for run in ("first", "second", "cut", "other"))
    assert same(first, second)
    assert same(first, resumed)
    assert not same(first, other)


class Fixed(nn.Module):
    """Logits that the test chose, whatever the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def test_the_loss_weighs_dice_and_cross_entropy_as_stage_2_does() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 2, 8, 8, generator=generator), torch.randint(2, (2, 8, 8), generator=generator)
    labels[0, :4] = 255
    config = StageConfig(dice_weight=0.3, cross_entropy_weight=2.0)
    state = torch.random.get_rng_state()
    found = segmentation_loss(Fixed(logits), Batch(torch.zeros(2, 3, 8, 8), labels, generator), config)
    expected = 0.3 * dice_loss(logits, labels) + 2.0 * cross_entropy(logits, labels)
    assert found["loss"].item() == pytest.approx(expected.item())
    assert torch.equal(state, torch.random.get_rng_state())


# --- evaluation -------------------------------------------------------------------------------------------------------


class Brightness(nn.Module):
    """Class 1 where a pixel is brighter than the mean of the 33 px around it; keeps what it was shown."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        mean = nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), 33, stride=1, padding=16)
        return torch.cat([mean, x.mean(dim=1, keepdim=True)], dim=1)


@pytest.mark.parametrize("size", [(50, 81), (64, 32), (7, 5)])
def test_an_image_is_mirrored_as_for_l_diffusion(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    network, shown = Brightness(), []

    def logits(images: NDArray[np.uint8], *_: Any) -> NDArray[np.uint8]:
        shown.append(images)
        return images

    def planes(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], None]:
        return np.zeros(images.shape[:3], np.uint8), None

    predictor: Any = SimpleNamespace(stride_px=32, halo_px=32, logits=logits, planes=planes)
    LDiffusionSegmenter(predictor)(image)
    labels = RgbSegmenter(network, CLASSES, 0.5, 32, CPU)(image).labels
    theirs = shown[0].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    assert np.array_equal(network.seen.numpy(), theirs)
    output = network(torch.from_numpy(theirs))
    expected = output.argmax(dim=1)[0, 32 : 32 + size[0], 32 : 32 + size[1]]
    assert np.array_equal(labels, expected.numpy())


@pytest.mark.slow
def test_a_saved_baseline_is_loaded_as_it_was_and_not_if_altered(make: Make, tmp_path: Path) -> None:
    trainer = make(disc_recipe(1))
    folder = trainer.run()
    segmenter, spec, digest = load_rgb(folder, CPU)
    assert (spec.network, spec.steps, spec.crops, spec.seed, len(digest)) == ("fpn-convnext", 2, 4, 0, 64)
    assert same(dict(segmenter.network.state_dict()), dict(trainer.network.state_dict()))
    image, _ = disc_image(9)
    again = RgbSegmenter(trainer.network.eval(), CLASSES, 0.5, 16, CPU)
    assert np.array_equal(segmenter(image).labels, again(image).labels)
    suffixes = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl"}
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file"):
        load_rgb(folder, CPU)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_rgb(folder, CPU)


@pytest.mark.slow
def test_the_command_trains_and_reports_by_the_common_protocol(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE_TEXT + '[stage2]\nsteps = 2\nbatch = 2\n[[tests]]\nroot = "discs"\nmpp = 0.5\n')
    line = [str(recipe), "--data", str(data_root), "--run", str(run), "--network", "segformer", "--device", "cpu"]
    assert main([*line, "--seed", "3", "--lr", "0.01"]) == 0
    assert "segformer on 5 images of discs" in capsys.readouterr().out
    segmenter, spec, digest = load_rgb(run / "baseline", CPU)
    assert (spec.seed, spec.lr) == (3, 0.01)
    written = json.loads((run / "evaluation" / "discs" / "evaluation.json").read_text())
    assert (written["model"], written["digest"], written["images"]) == ("segformer", digest, 5)

    def count(sample: Sample) -> NDArray[np.int64]:
        return confusion_matrix(sample.labels, segment_sample(segmenter, sample).labels, 2)

    samples = load_dataset(disc_recipe().datasets[0], data_root, 2)
    assert written["confusion"] == sum(count(sample) for sample in samples).tolist()  # type: ignore[union-attr]
    assert json.loads((run / "evaluation" / "validation" / "evaluation.json").read_text())["images"] == 1
    rows = [json.loads(text) for text in (run / "log.jsonl").read_text().splitlines()]
    assert {row["stage"] for row in rows} == {"baseline"}
    assert "val_dice_disc" in rows[-1]
    assert main([*line[:6], "unet"]) == 2
    assert "the run folder holds another network" in capsys.readouterr().err
