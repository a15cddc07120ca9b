"""The baselines' networks, each as a `Segmenter`, and on disk as safetensors and JSON.

Code of the networks: segmentation-models-pytorch (MIT) and timm (Apache-2.0), but for our own segmentation network,
which is here without the grey maps. Untrained: nothing is downloaded.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import models.torch_compat  # noqa: F401  (before timm)

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from models.checkpoint import CheckpointError, file_sha256
from models.folder import ModelClass
from models.networks.convnext import Segmenter
from models.networks.layers import MOMENTUM
from models.training.evaluation.segmenter import Answer
from models.training.rgb_paper import DenseASPP, FastFCN, SwinUNet, Written

FORMAT: Final = 1
# The deepest encoders halve five times.
STRIDE_PX: Final = 32
_WEIGHTS: Final = "model.safetensors"
_CONFIG: Final = "config.json"


@dataclass(frozen=True)
class Network:
    """A decoder and an encoder by their names in segmentation-models-pytorch, with the encoder's options."""

    decoder: str
    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, classes: int) -> nn.Module:
        """Return it untrained."""
        network: nn.Module = getattr(smp, self.decoder)(
            encoder_name=self.encoder, encoder_weights=None, in_channels=3, classes=classes, **self.options
        )
        return network


@dataclass(frozen=True)
class Head:
    """Our own segmentation network on the image alone: what it sees elsewhere beside the grey maps."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]

    def build(self, classes: int) -> nn.Module:
        """Return it untrained."""
        return Segmenter(3, classes, self.widths, self.depths)


NETWORKS: Final[Mapping[str, Network | Head | Written]] = {
    "unet": Network("Unet", "resnet18"),
    "unetplusplus": Network("UnetPlusPlus", "resnet18"),
    "deeplabv3plus": Network("DeepLabV3Plus", "resnet18"),
    "deeplabv3": Network("DeepLabV3", "resnet18"),
    "denseaspp": Written(DenseASPP),
    "fastfcn": Written(FastFCN),
    "swin-unet": Written(SwinUNet),
    # timm's layer scale of 1e-6 suits hundreds of epochs; 0.1 as in our own ConvNeXt blocks.
    "fpn-convnext": Network("FPN", "tu-convnext_atto", {"ls_init_value": 0.1}),
    "segformer": Network("Segformer", "mit_b0"),
    # As in the preset `tiny`, and twice as wide.
    "head": Head((16, 48, 96, 160), (0, 0, 0, 2)),
    "wide-head": Head((32, 96, 192, 320), (0, 0, 0, 2)),
}


def build_network(name: str, classes: int) -> nn.Module:
    """Return an untrained network: (N, 3, H, W) in [−1, 1] → logits (N, classes, H, W), sides multiples of 32.

    Raises:
        ValueError: The name is not one of `NETWORKS`.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    network = NETWORKS[name].build(classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = MOMENTUM
    return network


@dataclass(frozen=True)
class RgbSegmenter:
    """A network on RGB in evaluation mode as a `Segmenter`: images continued by their mirror, as for L-Diffusion."""

    network: nn.Module
    classes: Sequence[ModelClass]
    mpp: float
    halo_px: int
    device: torch.device

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8], /) -> Answer:
        """Label one image (H, W, 3)."""
        height, width = image.shape[:2]
        halo = self.halo_px
        rows, cols = ((halo, halo + -(length + 2 * halo) % STRIDE_PX) for length in (height, width))
        padded = np.pad(image, (rows, cols, (0, 0)), mode="reflect")
        x = torch.from_numpy(padded[None]).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        labels = self.network(x.contiguous(memory_format=torch.channels_last)).argmax(dim=1)[0]
        found: NDArray[np.uint8] = labels.to(torch.uint8).cpu().numpy()
        return Answer(found[halo : halo + height, halo : halo + width])


@dataclass(frozen=True)
class RgbSpec:
    """`config.json` of a trained baseline: what it is, and what it was trained with.

    Attributes:
        network: One of `NETWORKS`.
        classes: Background first.
        mpp: µm per px.
        halo_px: Mirrored around each image.
        recipe: Name of the recipe.
        seed: Of weights, crops and dropout.
        lr: Peak of the learning rate.
        steps: Optimiser steps asked for.
        crops: Crops in all of these.
    """

    network: str
    classes: tuple[ModelClass, ...]
    mpp: float
    halo_px: int
    recipe: str
    seed: int
    lr: float
    steps: int
    crops: int


def save_rgb(folder: Path, network: nn.Module, spec: RgbSpec) -> None:
    """Write a baseline; the config last, so that a folder with one is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / _WEIGHTS
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
    settings = {"format": FORMAT, "weights_sha256": file_sha256(weights)} | asdict(spec)
    (folder / _CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def load_rgb(folder: Path, device: torch.device) -> tuple[RgbSegmenter, RgbSpec, str]:
    """Load a baseline in evaluation mode: (segmenter, spec, digest).

    Raises:
        CheckpointError: A file is missing, of another format, or not the one the config was written for.
    """
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder.name} has no {name}")
    text = (folder / _CONFIG).read_bytes()
    raw = json.loads(text)
    if raw.pop("format", None) != FORMAT:
        raise CheckpointError(f"{folder.name}/{_CONFIG} is not of format {FORMAT}")
    if raw.pop("weights_sha256") != file_sha256(folder / _WEIGHTS):
        raise CheckpointError(f"{folder.name}/{_WEIGHTS} is not the file its {_CONFIG} was written for")
    classes = tuple(ModelClass(c["index"], c["name"], (*c["color"],)) for c in raw.pop("classes"))
    spec = RgbSpec(classes=classes, **raw)
    network = build_network(spec.network, len(classes))
    network.load_state_dict(load_file(folder / _WEIGHTS))
    network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return RgbSegmenter(network, classes, spec.mpp, spec.halo_px, device), spec, hashlib.sha256(text).hexdigest()
