"""The loop that every stage shares: optimiser, warm-up and cosine rate, EMA, log, validation, resume.

Every random choice of step k comes from a generator seeded by (seed, stage, k), so a resumed run continues exactly
where it was, without any saved generator state. State is kept in safetensors, never pickle.
"""

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any, Final

import models.torch_compat  # noqa: F401  (before diffusers)

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from models.checkpoint import ModelSpec, save
from models.ldiffusion import LDiffusion
from models.predictor import Predictor
from models.training.augment import Cropper
from models.training.data import Sample, to_plane
from models.training.evaluate import evaluate
from models.training.metrics import scores
from models.training.recipe import STAGES, Recipe, StageConfig
from models.training.stages import STAGE_TABLE, Batch, Losses

_STATE: Final = "state.safetensors"
_PLACE: Final = "state.json"
_VALIDATION_BATCHES: Final = 4
_CLIP_NORM: Final = 1.0


def step_generator(seed: int, stage: str, step: int) -> torch.Generator:
    """Return the generator of one step; independent for every (seed, stage, step)."""
    digest = hashlib.sha256(f"{seed}/{stage}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def learning_rate(config: StageConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to 2 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = step / max(1, config.steps)
    return config.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


class Trainer:
    """One run in one folder.

    Args:
        recipe: What to train, on what, for how long.
        train: Samples to learn from.
        validation: Samples to report on; may be empty.
        run_dir: Receives `log.jsonl`, the state, and the finished model in `model/`.
    """

    def __init__(self, recipe: Recipe, train: list[Sample], validation: list[Sample], run_dir: Path) -> None:
        self.recipe = recipe
        self.run_dir = run_dir
        self.validation = validation
        run_dir.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.model = LDiffusion(recipe.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train_crops = Cropper([to_plane(s, recipe.mpp) for s in train], recipe.crop_px, recipe.augment)
        held_out = [to_plane(s, recipe.mpp) for s in validation]
        self.validation_crops = Cropper(held_out, recipe.crop_px, recipe.augment) if held_out else None
        self._place: dict[str, Any] = {"stage": STAGES[0], "step": 0}

    def run(self) -> None:
        """Run all stages, from where the folder's state says, and write the model folder."""
        self._restore_place()
        for name in STAGES[STAGES.index(self._place["stage"]) :]:
            start = self._place["step"] if name == self._place["stage"] else 0
            self._run_stage(name, start)
        self.export()

    def export(self) -> Path:
        """Write the model folder with the present weights and return it."""
        recipe = self.recipe
        spec = ModelSpec(
            name=recipe.name,
            title=recipe.title,
            mpp=recipe.mpp,
            classes=recipe.classes,
            tile_px=recipe.tile_px,
            halo_px=recipe.halo_px,
            stride_px=recipe.model.network.stride_px,
            license=recipe.license,
            intended_use=recipe.intended_use,
            figures={},
            network=recipe.model,
            training={"seed": recipe.seed, "steps": {name: recipe.stage(name).steps for name in STAGES}},
        )
        folder = self.run_dir / "model"
        save(folder, self.model, spec)
        return folder

    def _run_stage(self, name: str, start: int) -> None:
        config, stage = self.recipe.stage(name), STAGE_TABLE[name]
        trained = stage.parameters(self.model)
        self._load_weights()
        if start >= config.steps:
            return
        self.model.requires_grad_(False)
        for parameter in trained.values():
            parameter.requires_grad_(True)
        optimiser = torch.optim.Adam(trained.values(), lr=config.lr)
        ema = EMAModel(trained.values(), decay=self.recipe.ema_decay, use_ema_warmup=True, power=2 / 3)
        if start > 0:
            self._restore(trained, optimiser, ema)
        began = time.monotonic()
        for step in tqdm(range(start, config.steps), initial=start, total=config.steps, desc=name, mininterval=5):
            losses = self._step(name, step, optimiser, list(trained.values()))
            ema.step(trained.values())
            done = step + 1
            if done % self.recipe.log_every == 0:
                self._log(name, done, losses, seconds=time.monotonic() - began)
            if done % self.recipe.validate_every == 0 or done == config.steps:
                ema.store(trained.values())
                ema.copy_to(trained.values())
                self._validate(name, done)
                ema.restore(trained.values())
                self._save(name, done, trained, optimiser, ema)
        # The averaged weights are what the next stage builds on.
        ema.copy_to(trained.values())
        self._save(name, config.steps, trained, optimiser, ema)

    def _step(self, name: str, step: int, optimiser: torch.optim.Adam, trained: list[Tensor]) -> Losses:
        config = self.recipe.stage(name)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        self.model.train()
        losses = STAGE_TABLE[name].loss(self.model, self._batch(self.train_crops, name, step), config)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(trained, _CLIP_NORM)
        optimiser.step()
        return losses

    def _batch(self, crops: Cropper, name: str, step: int) -> Batch:
        generator = step_generator(self.recipe.seed, name, step)
        images, labels = crops.batch(self.recipe.stage(name).batch, generator)
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, generator)

    @torch.no_grad()
    def _validate(self, name: str, step: int) -> None:
        """Log the stage's losses on held-out crops, and for a stage with a head the Dice on whole held-out images."""
        if self.validation_crops is None:
            return
        self.model.eval()
        totals: dict[str, float] = {}
        for index in range(_VALIDATION_BATCHES):
            batch = self._batch(self.validation_crops, name, -1 - index)
            for key, value in STAGE_TABLE[name].loss(self.model, batch, self.recipe.stage(name)).items():
                totals[key] = totals.get(key, 0.0) + value.item() / _VALIDATION_BATCHES
        row = {f"val_{key}": value for key, value in totals.items()}
        if "segmenter" in STAGE_TABLE[name].trains:
            folder = self.export()
            result = scores(evaluate(Predictor.load(folder, "cpu"), self.validation))
            row |= {f"val_dice_{c.name}": result.dice[c.index] for c in self.recipe.classes}
        self._write({"stage": name, "step": step} | row)

    def _log(self, name: str, step: int, losses: Losses, seconds: float) -> None:
        row = {key: round(value.item(), 5) for key, value in losses.items()}
        self._write({"stage": name, "step": step, "seconds": round(seconds, 1)} | row)

    def _write(self, row: dict[str, Any]) -> None:
        with (self.run_dir / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _save(
        self, name: str, step: int, trained: dict[str, torch.nn.Parameter], optimiser: torch.optim.Adam, ema: EMAModel
    ) -> None:
        tensors = {f"model/{key}": value.contiguous() for key, value in self.model.state_dict().items()}
        for (key, parameter), shadow in zip(trained.items(), ema.shadow_params, strict=True):
            tensors[f"ema/{key}"] = shadow.contiguous().clone()
            for slot, value in optimiser.state[parameter].items():
                tensors[f"adam/{slot}/{key}"] = value.contiguous().clone()
        # The place names the file it belongs to and is renamed last: a cut-off save leaves the state before it.
        state = self.run_dir / f"{name}-{step}-{_STATE}"
        save_file(tensors, state)
        place = {"stage": name, "step": step, "state": state.name, "ema_steps": ema.optimization_step}
        draft = self.run_dir / f"{_PLACE}.draft"
        draft.write_text(json.dumps(place), encoding="utf-8")
        draft.replace(self.run_dir / _PLACE)
        for old in self.run_dir.glob(f"*-{_STATE}"):
            if old.name != state.name:
                old.unlink()
        self._place = place

    def _restore_place(self) -> None:
        path = self.run_dir / _PLACE
        if path.is_file():
            self._place = json.loads(path.read_text(encoding="utf-8"))

    def _load_weights(self) -> None:
        """Take over the weights that the last saved stage ended with, if there is one."""
        if "state" in self._place:
            tensors = load_file(self.run_dir / self._place["state"])
            self.model.load_state_dict(_below("model/", tensors))

    def _restore(self, trained: dict[str, torch.nn.Parameter], optimiser: torch.optim.Adam, ema: EMAModel) -> None:
        tensors = load_file(self.run_dir / self._place["state"])
        self.model.load_state_dict(_below("model/", tensors))
        ema.shadow_params = [tensors[f"ema/{key}"] for key in trained]
        ema.optimization_step = self._place["ema_steps"]
        for key, parameter in trained.items():
            optimiser.state[parameter] = {
                slot: tensors[f"adam/{slot}/{key}"] for slot in ("step", "exp_avg", "exp_avg_sq")
            }


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
