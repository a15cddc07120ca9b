"""L-Diffusion's training: stage 0 → stage 1 → stage 2 → joint, each run by the loop of `models.training.loop`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch

from models.checkpoint import save
from models.folder import ModelSpec
from models.ldiffusion import LDiffusion
from models.predictor import Predictor
from models.pretrained.weights import load_pretrained, resolve
from models.training.crops.augment import Cropper
from models.training.crops.batch import Batch, step_generator
from models.training.crops.data import IGNORE, Plane, Sample, to_plane
from models.training.evaluation.evaluate import evaluate
from models.training.evaluation.metrics import scores
from models.training.loop import Loop, Rhythm, Task
from models.training.processes import Processes
from models.training.recipe import STAGES, Recipe, StageConfig
from models.training.stages import STAGE_TABLE
from models.training.start import start_from
from models.training.state import kept_folder, load_weights, read_tensors
from models.training.unlabelled import attach

_VALIDATION_BATCHES: Final = 4
_MODEL: Final = "model"
# Parameters whose names begin so are those of a pretrained encoder.
_BACKBONE: Final = "segmenter.backbone."


class Trainer:
    """One run in one folder. A folder that holds a run already is gone on with.

    Args:
        recipe: What to train, on what, for how long.
        train: Samples to learn from. Those without any annotation serve the stages that do not train the head.
        validation: Samples to report on; may be empty.
        run_dir: Receives `log.jsonl`, the state, and the finished model in `model/`.
        processes: Device and companions; this process alone on the CPU if not given.

    Raises:
        ValueError: The folder holds a run of another network, or the recipe asks for what cannot be done.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: list[Sample],
        validation: list[Sample],
        run_dir: Path,
        processes: Processes | None = None,
    ) -> None:
        recipe = replace(recipe, model=resolve(recipe.model))
        self.recipe = recipe
        self.run_dir = run_dir
        self.validation = validation
        self.processes = processes or Processes(torch.device("cpu"))
        rhythm = Rhythm(recipe.ema_decay, recipe.log_every, recipe.validate_every, recipe.tensorboard)
        self.loop = Loop(run_dir, self.processes, rhythm)
        torch.manual_seed(recipe.seed)
        model = LDiffusion(recipe.model)
        if recipe.beside:
            attach(model)
        if tensors := read_tensors(run_dir, self.loop.place):
            load_weights(model, tensors)
        else:
            load_pretrained(model)
            start_from(model, recipe.start)
        self.model = model.to(self.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        planes = [self._plane(sample) for sample in train]
        self._crops = self._cropper(planes)
        self._annotated_crops = self._cropper([p for p in planes if bool((p.labels != IGNORE).any())])
        self._held_out_crops = self._cropper([self._plane(sample) for sample in validation])
        self._check_stages()

    def run(self, only: str | None = None) -> Path:
        """Train all stages, or one, from where the folder's state says, write the model folder and return it.

        Raises:
            ValueError: The one stage cannot be trained now; see `check_turn`.
        """
        if only:
            self.check_turn(only)
        present = self.loop.place.stage or STAGES[0]
        for name in (only,) if only else STAGES[STAGES.index(present) :]:
            self.loop.train(self._task(name))
        if self.processes.first:
            self.export()
        return self.run_dir / _MODEL

    def check_turn(self, only: str) -> None:
        """Check that it is one stage's turn.

        Raises:
            ValueError: The run is past it, or a stage before it is not over.
        """
        place, order = self.loop.place, STAGES.index(only)
        present = place.stage or STAGES[0]
        if STAGES.index(present) > order:
            raise ValueError(f"{self.run_dir} is past {only}, at {present} step {place.step}; use another run folder")
        for name in STAGES[STAGES.index(present) : order]:
            steps = self.recipe.stage(name).steps
            if not place.has_done(name, steps):
                done = place.step if name == present else 0
                raise ValueError(f"{name} comes before {only}: {done} of its {steps} steps are done")

    def export(self, name: str = _MODEL) -> Path:
        """Write the model folder, or one of another name, with the present weights and return it."""
        recipe, done = self.recipe, self.loop.place.done
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
            objects=recipe.objects,
            training={
                "seed": recipe.seed,
                "steps": {
                    name: done.get(name, recipe.stage(name).steps)
                    for name in STAGES
                    if recipe.stage(name).steps or name != "denoise"
                },
            },
        )
        folder = self.run_dir / name
        save(folder, self.model, spec)
        return folder

    def _plane(self, sample: Sample) -> Plane:
        return to_plane(sample, self.recipe.mpp, self.recipe.model.interior_um, self.recipe.least_solidity)

    def _cropper(self, planes: list[Plane]) -> Cropper | None:
        return Cropper(planes, self.recipe.crop_px, self.recipe.augment) if planes else None

    def _check_stages(self) -> None:
        """Refuse, before anything is trained, what a stage would stumble over after an hour."""
        recipe, count = self.recipe, self.processes.count
        stages = {name: recipe.stage(name) for name in STAGES if recipe.stage(name).steps}
        if not stages:
            raise ValueError(f"no stage has steps; give at least one of {', '.join(STAGES)} some")
        if self.loop.place.stage not in ("", *STAGES):
            raise ValueError(f"{self.run_dir} holds a run of {self.loop.place.stage}, not of {', '.join(STAGES)}")
        for name, config in stages.items():
            if config.batch % (config.accumulate * count):
                raise ValueError(
                    f"[{name}] batch is {config.batch}; accumulate ({config.accumulate}) times the number of processes "
                    f"({count}) must divide it"
                )
            if self._source(name) is None:
                raise ValueError(f"[{name}] has no image to train on{' with annotation' if self._crops else ''}")
            if config.patience:
                self._check_watched(name, config.watch)

    def _check_watched(self, name: str, watch: str) -> None:
        if self._held_out_crops is None:
            raise ValueError(f"[{name}] patience needs validation images; the recipe's datasets keep none")
        known = set(self._held_out_losses(name, batches=1))
        if STAGE_TABLE[name].labelled:
            known |= {f"val_dice_{c.name}" for c in self.recipe.classes}
        if watch not in known:
            raise ValueError(f"[{name}] watch is {watch!r}; it must be one of {', '.join(sorted(known))}")

    def _source(self, name: str) -> Cropper | None:
        return self._annotated_crops if STAGE_TABLE[name].labelled else self._crops

    def _task(self, name: str) -> Task[LDiffusion, StageConfig]:
        stage = STAGE_TABLE[name]
        return Task(
            name=name,
            model=self.model,
            trained=stage.parameters(self.model, self.recipe.stage(name)),
            loss=stage.loss,
            batches=partial(self._batch, self._source(name), name),
            validate=partial(self._validate, name),
            config=self.recipe.stage(name),
            slower={_BACKBONE: self.recipe.stage(name).backbone_rate},
            keep=lambda step: self.export(kept_folder(_MODEL, step)),
        )

    def _batch(self, crops: Cropper | None, name: str, step: int) -> Batch:
        if crops is None:
            raise ValueError(f"[{name}] has no image to draw from")
        generator = step_generator(self.recipe.seed, name, step)
        images, labels, interior = crops.batch(self.recipe.stage(name).batch, generator)
        images = images.contiguous(memory_format=torch.channels_last)
        unlabelled = None
        if self.recipe.stage(name).consistency and step >= 0 and self._crops is not None:
            # After the labelled crops, which so are those of a run without a second view.
            unlabelled, _, _ = self._crops.batch(self.recipe.stage(name).batch, generator)
        return Batch(images, labels, generator, step if step >= 0 else None, interior, unlabelled)

    def _validate(self, name: str) -> dict[str, float]:
        """Return the losses on held-out crops, and for a stage with a head the Dice on whole held-out images."""
        if self._held_out_crops is None:
            return {}
        figures = self._held_out_losses(name, _VALIDATION_BATCHES)
        if STAGE_TABLE[name].labelled:
            predictor = Predictor.load(self.export(), self.processes.device.type)
            result = scores(evaluate(predictor, self.validation))
            figures |= {f"val_dice_{c.name}": result.dice[c.index] for c in self.recipe.classes}
        return figures

    @torch.no_grad()
    def _held_out_losses(self, name: str, batches: int) -> dict[str, float]:
        self.model.eval()
        totals: dict[str, float] = {}
        for index in range(batches):
            batch = self._batch(self._held_out_crops, name, -1 - index).to(self.processes.device)
            for key, value in STAGE_TABLE[name].loss(self.model, batch, self.recipe.stage(name)).items():
                totals[f"val_{key}"] = totals.get(f"val_{key}", 0.0) + value.item() / batches
        return totals
