"""A run's first weights from other models' folders: siblings learn from where each other are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.checkpoint import load_config
from models.folder import WEIGHTS
from models.ldiffusion import LDiffusion

_ZOO: Final = Path(__file__).resolve().parents[1] / "zoo"


def start_from(model: LDiffusion, folders: Sequence[str]) -> None:
    """Take over every tensor of the same name and shape from model folders, the later over the earlier.

    A convolution with more inputs than the one it is taken from has the image last: its other inputs start at 0, so
    the network begins as one that does not see them.

    Args:
        model: What is to be trained.
        folders: Model folders, or names of shipped models.

    Raises:
        CheckpointError: A folder has no valid config.
        ValueError: A model shares no tensor with this one.
    """
    own = model.state_dict()
    for each in folders:
        folder = Path(each) if Path(each).is_dir() else _ZOO / each
        load_config(folder)
        taken = {
            name: _fitted(tensor, own[name]) for name, tensor in load_file(folder / WEIGHTS).items() if name in own
        }
        fitting = {name: tensor for name, tensor in taken.items() if tensor is not None}
        if not any(tensor.ndim > 1 for tensor in fitting.values()):
            raise ValueError(f"start: {folder} shares no weights with this model")
        model.load_state_dict(fitting, strict=False)


def _fitted(tensor: Tensor, own: Tensor) -> Tensor | None:
    """Return a tensor in the shape of another, None where it does not fit."""
    if tensor.shape == own.shape:
        return tensor
    same_but_inputs = tensor.ndim == own.ndim == 4 and tensor.shape[0] == own.shape[0]
    if not same_but_inputs or tensor.shape[2:] != own.shape[2:] or tensor.shape[1] > own.shape[1]:
        return None
    wider = torch.zeros_like(own)
    wider[:, own.shape[1] - tensor.shape[1] :] = tensor
    return wider
