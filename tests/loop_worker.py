"""A task for the training loop that takes milliseconds, and the process of a run that trains it with companions."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from models.training.crops.batch import Batch, step_generator
from models.training.loop import Loop, LoopConfig, Losses, Rhythm, Task
from models.training.processes import Processes, join_processes

CPU = torch.device("cpu")
# Stops after the fourth validation; the second is the best.
STOPPING = LoopConfig(steps=12, batch=8, lr=1e-2, warmup_steps=2, patience=2, watch="val")
FIGURES = (3.0, 1.0, 2.0, 4.0, 0.5)


class TinyNet(nn.Module):
    """A frozen part and a trained part, each with a batch norm where asked for."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.frozen = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4) if norm else nn.Identity())
        self.learned = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4) if norm else nn.Tanh(), nn.Conv2d(4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.learned(torch.relu(self.frozen(x)))
        return out


def tiny_loss(model: TinyNet, batch: Batch, config: LoopConfig) -> Losses:
    """Mean squared error against labels, on images with noise from the part's generator."""
    noise = torch.randn(batch.images.shape, generator=batch.generator)
    target = batch.labels[:, 1:-1, 1:-1].float()
    error = functional.mse_loss(model(batch.images + 0.1 * noise)[:, 0], target)
    return {"loss": error, "twice": 2 * error}


def tiny_batch(size: int, step: int) -> Batch:
    """Random images whose labels say where they are bright."""
    generator = step_generator(3, "tiny", step)
    images = torch.randn((size, 3, 8, 8), generator=generator)
    return Batch(images, (images.mean(dim=1) > 0).long(), generator)


def no_figures() -> dict[str, float]:
    """Validate nothing."""
    return {}


def scripted(values: Sequence[float]) -> Callable[[], dict[str, float]]:
    """Return a validation that answers with these values one after the other."""
    left = iter(values)
    return lambda: {"val": next(left)}


def tiny_task(
    config: LoopConfig,
    *,
    norm: bool = True,
    validate: Callable[[], dict[str, float]] = no_figures,
    **changes: Any,
) -> Task[TinyNet, LoopConfig]:
    """Return the task of training the second part of a fresh network."""
    model = TinyNet(norm=norm)
    trained = {name: p for name, p in model.named_parameters() if name.startswith("learned")}
    settings: dict[str, Any] = {
        "name": "tiny",
        "model": model,
        "trained": trained,
        "loss": tiny_loss,
        "batches": lambda step: tiny_batch(config.batch, step),
        "validate": validate,
        "config": config,
    }
    return Task(**settings | changes)


def tiny_loop(run_dir: Path, processes: Processes | None = None, **rhythm: Any) -> Loop:
    """Return a loop that logs each step and validates every second one."""
    habits = {"ema_decay": 0.9, "log_every": 1, "validate_every": 2}
    return Loop(run_dir, processes or Processes(CPU), Rhythm(**habits | rhythm))


if __name__ == "__main__":
    companions = join_processes("cpu", int(os.environ["WORLD_SIZE"]))
    for normed in (False, True):
        folder = Path(sys.argv[1]) / ("norm" if normed else "plain")
        tiny_loop(folder, companions).train(tiny_task(STOPPING, norm=normed, validate=scripted(FIGURES)))
    companions.leave()
