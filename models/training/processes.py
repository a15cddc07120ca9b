"""The processes that train one model together, one per GPU, started by `accelerate launch -m models.training …`.

Each holds the same weights, takes its own part of every batch, and averages its gradients with the others. The first
one alone logs, validates and saves.
"""

from collections.abc import Iterable
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from models.engine.device import pick_device

# The others wait while the first one validates.
_PATIENCE = timedelta(hours=6)


class Processes:
    """This process and its companions; alone, all of it does nothing.

    Args:
        device: Where this process computes.
        state: accelerate's `PartialState` where there are several.
    """

    def __init__(self, device: torch.device, state: Any = None) -> None:
        self.device = device
        self._state = state
        self.rank: int = state.process_index if state else 0
        self.count: int = state.num_processes if state else 1

    @property
    def first(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one type, in place, by their mean over all processes."""
        if self.count == 1:
            return
        # As one vector: one exchange instead of hundreds.
        parts = list(tensors)
        mean = import_module("accelerate.utils").reduce(torch.cat([part.reshape(-1) for part in parts]), "mean")
        for part, values in zip(parts, mean.split([part.numel() for part in parts]), strict=True):
            part.copy_(values.view(part.shape))

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, in place, by those of the first process."""
        if self.count == 1:
            return
        broadcast = import_module("accelerate.utils").broadcast
        for tensor in tensors:
            tensor.copy_(broadcast(tensor.clone()))

    def share_number(self, value: float) -> float:
        """Return the first process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        self.share([shared])
        return shared.item()

    def leave(self) -> None:
        """Wait for the others, then end the exchange."""
        if self._state:
            self._state.wait_for_everyone()
            self._state.destroy_process_group()


def join_processes(device: str, count: int = 1) -> Processes:
    """Join the other processes of this run.

    Args:
        device: `auto`, `cpu` or `cuda`.
        count: How many the launcher started (its `WORLD_SIZE`).

    Raises:
        ValueError: The device is not there, or `accelerate` is not installed for more than one process.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda': torch finds no CUDA device; use 'cpu' or 'auto'")
    if count == 1:
        return Processes(pick_device(device))
    if find_spec("accelerate") is None:
        raise ValueError(f"{count} processes were started; that needs the package accelerate")
    state = import_module("accelerate").PartialState(cpu=pick_device(device).type == "cpu", timeout=_PATIENCE)
    return Processes(state.device, state)
