"""Diffusion that trains and leaves nothing behind: noised views, the teacher, and what a model folder holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from disc_data import disc_image, disc_recipe, write_discs
from safetensors.torch import load_file
from small_network import SMALL
from torch import Tensor, nn

from models.config import LDiffusionConfig, NoiseLaw, ScheduleConfig, VectorConfig
from models.ldiffusion import COMPANION, LDiffusion
from models.predictor import Predictor
from models.training.crops.batch import Batch
from models.training.losses import gaussian_likelihood
from models.training.recipe import Recipe, StageConfig
from models.training.splits import load_split
from models.training.stages import STAGE_TABLE
from models.training.state import read_place, read_tensors
from models.training.trainer import Trainer
from models.training.unlabelled import attach, companion_of, noised

CONFIG = LDiffusionConfig(
    num_classes=2, network=SMALL, sequence="none", schedule=ScheduleConfig(timesteps=(20, 90), law="laplace")
)
NOISE = StageConfig(consistency="noise", consistency_threshold=0.0, consistency_ramp_steps=4, t_max=300)


def build(law: NoiseLaw = "laplace") -> LDiffusion:
    torch.manual_seed(0)
    model = LDiffusion(replace(CONFIG, schedule=replace(CONFIG.schedule, law=law)))
    attach(model)
    return model.train()


def batch(step: int | None = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    labels = (torch.arange(32) // 16).expand(2, 32, 32).clone()
    unlabelled = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    return Batch(images, labels, generator, step, None, unlabelled)


def trained(recipe: Recipe, tmp_path: Path) -> Path:
    split = load_split(recipe, write_discs(tmp_path))
    return Trainer(recipe, *split, tmp_path / "run").run()


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


@pytest.mark.parametrize("kind", ["noise", "photometric"])
def test_noised_views_leave_the_running_statistics_alone(kind: str) -> None:
    """With a second view or without one, the statistics after a step are those of the labelled crops."""
    with_view, without = build(), build()
    config = replace(NOISE, consistency=kind)  # type: ignore[arg-type]
    losses = STAGE_TABLE["stage2"].loss(with_view, batch(), config)
    STAGE_TABLE["stage2"].loss(without, batch(), StageConfig())
    assert losses["consistency"].item() > 0
    own, other = statistics(with_view.segmenter), statistics(without.segmenter)
    assert all(torch.equal(own[name], other[name]) for name in other)
    assert all(part.track_running_stats for part in with_view.modules() if isinstance(part, nn.BatchNorm2d))


@pytest.mark.parametrize("restores", ["noise", "image"])
@pytest.mark.parametrize("law", ["laplace", "gaussian"])
def test_restoring_trains_the_network_and_not_its_statistics(restores: str, law: NoiseLaw) -> None:
    model, config = build(law), StageConfig(restores=restores, t_max=300)  # type: ignore[arg-type]
    before = statistics(model)
    stage = STAGE_TABLE["denoise"]
    losses = stage.loss(model, batch(), config)
    losses["loss"].backward()
    assert all(torch.equal(value, before[name]) for name, value in statistics(model).items())
    trained = stage.parameters(model, config)
    reached = {name for name, p in trained.items() if p.grad is not None}
    assert {name.split(".")[0] for name in reached} == {"segmenter", COMPANION}
    assert {name for name in trained if name not in reached} == {"segmenter.classify.weight", "segmenter.classify.bias"}
    assert not any(".teacher." in name for name in trained)


def test_restoring_does_better_with_every_step() -> None:
    model, config = build(), StageConfig(t_max=300)
    trained = STAGE_TABLE["denoise"].parameters(model, config)
    optimiser = torch.optim.Adam(trained.values(), lr=1e-2)
    found = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = STAGE_TABLE["denoise"].loss(model, batch(), config)["loss"]
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < found[0] - 0.1


def test_the_teacher_starts_where_the_network_is_and_follows_it() -> None:
    model = build()
    companion = companion_of(model)
    with torch.no_grad():
        model.head.classify.weight.add_(1.0)
    companion.follow(model, 0, 0.9)
    assert torch.equal(companion.teacher.classify.weight, model.head.classify.weight)
    with torch.no_grad():
        model.head.classify.weight.add_(1.0)
    companion.follow(model, 100, 0.9)
    torch.testing.assert_close(
        model.head.classify.weight - companion.teacher.classify.weight, torch.full((2, 4, 1, 1), 0.9)
    )


def test_the_weight_rises_and_an_unsure_teacher_says_nothing() -> None:
    def added(config: StageConfig, step: int) -> float:
        model, data = build(), batch(step)
        losses = STAGE_TABLE["stage2"].loss(model, data, config)
        plain = STAGE_TABLE["stage2"].loss(build(), batch(step), StageConfig())
        return (losses["loss"] - plain["loss"] - losses["likelihood"] * config.noise_weight).item()

    first, last = added(NOISE, 0), added(NOISE, 3)
    assert 0 < first < last / 2
    assert added(replace(NOISE, consistency_threshold=0.999), 3) == pytest.approx(0, abs=1e-5)


def test_the_labelled_part_of_a_step_is_that_of_a_plain_run() -> None:
    losses = STAGE_TABLE["stage2"].loss(build(), batch(), NOISE)
    plain = STAGE_TABLE["stage2"].loss(build(), batch(), StageConfig())
    assert losses["dice_loss"].item() == plain["dice_loss"].item()


def test_validation_sees_the_plain_loss() -> None:
    model = build().eval()
    assert "consistency" not in STAGE_TABLE["stage2"].loss(model, replace(batch(None), unlabelled=None), NOISE)


def test_noise_is_of_a_random_step_for_each_image() -> None:
    model = build()
    images = torch.zeros(400, 3, 4, 4)
    view, _ = noised(model, images, Batch(images, images[:, 0].long(), torch.Generator().manual_seed(0)), NOISE)
    spread = view.flatten(1).std(dim=1)
    _, widest = model.scheduler.signal_and_noise(torch.tensor([300]))
    assert spread.min() < 0.2 * widest.item()
    assert spread.max() > widest.item()


def test_the_gaussian_likelihood_is_torch_s() -> None:
    noise, predicted, log_scale = torch.randn(3, 2, 3, 4, 4).unbind()
    expected = -torch.distributions.Normal(predicted, log_scale.exp()).log_prob(noise).mean()
    torch.testing.assert_close(gaussian_likelihood(noise, predicted, log_scale), expected)


@pytest.mark.slow
def test_a_folder_holds_nothing_of_what_stood_beside_and_a_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    plain = disc_recipe(0)
    stages = {
        "denoise": StageConfig(steps=2, batch=2, t_max=300),
        "stage2": replace(NOISE, steps=3, batch=2, decay="constant", keep_steps=(1,)),
    }
    datasets = (replace(plain.datasets[0], annotated_images=2),)
    recipe = replace(plain, model=replace(plain.model, sequence="none"), stages=stages, datasets=datasets)
    folder = trained(recipe, tmp_path)
    names = set(load_file(folder / "model.safetensors"))
    assert names == set(LDiffusion(recipe.model).state_dict())
    assert (tmp_path / "run" / "model-1" / "model.safetensors").is_file()
    held = read_tensors(tmp_path / "run", read_place(tmp_path / "run"))
    assert any(f"{COMPANION}.teacher" in name for name in held)
    # The same in two goes, the second from the state on disk.
    split = load_split(recipe, tmp_path)
    first = Trainer(recipe, *split, tmp_path / "again")
    first.run("denoise")
    again = Trainer(recipe, *split, tmp_path / "again").run()
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_trained_vectors_are_not_inert(tmp_path: Path) -> None:
    """After training too, labels change when the vectors are taken away: the way up has learned to read them."""
    plain = disc_recipe(0)
    own = replace(SMALL, vectors=VectorConfig(channels=8, widths=(8, 12), depth=1))
    model = replace(plain.model, network=own, input="sequence", predict_scale=True)
    stages = {"stage2": StageConfig(steps=40, batch=4, lr=1e-2, noise_weight=0.1, contrastive_weight=0.05)}
    recipe = replace(plain, model=model, stages=stages, validate_every=100)
    predictor = Predictor.load(trained(recipe, tmp_path), "cpu")
    image, labels = disc_image(0)
    answer = predictor.predict(image[None], [(0, 0)], 0)[0]
    network = predictor.model
    read = network.segment_vectors
    network.segment_vectors = lambda features, vectors: read(features, torch.zeros_like(vectors))
    without = predictor.predict(image[None], [(0, 0)], 0)[0]
    assert (answer[0] == labels).mean() > 0.8
    # Discs are told by their colour alone, so most of the answer is there without.
    assert (answer != without).mean() > 0.001
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert sum(losses[-5:]) < sum(losses[:5])
