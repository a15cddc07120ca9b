"""Weights from outside: a diffusers AutoencoderKL's folder and a timm ConvNeXt, both made here with random weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import models.torch_compat  # noqa: F401  (before diffusers and timm)

import numpy as np
import pytest
import timm
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from small_network import SMALL

from models.checkpoint import load, save
from models.config import LDiffusionConfig, NetworkConfig, ScheduleConfig
from models.folder import ModelClass, ModelSpec
from models.ldiffusion import LDiffusion
from models.networks.timm_head import TimmSegmenter
from models.pretrained.weights import load_pretrained, resolve
from models.receptive_field import theoretical_reach
from models.training.crops.batch import Batch
from models.training.datasets.sample import Sample
from models.training.recipe import Recipe, StageConfig
from models.training.stages import STAGE_TABLE
from models.training.trainer import Trainer

WARNING = "takes statistics over the whole tile"


def config(**changes: object) -> LDiffusionConfig:
    plain = LDiffusionConfig(num_classes=3, network=SMALL, schedule=ScheduleConfig(timesteps=(20, 90)))
    return replace(plain, **changes)  # type: ignore[arg-type]


def spec_of(config: LDiffusionConfig) -> ModelSpec:
    classes = tuple(ModelClass(i, f"class {i}", (i, i, i)) for i in range(3))
    stride = config.network.stride_px
    return ModelSpec("made", "Made", 0.5, classes, 256, 64, stride, "none", "tests", config)


@pytest.fixture
def vae(tmp_path: Path) -> tuple[Path, AutoencoderKL]:
    torch.manual_seed(3)
    net = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=5,
        norm_num_groups=4,
        scaling_factor=0.7,
        shift_factor=0.2,
    ).eval()
    net.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae", net


def with_vae(folder: Path) -> LDiffusionConfig:
    network = replace(SMALL, latent_channels=5, latent_stride=2)
    with pytest.warns(UserWarning, match=WARNING):
        return resolve(config(vae=f"diffusers:{folder}", network=network))


def test_latents_are_those_of_diffusers_own_encode(vae: tuple[Path, AutoencoderKL]) -> None:
    folder, net = vae
    model = LDiffusion(with_vae(folder)).eval()
    load_pretrained(model)
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        expected = (net.encode(x).latent_dist.mean - 0.2) * 0.7
        torch.testing.assert_close(model.encode(x), expected)
        noise = torch.zeros(2, 5, 16, 24)
        assert model(x, lambda _t: noise).shape == (2, 3, 32, 48)


def test_older_names_of_the_attention_are_read(vae: tuple[Path, AutoencoderKL]) -> None:
    folder, _ = vae
    path = folder / "diffusion_pytorch_model.safetensors"
    config = with_vae(folder)
    before, after = LDiffusion(config), LDiffusion(config)
    load_pretrained(before)
    old: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(path).items():
        for new, former in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")  # noqa: PLW2901
        old[name] = tensor[:, :, None, None].contiguous() if ".query.weight" in name else tensor
    assert any(".query." in name for name in old)
    save_file(old, path)
    load_pretrained(after)
    assert all(torch.equal(a, b) for a, b in zip(before.encoder.parameters(), after.encoder.parameters(), strict=True))


def test_a_saved_model_needs_the_folder_no_more_and_says_that_tiling_is_not_exact(
    vae: tuple[Path, AutoencoderKL], tmp_path: Path
) -> None:
    folder, _ = vae
    model = LDiffusion(with_vae(folder)).eval()
    load_pretrained(model)
    save(tmp_path / "made", model, spec_of(model.config))
    for file in folder.iterdir():
        file.unlink()
    again, spec, _ = load(tmp_path / "made")
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(model.encode(x), again.encode(x))
    assert json.loads((tmp_path / "made" / "config.json").read_text())["exact_tiling"] is False
    assert not spec.network.exact_tiling
    with pytest.raises(ValueError, match="its reach has no bound"):
        theoretical_reach(again)
    assert config().exact_tiling


def test_a_wrong_size_of_a_vae_is_named(vae: tuple[Path, AutoencoderKL]) -> None:
    path = vae[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layers_per_block": "two"}))
    with pytest.raises(ValueError, match=r"vae/config\.json: layers_per_block is 'two'; accepted: a whole number$"):
        resolve(config(vae=f"diffusers:{vae[0]}"))


def test_stage_0_leaves_a_pretrained_encoder_alone(vae: tuple[Path, AutoencoderKL]) -> None:
    model = LDiffusion(with_vae(vae[0])).train()
    assert {name.split(".")[0] for name in STAGE_TABLE["stage0"].parameters(model, StageConfig())} == {"decoder"}
    batch = Batch(torch.rand(2, 3, 32, 32), torch.full((2, 32, 32), 255), torch.Generator().manual_seed(0))
    losses = STAGE_TABLE["stage0"].loss(model, batch, StageConfig())
    losses["loss"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.encoder.scale.item() == pytest.approx(0.7)
    assert any(parameter.grad is not None for parameter in model.decoder.parameters())


def test_a_run_starts_from_the_pretrained_encoder(vae: tuple[Path, AutoencoderKL], tmp_path: Path) -> None:
    folder, net = vae
    network = replace(SMALL, latent_channels=5, latent_stride=2)
    recipe = Recipe(
        name="made",
        title="Made",
        mpp=0.5,
        license="none",
        intended_use="tests",
        classes=spec_of(config()).classes,
        datasets=(),
        model=config(vae=f"diffusers:{folder}", network=network),
        crop_px=32,
        stages={"stage0": StageConfig(steps=1, batch=1)},
    )
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    with pytest.warns(UserWarning, match=WARNING):
        trainer = Trainer(recipe, [Sample("x", pixels, np.zeros((48, 48), np.uint8), 0.5)], [], tmp_path / "run")
    trainer.run()
    trained, spec, _ = load(tmp_path / "run" / "model")
    ours, theirs = trained.encoder.state_dict(), net.state_dict()
    assert torch.equal(ours["encoder.conv_out.weight"], theirs["encoder.conv_out.weight"])
    assert spec.network.vae_config == trainer.recipe.model.vae_config is not None


def drop_weights(folder: Path) -> None:
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.bin")


def drop_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def another_class(folder: Path) -> None:
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel", "in_channels": 3}')


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (drop_config, "has no config.json; it must be the folder of a diffusers AutoencoderKL"),
        (another_class, "is of a UNet2DModel with 3 channels"),
        (drop_weights, "has no diffusion_pytorch_model.safetensors; weights are read from safetensors only"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(
    vae: tuple[Path, AutoencoderKL], spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(vae[0])
    with pytest.raises(ValueError, match=sentence):
        resolve(config(vae=f"diffusers:{vae[0]}", network=replace(SMALL, latent_channels=5, latent_stride=2)))


@pytest.mark.filterwarnings(f"ignore:.*{WARNING}")
def test_sizes_that_do_not_fit_are_named(vae: tuple[Path, AutoencoderKL]) -> None:
    folder, _ = vae
    with pytest.raises(ValueError, match=r"are 3 and 4; those of .* are 5 and 2: set these"):
        resolve(config(vae=f"diffusers:{folder}"))
    with pytest.raises(ValueError, match="is not read yet"):
        LDiffusion(config(vae=f"diffusers:{folder}"))
    path = folder / "diffusion_pytorch_model.safetensors"
    model = LDiffusion(with_vae(folder))
    tensors = load_file(path)
    save_file({name: t for name, t in tensors.items() if name != "encoder.conv_out.bias"}, path)
    with pytest.raises(ValueError, match=r"encoder\.conv_out\.bias must be of shape \(10,\), found nothing"):
        load_pretrained(model)
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_pretrained(model)


TIMM = NetworkConfig(**{**SMALL.__dict__, "backbone": "test_convnext3", "backbone_pyramid": 8})


def test_timm_backbone_gives_full_size_logits_and_every_parameter_a_gradient() -> None:
    model = LDiffusion(config(network=TIMM, input="sequence+rgb")).train()
    assert TIMM.stride_px == 32
    noise = torch.randn(2, 3, 16, 16)
    logits = model(torch.rand(2, 3, 64, 64), lambda _t: noise)
    assert logits.shape == (2, 3, 64, 64)
    logits.square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing


def test_tile_with_the_theoretical_halo_equals_the_whole_with_a_timm_backbone() -> None:
    torch.manual_seed(0)
    model = LDiffusion(config(network=TIMM, input="sequence+rgb")).eval()
    reach = theoretical_reach(model)
    x = torch.rand(1, 3, 2 * reach + 128, 64) * 2 - 1
    noise = torch.randn(1, 3, x.shape[2] // 4, 16)
    top, height = 32, 2 * reach + 32
    with torch.inference_mode():
        whole = model(x, lambda _t: noise)
        rows = slice(top // 4, (top + height) // 4)
        tile = model(x[:, :, top : top + height], lambda _t: noise[:, :, rows])
    torch.testing.assert_close(
        tile[:, :, reach : reach + 32], whole[:, :, top + reach : top + reach + 32], atol=1e-4, rtol=0
    )


def test_weights_of_a_backbone_come_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(5)
    donor = timm.create_model("test_convnext3", pretrained=False)
    path = tmp_path / "donor.safetensors"
    save_file(donor.state_dict(), path)
    network = replace(TIMM, backbone_weights=str(path))
    model = LDiffusion(resolve(config(network=network)))
    load_pretrained(model)
    assert isinstance(model.segmenter, TimmSegmenter)
    ours = model.segmenter.backbone.state_dict()
    theirs = donor.state_dict()
    assert torch.equal(ours["stages_2.blocks.0.conv_dw.weight"], theirs["stages.2.blocks.0.conv_dw.weight"])
    # Two grey maps instead of RGB: the first filters, scaled so that their sum stays of the same size.
    torch.testing.assert_close(ours["stem_0.weight"], theirs["stem.0.weight"][:, :2] * 1.5)
    save(tmp_path / "made", model, spec_of(model.config))
    path.unlink()
    again, _, _ = load(tmp_path / "made")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_backbones_and_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for name, sentence in (
        ("convnext_enormous", "must be one of timm's ConvNeXt networks"),
        ("convnextv2_atto", "takes a statistic over space"),
    ):
        with pytest.raises(ValueError, match=sentence):
            LDiffusion(config(network=replace(SMALL, backbone=name)))
    with pytest.raises(ValueError, match=r"must be a \.safetensors file that is there, 'efficientnet-lite0' or 'timm'"):
        resolve(config(network=replace(TIMM, backbone_weights=str(tmp_path / "none.safetensors"))))
    with pytest.raises(ValueError, match="no backbone is named"):
        resolve(config(network=replace(SMALL, backbone_weights="timm")))
    save_file({"stem.0.weight": torch.zeros(8, 3, 4, 4), "norm_pre.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    model = LDiffusion(config(network=replace(TIMM, backbone_weights=str(tmp_path / "x.safetensors"))))
    with pytest.raises(ValueError, match=r"stem\.0\.weight of test_convnext3 must be of shape \(32, 3, 4, 4\), found"):
        load_pretrained(model)
