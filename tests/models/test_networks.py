"""Properties that every network has: gradients everywhere, no NaN, translation on the stride grid, a finite reach."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from small_network import SMALL
from torch import Tensor

from models.config import PRESETS, LDiffusionConfig, ScheduleConfig, StepMode, VectorConfig
from models.ldiffusion import LDiffusion
from models.networks.dae import to_grey
from models.noise import NoiseField
from models.receptive_field import theoretical_reach
from models.settings import check
from models.training.recipe import load_recipe


def small(**changes: object) -> LDiffusionConfig:
    config = LDiffusionConfig(num_classes=3, network=SMALL, schedule=ScheduleConfig(timesteps=(20, 90, 200)))
    return replace(config, **changes)  # type: ignore[arg-type]


def build(config: LDiffusionConfig, seed: int = 0) -> LDiffusion:
    torch.manual_seed(seed)
    return LDiffusion(config).eval()


def run(model: LDiffusion, image: Tensor, top: int = 0, left: int = 0) -> Tensor:
    """Logits of an image whose first pixel is (top, left) of the working plane."""
    field = NoiseField("laplace", 1)
    net = model.config.network
    f = net.latent_stride
    shape = (net.latent_channels, image.shape[2] // f, image.shape[3] // f)
    box = (top // f, left // f, shape)
    with torch.inference_mode():
        logits: Tensor = model(image, lambda t: field.draw(*box, t)[None], lambda t: field.uniforms(*box, t)[None])
    return logits


def picture(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(9)) * 2 - 1


VARIANTS = [
    small(),
    small(input="sequence+rgb"),
    small(sequence="chain"),
    small(sequence="chain", chain_mode="sample"),
    small(sequence="chain", chain_mode="mode"),
    small(sequence="chain", chain_mode="ddim"),
]


@pytest.mark.parametrize("config", [*VARIANTS, small(predict_scale=True)])
def test_every_parameter_gets_a_gradient_and_nothing_is_nan(config: LDiffusionConfig) -> None:
    model = build(config).train()
    noise = torch.randn(2, 3, 16, 16)
    logits = model(torch.rand(2, 3, 64, 64), lambda _t: noise, lambda _t: torch.full_like(noise, 0.3))
    assert logits.shape == (2, 3, 64, 64)
    assert bool(torch.isfinite(logits).all())
    logits.square().sum().backward()
    # The variance half of the encoder's output is used by stage 0 alone.
    missing = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing


@pytest.mark.parametrize("config", VARIANTS)
def test_tile_with_the_theoretical_halo_equals_the_whole(config: LDiffusionConfig) -> None:
    model = build(config)
    reach = theoretical_reach(model)
    assert reach > 0
    side = 2 * reach + 96
    whole = run(model, picture(side, side))
    top, left = 32, 64
    size = 2 * reach + 32
    tile = run(model, picture(side, side)[:, :, top : top + size, left : left + size], top, left)
    inner = slice(reach, reach + 32)
    expected = whole[:, :, top + reach : top + reach + 32, left + reach : left + reach + 32]
    torch.testing.assert_close(tile[:, :, inner, inner], expected, atol=1e-4, rtol=0)


def test_the_reach_is_no_gross_over_estimate() -> None:
    """A strong edge is felt over at least half of the reach, and never past it."""
    model = build(small())
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.ones_(parameter)
    reach, stride = theoretical_reach(model), model.config.network.stride_px
    image = picture(2 * reach + 2 * stride, 4 * stride)
    base = run(model, image)
    image[:, :, :stride] *= -1000
    changed = (run(model, image) != base).any(dim=1)[0].any(dim=1).nonzero().flatten()
    assert reach // 2 <= int(changed.max()) < stride + reach


def test_wrong_noise_origin_is_noticed() -> None:
    """The halo test above would pass with no noise at all; this one shows the noise matters."""
    model = build(small())
    image = picture(64, 64)
    assert not torch.allclose(run(model, image), run(model, image, top=16), atol=1e-4)


def test_decoded_images_are_bounded_and_ascend_with_the_timesteps() -> None:
    model = build(small())
    z0 = 30 * torch.randn(1, 3, 8, 8)
    seen: list[int] = []

    def noise(t: int) -> Tensor:
        seen.append(t)
        return torch.randn(1, 3, 8, 8)

    images = model.images(z0, noise)
    assert seen == [20, 90, 200]
    assert len(images) == 3
    assert max(r.abs().max().item() for r in images) <= 1


def test_grey_is_the_luma_of_the_decoded_image() -> None:
    rgb = torch.rand(2, 3, 4, 5)
    expected = 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2]
    torch.testing.assert_close(to_grey(rgb), expected)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_a_json_round_trip(name: str) -> None:
    config = PRESETS[name]
    assert check(LDiffusionConfig, asdict(config), "config") == config
    assert config.network.stride_px % 16 == 0


def test_tiny_keeps_its_total_stride_at_sixteen() -> None:
    assert PRESETS["tiny"].network.stride_px == 16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_classes": 1}, "^num_classes is 1; accepted: at least 2"),
        ({"schedule": ScheduleConfig(timesteps=(9, 3))}, "ascending"),
        ({"schedule": ScheduleConfig(timesteps=(0, 3))}, "must lie in"),
        ({"sequence": "chain", "schedule": ScheduleConfig(law="cauchy")}, "ddim"),
        ({"predict_scale": True, "schedule": ScheduleConfig(law="cauchy")}, "must be false"),
        ({"scale_maps": True}, "predict_scale must be true"),
        ({"network": replace(SMALL, vectors=VectorConfig()), "sequence": "chain"}, "not 'parallel'"),
        ({"network": replace(SMALL, vectors=VectorConfig()), "colour": True}, "there are none"),
        ({"sequence": "paralel"}, "^sequence is 'paralel'; accepted: 'parallel', 'chain' or 'none'"),
        ({"schedule": ScheduleConfig(component_gammas=(1, 0.5))}, "component_gammas has 2 numbers.* each of 3"),
        ({"network": {"unet_depth": 0}}, "instance of NetworkConfig"),
        ({"vae": "sd-vae"}, "must be 'compact' or 'diffusers:<folder>'"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        small(**changes)


RECIPE = """
name = "x"
title = "x"
mpp = 0.5
license = "none"
intended_use = "tests"
halo_px = 64
[[classes]]
name = "a"
color = [0, 0, 0]
[[classes]]
name = "b"
color = [1, 1, 1]
[[datasets]]
root = "x"
mpp = 0.5
[model]
preset = "base"
sequence = "chain"
chain_mode = "ddim"
predict_scale = true
vector_statistics = "running"
[model.schedule]
timesteps = [5, 25, 125]
component_gammas = [1, 0.5]
[stage1]
contrastive_ramp_steps = 30
contrastive_pairs = true
"""


def test_a_recipe_chooses_sequence_and_timesteps_over_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(path)
    config = recipe.model
    assert (config.sequence, config.chain_mode, config.predict_scale) == ("chain", "ddim", True)
    assert config.schedule == replace(PRESETS["base"].schedule, timesteps=(5, 25, 125), component_gammas=(1, 0.5))
    assert config.network == PRESETS["base"].network
    assert (recipe.stage("stage1").contrastive_ramp_steps, recipe.stage("stage1").contrastive_pairs) == (30, True)
    model = LDiffusion(replace(config, network=SMALL))
    assert model.segmenter(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)
    assert model.scheduler.timesteps.tolist() == [125, 25, 5]
    assert check(LDiffusionConfig, asdict(config), "config") == config


def test_sizes_of_a_vae_are_read_and_not_given(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + "[model.vae_config]\nlatent_channels = 4\n")
    with pytest.raises(ValueError, match=r"recipe\.toml: model\.vae_config is read from the folder"):
        load_recipe(path)


@pytest.mark.parametrize(("sequence", "evaluations"), [("parallel", [20, 90, 200]), ("chain", [200])])
def test_parallel_noises_each_step_and_chain_only_the_last(sequence: str, evaluations: list[int]) -> None:
    """Both decode one image a step; the chain's other latents come from walking down."""
    model = build(small(sequence=sequence))
    seen: list[int] = []

    def noise(t: int) -> Tensor:
        seen.append(t)
        return torch.zeros(1, 3, 8, 8)

    assert len(model.images(torch.randn(1, 3, 8, 8), noise)) == 3
    assert seen == evaluations


def test_unknown_config_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"config: network\.colour is not known; known: backbone, "):
        check(LDiffusionConfig, {"network": {"colour": 3}}, "config")


@pytest.mark.parametrize("mode", ["mean", "mode", "ddim"])
def test_chain_with_a_perfect_predictor_recovers_the_latent(mode: StepMode) -> None:
    """Walk down with the noise that was put in: every decoded estimate is the clean latent's."""
    model = build(small(sequence="chain", chain_mode=mode))
    z0 = torch.randn(1, 3, 8, 8)
    first = torch.randn(1, 3, 8, 8)
    scheduler = model.scheduler

    def perfect(z: Tensor, t: Tensor) -> Tensor:
        signal, scale = scheduler.signal_and_noise(t)
        noise: Tensor = (z - signal * z0) / scale
        return noise

    model.unet.forward = perfect  # type: ignore[method-assign]
    with torch.inference_mode():
        images = model.images(z0, lambda _t: first)
        for t, image in zip((20, 90, 200), images, strict=True):
            expected = model.decoder(z0, torch.tensor([t]))
            torch.testing.assert_close(image, expected, atol=1e-3, rtol=1e-3)
