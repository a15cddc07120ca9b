"""Weights from outside, read once, before training: a diffusers `AutoencoderKL` folder, a timm encoder's weights.

Nothing else in `models` reads them: a trained model's folder holds all its weights and builds from its config alone.
"""

import json
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import models.torch_compat  # noqa: F401  (before timm)

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.convnext import checkpoint_filter_fn
from torch import Tensor, nn

from models.config import DIFFUSERS, LDiffusionConfig, VaeConfig
from models.ldiffusion import LDiffusion
from models.networks.timm_head import TimmSegmenter
from models.networks.trunk import TrunkSegmenter
from models.pretrained.trunk import LITE0, lite0_file, load_trunk
from models.settings import check

_VAE_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
_TIMM: Final = "timm"
# The attention's names in older files, many of which are still about.
_OLD_NAMES: Final = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_RGB: Final = 3


def resolve(config: LDiffusionConfig) -> LDiffusionConfig:
    """Return the config with `vae_config` read from the folder that `vae` names, and check what is to be read later.

    Raises:
        ValueError: The folder or a file in it is missing or something else, its config is not valid, or the latent has
            other sizes than `latent_channels` and `latent_stride` say.
    """
    weights = config.network.backbone_weights
    if weights and not config.network.backbone:
        raise ValueError(f"backbone_weights is {weights!r}, but no backbone is named")
    known = ("", _TIMM, LITE0)
    if weights not in known and not (weights.endswith(".safetensors") and Path(weights).is_file()):
        raise ValueError(
            f"backbone_weights is {weights!r}; it must be a .safetensors file that is there, {LITE0!r} or {_TIMM!r}"
        )
    if weights == LITE0:
        lite0_file()
    if config.vae == "compact":
        return config
    folder = Path(config.vae.removeprefix(DIFFUSERS))
    vae = _read_vae_config(folder)
    if not (folder / _VAE_WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {_VAE_WEIGHTS}; weights are read from safetensors only")
    warnings.warn(
        f"{config.vae} takes statistics over the whole tile: results will depend on how a slide is cut", stacklevel=2
    )
    return replace(config, vae_config=vae)


def load_pretrained(model: LDiffusion) -> None:
    """Fill in the weights from outside that the model's config names; nothing, where it names none.

    Raises:
        ValueError: A file does not hold what the network needs.
    """
    config = model.config
    if config.vae != "compact":
        path = Path(config.vae.removeprefix(DIFFUSERS)) / _VAE_WEIGHTS
        _load(model.encoder, {_renamed(key): value for key, value in _read(path).items()}, path)
    weights = config.network.backbone_weights
    if weights and isinstance(model.segmenter, TimmSegmenter):
        _load_backbone(model.segmenter, config.network.backbone, weights)
    if weights and isinstance(model.segmenter, TrunkSegmenter):
        load_trunk(model.segmenter.backbone, config.network.backbone, weights)


def _read_vae_config(folder: Path) -> VaeConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"vae: {folder} has no config.json; it must be the folder of a diffusers AutoencoderKL")
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if raw.get("_class_name") != "AutoencoderKL" or raw.get("in_channels", _RGB) != _RGB:
        found = f"{raw.get('_class_name')} with {raw.get('in_channels')} channels"
        raise ValueError(f"{path} is of a {found}; it must be of an AutoencoderKL with 3")
    known = {each.name for each in fields(VaeConfig)}
    return check(VaeConfig, {key: value for key, value in raw.items() if key in known}, str(path))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def _renamed(key: str) -> str:
    parts = key.split(".")
    return ".".join(_OLD_NAMES.get(part, part) if "attentions" in parts else part for part in parts)


def _load(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Take over every parameter of `net`; what else the file holds is left."""
    wanted = dict(net.named_parameters())
    for name, parameter in wanted.items():
        if name not in tensors or tensors[name].numel() != parameter.numel():
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(f"{path}: {name} must be of shape {tuple(parameter.shape)}, found {found}")
    # Attention was once a 1x1 convolution: same numbers, two more axes.
    net.load_state_dict({name: tensors[name].view_as(p) for name, p in wanted.items()}, strict=False)


def _load_backbone(segmenter: TimmSegmenter, name: str, weights: str) -> None:
    source = (
        timm.create_model(name, pretrained=True, features_only=True, in_chans=segmenter.channels)
        if weights == _TIMM
        else _from_file(name, segmenter.channels, Path(weights))
    )
    segmenter.backbone.load_state_dict(source.state_dict())


def _from_file(backbone: str, channels: int, path: Path) -> nn.Module:
    """Let timm spread the RGB filters over `channels` maps, after a check that the file holds this network."""
    whole = timm.create_model(backbone, pretrained=False, num_classes=0)
    tensors = checkpoint_filter_fn(_read(path), whole)
    for name, parameter in whole.named_parameters():
        if not name.startswith("head") and (name not in tensors or tensors[name].shape != parameter.shape):
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(f"{path}: {name} of {backbone} must be of shape {tuple(parameter.shape)}, found {found}")
    return timm.create_model(
        backbone,
        pretrained=True,
        features_only=True,
        in_chans=channels,
        pretrained_cfg_overlay={"file": str(path)},
    )
