"""A run's state on disk: `state.json` says the place, a safetensors file holds every tensor. Never pickle.

Names of the tensors: `model/<name>` for all parameters and buffers, `ema/<name>` for the averaged weights,
`adam/<slot>/<name>` for the optimiser, `best/<name>` for the averaged weights and buffers of the best validation.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import models.torch_compat  # noqa: F401  (before diffusers)

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PLACE: Final = "state.json"
_STATE: Final = "state.safetensors"
_SLOTS: Final = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Place:
    """Where a run is.

    Attributes:
        stage: Stage of the last save; empty before the first.
        step: Steps of this stage done.
        state: File with the tensors.
        ema_steps: Updates of the averaged weights.
        seconds: Time that the stage took so far.
        stopped: The stage ended early.
        best: Best value of the watched figure; None before the first validation.
        best_step: Step of that validation.
        misses: Validations since that were no better.
        done: Steps done of every stage so far.
    """

    stage: str = ""
    step: int = 0
    state: str = ""
    ema_steps: int = 0
    seconds: float = 0.0
    stopped: bool = False
    best: float | None = None
    best_step: int = 0
    misses: int = 0
    done: dict[str, int] = field(default_factory=dict)

    def has_done(self, stage: str, steps: int) -> bool:
        """Return whether a stage that asks for `steps` steps is over."""
        return steps == 0 or (self.stage == stage and (self.stopped or self.step >= steps))


def read_place(run_dir: Path) -> Place:
    """Return where the run in a folder is; the start for an empty one."""
    path = run_dir / PLACE
    return Place(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Place()


def read_tensors(run_dir: Path, place: Place) -> dict[str, Tensor]:
    """Return the tensors that belong to a place, on the CPU; none before the first save."""
    return load_file(run_dir / place.state) if place.state else {}


def write_state(run_dir: Path, place: Place, tensors: dict[str, Tensor]) -> None:
    """Save, and remove older files. A save that is cut off leaves the state before it."""
    save_file(tensors, run_dir / place.state)
    # The place names the file it belongs to and is renamed last.
    draft = run_dir / f"{PLACE}.draft"
    draft.write_text(json.dumps(asdict(place)), encoding="utf-8")
    draft.replace(run_dir / PLACE)
    for old in run_dir.glob(f"*-{_STATE}"):
        if old.name != place.state:
            old.unlink()


def state_file(stage: str, step: int) -> str:
    """Return the name of the file for a place."""
    return f"{stage}-{step}-{_STATE}"


def kept_folder(name: str, step: int) -> str:
    """Return what a finished folder is called if it is of a step before the end: a model's, or a measurement's."""
    return f"{name}-{step}"


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Take over all parameters and buffers of a saved state.

    Raises:
        ValueError: They are those of another network.
    """
    try:
        model.load_state_dict(_below("model/", tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"the run folder holds another network than the recipe's: {first}") from error


class Weights:
    """A network at work: its weights, which of them are trained, the optimiser and the averaged weights.

    Args:
        model: Any network, on its device.
        trained: The parameters to train, by name; all others are frozen.
        ema_decay: Decay of the averaged weights, reached after a warm-up.
        slower: Beginnings of names, and their learning rate as a part of the others'.
    """

    def __init__(
        self,
        model: nn.Module,
        trained: dict[str, nn.Parameter],
        ema_decay: float,
        slower: Mapping[str, float] | None = None,
    ) -> None:
        self.model = model
        self.trained = trained
        model.requires_grad_(False)
        for parameter in trained.values():
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.Adam(_groups(trained, slower or {}))
        self.ema = EMAModel(trained.values(), decay=ema_decay, use_ema_warmup=True, power=2 / 3)
        self.best: dict[str, Tensor] = {}
        set_mode(model)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights in the network, in evaluation mode, and afterwards the present ones back."""
        self.ema.store(self.trained.values())
        self.ema.copy_to(self.trained.values())
        self.model.eval()
        yield
        self.ema.restore(self.trained.values())
        set_mode(self.model)

    def keep_best(self) -> None:
        """Remember the averaged weights, and the buffers, as the best so far."""
        parameters = dict(self.model.named_parameters())
        buffers = {key: value for key, value in self.model.state_dict().items() if key not in parameters}
        averaged = dict(zip(self.trained, self.ema.shadow_params, strict=True))
        self.best = {key: value.clone() for key, value in (buffers | averaged).items()}

    def settle(self) -> None:
        """End on the best averaged weights where they were kept, else on the last: what is built on and exported."""
        self.ema.copy_to(self.trained.values())
        present = self.model.state_dict()
        for key, value in self.best.items():
            present[key].copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as tensors with the names of the state file."""
        found = {f"model/{key}": value for key, value in self.model.state_dict().items()}
        found |= {f"best/{key}": value for key, value in self.best.items()}
        for (key, parameter), shadow in zip(self.trained.items(), self.ema.shadow_params, strict=True):
            found[f"ema/{key}"] = shadow
            found |= {f"adam/{slot}/{key}": value for slot, value in self.optimiser.state[parameter].items()}
        return {key: value.contiguous() for key, value in found.items()}

    def load(self, tensors: dict[str, Tensor], ema_steps: int) -> None:
        """Take over a saved state; inverse of `tensors`."""
        load_weights(self.model, tensors)
        device = next(iter(self.trained.values())).device
        self.best = {key: value.to(device) for key, value in _below("best/", tensors).items()}
        self.ema.optimization_step = ema_steps
        for (key, parameter), shadow in zip(self.trained.items(), self.ema.shadow_params, strict=True):
            shadow.copy_(tensors[f"ema/{key}"])
            slots = {slot: tensors[f"adam/{slot}/{key}"] for slot in _SLOTS if f"adam/{slot}/{key}" in tensors}
            # Like the parameter in device and memory format; Adam's count of steps is always on the CPU.
            self.optimiser.state[parameter] = {
                slot: value if slot == "step" else torch.empty_like(parameter, requires_grad=False).copy_(value)
                for slot, value in slots.items()
            }


def set_mode(module: nn.Module, inherited: bool = True) -> None:
    """Put what is trained in training mode and all else in evaluation mode.

    A frozen batch norm would otherwise go on following the batches. A layer without parameters goes with the one
    around it.
    """
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else inherited
    for child in module.children():
        set_mode(child, module.training)


def _groups(trained: dict[str, nn.Parameter], slower: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the optimiser's groups, each with its `rate`: a part of the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        rate = next((rate for start, rate in slower.items() if name.startswith(start)), 1.0)
        groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "rate": rate} for rate, parameters in groups.items()]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
