"""The loop that any network is trained with: rate, averaged weights, log, validation, early stop, save and resume.

Every random choice of step k comes from a generator that belongs to step k alone, so a resumed run continues exactly
where it was, without any saved generator state.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Final, Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from models.settings import settings
from models.training.crops.batch import Batch
from models.training.processes import Processes
from models.training.runlog import RunLog
from models.training.state import Place, Weights, read_place, read_tensors, state_file, write_state

_CLIP_NORM: Final = 1.0

Losses = dict[str, Tensor]
NotBelow0 = Annotated[int, Field(ge=0)]
Above0 = Annotated[int, Field(ge=1)]


@settings
class LoopConfig:
    """What the loop itself asks of a stage.

    Attributes:
        steps: Optimiser steps; 0 leaves the stage out.
        batch: Crops a step, over all parts and processes.
        lr: Peak of the learning rate.
        warmup_steps: Steps of its linear rise; half a cosine follows.
        accumulate: Equal parts that each process sees its crops in, one after the other; more need less memory.
        bfloat16: On CUDA, the whole step in bfloat16 autocast. On a CPU the loss decides what that is good for.
        patience: Stop after so many validations without a better figure, and keep the best weights; 0 never stops.
        watch: The figure of the validation that decides.
        best: `lowest` or `highest` is best.
        decay: How the rate goes on after its rise: half a cosine down, or not at all. The averaged weights of a
            constant rate are an end at every step, so that one run is measured at several (`keep_steps`).
        keep_steps: Steps whose averaged weights are kept as finished networks too.
    """

    steps: NotBelow0 = 0
    batch: Above0 = 8
    lr: Annotated[float, Field(gt=0)] = 1e-3
    warmup_steps: NotBelow0 = 50
    accumulate: Above0 = 1
    bfloat16: bool = False
    patience: NotBelow0 = 0
    watch: str = "val_loss"
    best: Literal["lowest", "highest"] = "lowest"
    decay: Literal["cosine", "constant"] = "cosine"
    keep_steps: tuple[Above0, ...] = ()

    def __post_init__(self) -> None:
        if self.batch % self.accumulate:
            raise ValueError(f"batch is {self.batch}; accepted: a multiple of accumulate = {self.accumulate}")
        if self.keep_steps and max(self.keep_steps) >= self.steps:
            raise ValueError(f"keep_steps are {list(self.keep_steps)}; accepted: below steps = {self.steps}")

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 2 % of the peak, or the peak."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.decay == "constant":
            return self.lr * warm
        progress = step / max(1, self.steps)
        return self.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))

    def is_better(self, value: float, best: float | None) -> bool:
        """Return whether a watched figure beats the best so far; one that is not a number never does."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value < best if self.best == "lowest" else value > best


def _keep_nothing(_step: int) -> None:
    pass


M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=LoopConfig)


@dataclass(frozen=True)
class Task(Generic[M, C]):
    """One stage of training.

    Attributes:
        name: Names the rows of the log and the state.
        model: The network, on the device of the processes.
        trained: The parameters to train, by name.
        loss: (model, batch, config) → losses of one part of a batch; the one called `loss` is minimised.
        batches: Step → the whole batch of that step, the same on every process.
        validate: Returns figures; called in evaluation mode with the averaged weights, by the first process.
        config: The settings, handed to `loss` too.
        slower: Beginnings of parameters' names, and their learning rate as a part of the others'.
        keep: Keeps the network as it is after a step of `keep_steps`; called as `validate` is.
    """

    name: str
    model: M
    trained: dict[str, nn.Parameter]
    loss: Callable[[M, Batch, C], Losses]
    batches: Callable[[int], Batch]
    validate: Callable[[], dict[str, float]]
    config: C
    slower: Mapping[str, float] = field(default_factory=dict)
    keep: Callable[[int], object] = _keep_nothing


@dataclass(frozen=True)
class Rhythm:
    """What all stages of a run share: how fast the averaged weights follow, and when to log and validate (steps)."""

    ema_decay: float = 0.995
    log_every: int = 20
    validate_every: int = 200
    tensorboard: bool = False


class Loop:
    """Trains tasks one after the other in one run folder, from where its state says.

    Args:
        run_dir: Folder for `log.jsonl` and the state.
        processes: This process and those it trains together with.
        rhythm: See there.
    """

    def __init__(self, run_dir: Path, processes: Processes, rhythm: Rhythm) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self.run_dir = run_dir
        self.processes = processes
        self.rhythm = rhythm
        self.place = read_place(run_dir)

    def train(self, task: Task[M, C]) -> None:
        """Train a task to its end, and leave its averaged weights in the network.

        A task that is over is left as it is. The network must hold the weights of the saved state, if there is one.

        Raises:
            FloatingPointError: The loss is not a number any more.
            ValueError: The batch cannot be cut into equal parts, or the watched figure does not exist.
        """
        config = task.config
        if self.place.has_done(task.name, config.steps):
            return
        weights = Weights(task.model, task.trained, self.rhythm.ema_decay, task.slower)
        if self.place.stage == task.name:
            weights.load(read_tensors(self.run_dir, self.place), self.place.ema_steps)
        else:
            self.place = Place(stage=task.name, done=self.place.done)
        log = self._open_log(task.name)
        self._steps(task, weights, log)
        weights.settle()
        if self.place.stopped and log is not None:
            log.write(self.place.step, {"best_step": self.place.best_step, f"best_{config.watch}": self.place.best})
        self._save(weights)
        if log is not None:
            log.close()

    def _open_log(self, stage: str) -> RunLog | None:
        if not self.processes.first:
            return None
        return RunLog(self.run_dir, stage, self.place.step, tensorboard=self.rhythm.tensorboard)

    def _steps(self, task: Task[M, C], weights: Weights, log: RunLog | None) -> None:
        steps, start = task.config.steps, self.place.step
        began = time.monotonic() - self.place.seconds
        hidden = not self.processes.first
        for step in tqdm(range(start, steps), task.name, steps, initial=start, mininterval=5, disable=hidden):
            losses = self._step(task, weights, step)
            seconds = round(time.monotonic() - began, 1)
            done, updates = step + 1, weights.ema.optimization_step
            self.place = replace(self.place, step=done, ema_steps=updates, seconds=seconds)
            if done % self.rhythm.log_every == 0:
                self._log_losses(losses, log)
            if done in task.config.keep_steps and not hidden:
                with weights.averaged():
                    task.keep(done)
            if done % self.rhythm.validate_every == 0 or done == steps:
                self._validate(task, weights, log)
                if self.place.stopped:
                    break
                if done < steps:
                    self._save(weights)

    def _step(self, task: Task[M, C], weights: Weights, step: int) -> Losses:
        """Take one optimiser step and return its losses, averaged over the parts that this process saw."""
        config, device, rank = task.config, self.processes.device, self.processes.rank
        for group in weights.optimiser.param_groups:
            group["lr"] = config.learning_rate(step) * group["rate"]
        weights.optimiser.zero_grad(set_to_none=True)
        totals: Losses = {}
        parts = task.batches(step).split(config.accumulate * self.processes.count)
        for part in parts[rank * config.accumulate : (rank + 1) * config.accumulate]:
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16 and device.type == "cuda"):
                losses = task.loss(task.model, part.to(device), config)
            (losses["loss"] / config.accumulate).backward()
            for key, value in losses.items():
                share = value.detach() / config.accumulate
                totals[key] = totals[key] + share if key in totals else share
        self._synchronise(task)
        torch.nn.utils.clip_grad_norm_(task.trained.values(), _CLIP_NORM)
        weights.optimiser.step()
        weights.ema.step(task.trained.values())
        return totals

    def _synchronise(self, task: Task[M, C]) -> None:
        """Average the gradients, and take the first process's buffers (running statistics of batch norms)."""
        if self.processes.count == 1:
            return
        for parameter in task.trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.processes.average(p.grad for p in task.trained.values() if p.grad is not None)
        self.processes.share(task.model.buffers())

    def _log_losses(self, losses: Losses, log: RunLog | None) -> None:
        values = torch.stack([value.float() for value in losses.values()])
        self.processes.average([values])
        row = {key: round(value, 5) for key, value in zip(losses, values.tolist(), strict=True)}
        if not math.isfinite(row["loss"]):
            place = self.place
            raise FloatingPointError(f"{place.stage}: the loss is {row['loss']} after {place.step} steps; lower lr")
        if log is not None:
            log.write(self.place.step, {"seconds": self.place.seconds} | row)

    def _validate(self, task: Task[M, C], weights: Weights, log: RunLog | None) -> None:
        """Log the figures of the averaged weights; keep the weights if they are the best, count if they are not."""
        place, config = self.place, task.config
        figures: dict[str, float] = {}
        if log is not None:
            with weights.averaged(), torch.no_grad():
                figures = task.validate()
            if figures:
                log.write(place.step, figures)
            if config.patience and config.watch not in figures:
                known = ", ".join(sorted(figures)) or "none"
                raise ValueError(f"{task.name}: no figure {config.watch!r} to watch; the validation gives {known}")
        if not config.patience:
            return
        value = self.processes.share_number(figures.get(config.watch, math.nan))
        if config.is_better(value, place.best):
            weights.keep_best()
            self.place = replace(place, best=value, best_step=place.step, misses=0)
        else:
            self.place = replace(place, misses=place.misses + 1, stopped=place.misses + 1 >= config.patience)

    def _save(self, weights: Weights) -> None:
        place = self.place
        name = state_file(place.stage, place.step)
        self.place = replace(place, state=name, done=place.done | {place.stage: place.step})
        if self.processes.first:
            write_state(self.run_dir, self.place, weights.tensors())
