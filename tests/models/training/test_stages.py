"""Losses of the stages: images without annotation, components with laws of their own, options of the contrast."""

from dataclasses import replace

import pytest
import torch
from small_network import SMALL
from torch import Tensor

from models.config import LDiffusionConfig, ScheduleConfig
from models.ldiffusion import Denoised, LDiffusion, NoiseSource
from models.running_statistics import RunningStatistics
from models.training.crops.batch import Batch
from models.training.recipe import StageConfig
from models.training.stages import STAGE_TABLE, contrastive_weight

CONFIG = LDiffusionConfig(num_classes=3, network=SMALL, schedule=ScheduleConfig(timesteps=(20, 90)))
OWN_LAWS = ScheduleConfig(timesteps=(20, 90), component_gammas=(1.0, 0.5, 0.2), component_scales=(1.0, 2.0, 0.5))


def build(**changes: object) -> LDiffusion:
    torch.manual_seed(0)
    return LDiffusion(replace(CONFIG, **changes)).train()  # type: ignore[arg-type]


def batch(labels: Tensor, step: int | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(len(labels), 3, *labels.shape[1:], generator=generator) * 2 - 1
    return Batch(images, labels, generator, step)


def thirds(count: int = 2) -> Tensor:
    """Labels 0, 1, 2 in vertical bands, on the latent grid."""
    return (torch.arange(48) // 16).expand(count, 32, 48).clone()


def blank(count: int = 2) -> Tensor:
    return torch.full((count, 32, 48), 255)


def gradients(model: LDiffusion, stage: str, data: Batch, config: StageConfig) -> dict[str, Tensor]:
    model.zero_grad()
    STAGE_TABLE[stage].loss(model, data, config)["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_unlabelled_crops_train_stage_1_by_noise_and_reconstruction_alone() -> None:
    model = build()
    losses = STAGE_TABLE["stage1"].loss(model, batch(blank()), StageConfig())
    assert losses["contrastive"].item() == 0
    assert losses["contrastive"].requires_grad
    assert losses["loss"].item() == pytest.approx((losses["noise"] + 0.5 * losses["reconstruction"]).item())
    with_contrast = gradients(model, "stage1", batch(blank()), StageConfig(contrastive_weight=5.0))
    without = gradients(model, "stage1", batch(blank()), StageConfig(contrastive_weight=0.0))
    assert {name.split(".")[0] for name in with_contrast} >= {"unet", "decoder"}
    assert all(torch.equal(with_contrast[name], without[name]) for name in without)
    assert any(bool(gradient.any()) for gradient in without.values())


def test_stage_0_does_not_look_at_labels() -> None:
    first, second = (STAGE_TABLE["stage0"].loss(build(), batch(y), StageConfig())["loss"] for y in (blank(), thirds()))
    assert torch.equal(first, second)


@pytest.mark.parametrize("stage", ["stage2", "joint"])
def test_crops_without_annotation_are_left_out_of_the_heads_losses(stage: str) -> None:
    mixed = torch.cat([blank(1), thirds(1), blank(1)])
    model = build()
    losses = STAGE_TABLE[stage].loss(model, batch(mixed), StageConfig())
    seen: list[Tensor] = []
    model.segmenter.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    again = STAGE_TABLE[stage].loss(build(), batch(mixed), StageConfig())
    STAGE_TABLE[stage].loss(model, batch(mixed), StageConfig())
    assert seen[0].shape[0] == 1
    assert losses["dice_loss"].item() == again["dice_loss"].item() > 0
    if stage == "stage2":
        data = batch(mixed)
        alone = STAGE_TABLE[stage].loss(
            build(), replace(data, images=data.images[1:2], labels=thirds(1)), StageConfig()
        )
        assert alone["loss"].item() == losses["loss"].item()


@pytest.mark.parametrize("stage", ["stage2", "joint"])
def test_a_batch_without_annotation_teaches_the_head_nothing(stage: str) -> None:
    model = build()
    found = gradients(model, stage, batch(blank()), StageConfig())
    head = [gradient for name, gradient in found.items() if name.startswith("segmenter")]
    assert head
    assert not any(bool(gradient.any()) for gradient in head)


def record(model: LDiffusion) -> list[tuple[Tensor, Tensor | None]]:
    """Keep (noise, gamma) of every call of `denoise`."""
    seen: list[tuple[Tensor, Tensor | None]] = []
    denoise = model.denoise

    def recording(z0: Tensor, noise: Tensor, t: Tensor, gamma: Tensor | None = None) -> Denoised:
        seen.append((noise, gamma))
        return denoise(z0, noise, t, gamma)

    model.denoise = recording  # type: ignore[method-assign]
    return seen


def test_known_pixels_are_trained_under_their_components_law() -> None:
    model, labels = build(schedule=OWN_LAWS), thirds(8)
    labels[:, :16] = 255
    seen = record(model)
    losses = STAGE_TABLE["stage1"].loss(model, batch(labels), StageConfig())
    assert bool(torch.isfinite(losses["loss"]))
    (noise, gamma), bands = seen[0], [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert gamma is not None
    assert noise.shape[0] == gamma.shape[0] == 2 * 8
    for band, g, b in zip(bands, (1.0, 0.5, 0.2), (1.0, 2.0, 0.5), strict=True):
        assert bool((gamma[:, :, 4:, band] == torch.tensor(g)).all())
        assert noise[:, :, 4:, band].std().item() == pytest.approx(b, rel=0.15)
        assert bool((gamma[:, :, :4] == 1).all())
        assert noise[:, :, :4, band].std().item() == pytest.approx(1, rel=0.15)


def test_held_out_losses_and_the_head_see_the_shared_law() -> None:
    """Inference knows no component; and a noise level that follows the label would tell the head the answer."""
    model = build(schedule=OWN_LAWS)
    seen = record(model)
    STAGE_TABLE["joint"].loss(model, batch(thirds()), StageConfig())
    STAGE_TABLE["stage2"].loss(model, batch(thirds()), StageConfig())
    STAGE_TABLE["stage1"].loss(model.eval(), batch(thirds()), StageConfig())
    assert len(seen) == 4
    assert all(gamma is None for _, gamma in seen)


@pytest.mark.parametrize("stage", ["stage2", "joint"])
def test_the_head_is_trained_on_the_chains_maps_by_the_steps_own_numbers(stage: str) -> None:
    model = build(sequence="chain", chain_mode="sample")
    inputs: list[Tensor] = []
    maps: list[Tensor] = []
    make = model.grey_maps

    def recording(x: Tensor, noise: NoiseSource, uniforms: NoiseSource | None = None) -> Tensor:
        maps.append(make(x, noise, uniforms))
        return maps[-1]

    model.grey_maps = recording  # type: ignore[method-assign]
    model.segmenter.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    for seed in (1, 2):
        torch.manual_seed(seed)
        STAGE_TABLE[stage].loss(model, batch(thirds()), StageConfig())
    assert len(maps) == len(inputs) == 2
    assert torch.equal(inputs[0], maps[0])
    assert torch.equal(inputs[0], inputs[1])


def test_equal_laws_are_the_shared_one_bit_by_bit() -> None:
    ones = replace(OWN_LAWS, component_gammas=(1.0, 1.0, 1.0), component_scales=(1.0, 1.0, 1.0))
    first = gradients(build(), "stage1", batch(thirds()), StageConfig())
    second = gradients(build(schedule=ones), "stage1", batch(thirds()), StageConfig())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_predicted_scale_is_trained_by_the_likelihood() -> None:
    model = build(predict_scale=True)
    seen: list[tuple[Tensor, Denoised]] = []
    denoise = model.denoise

    def recording(z0: Tensor, noise: Tensor, t: Tensor, gamma: Tensor | None = None) -> Denoised:
        seen.append((noise, denoise(z0, noise, t, gamma)))
        return seen[-1][1]

    model.denoise = recording  # type: ignore[method-assign]
    losses = STAGE_TABLE["stage1"].loss(model, batch(blank()), StageConfig(reconstruction_weight=0))
    noise, denoised = seen[0]
    assert denoised.log_scale is not None
    b = denoised.log_scale.exp()
    expected = ((noise - denoised.noise).abs() / b + (2 * b).log()).mean()
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    losses["loss"].backward()
    # The second half of the channels is the scale's.
    grad = model.get_parameter("unet.out.bias").grad
    assert grad is not None
    assert bool(grad[SMALL.latent_channels :].all())
    assert "likelihood" not in STAGE_TABLE["stage1"].loss(build(), batch(blank()), StageConfig())


def test_contrastive_weight_rises_in_a_line_and_is_whole_outside_of_training() -> None:
    config = StageConfig(contrastive_weight=0.8, contrastive_ramp_steps=4)
    assert [contrastive_weight(config, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert contrastive_weight(config, None) == contrastive_weight(StageConfig(contrastive_weight=0.8), 0) == 0.8
    early = STAGE_TABLE["stage1"].loss(build(), batch(thirds(), step=0), config)
    parts = early["noise"] + 0.2 * early["contrastive"] + 0.5 * early["reconstruction"]
    assert early["loss"].item() == pytest.approx(parts.item(), rel=1e-5)
    assert [part.step for part in batch(thirds(), step=7).split(2)] == [7, 7]


def test_pairs_are_logged_when_asked_for() -> None:
    plain = STAGE_TABLE["stage1"].loss(build(), batch(thirds()), StageConfig())
    logged = STAGE_TABLE["stage1"].loss(build(), batch(thirds()), StageConfig(contrastive_pairs=True))
    extra = {f"{what}_{pair}" for what in ("contrastive", "present") for pair in ("0_1", "0_2", "1_2")}
    assert set(logged) - set(plain) == extra
    assert logged["loss"].item() == plain["loss"].item()


def test_running_statistics_are_those_of_all_pixels_seen() -> None:
    """A plain mean at first: after a few equal batches, exactly the pooled mean and variance."""
    batches = torch.randn(5, 2, 3, 8, 8, generator=torch.Generator().manual_seed(4)) * 2 + torch.arange(5.0).view(
        5, 1, 1, 1, 1
    )
    statistics = RunningStatistics(3)
    for grey in batches:
        statistics.update(grey)
    pooled = batches.permute(2, 0, 1, 3, 4).flatten(1)
    torch.testing.assert_close(statistics.mean, pooled.mean(dim=1))
    torch.testing.assert_close(statistics.variance, pooled.var(dim=1, unbiased=False))
    # One more batch, all of one component: it stays where it is, off centre.
    assert statistics(batches[4]).mean().item() > 0.5


def test_running_statistics_are_kept_with_the_model_and_moved_by_training_alone() -> None:
    assert not any(name.startswith("vectors") for name in build().state_dict())
    model = build(vector_statistics="running")
    assert {name for name in model.state_dict() if name.startswith("vectors")} == {
        "vectors.mean",
        "vectors.variance",
        "vectors.count",
    }
    assert model.vectors is not None
    losses = STAGE_TABLE["stage1"].loss(model, batch(thirds()), StageConfig())
    losses["loss"].backward()
    before = model.vectors.mean.clone()
    assert bool(before.any())
    STAGE_TABLE["stage1"].loss(model.eval(), batch(thirds()), StageConfig())
    assert torch.equal(model.vectors.mean, before)
    assert model.vectors.count.item() == 1
