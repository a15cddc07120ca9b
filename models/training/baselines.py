"""Networks on RGB to compare with, trained from scratch on the crops that a recipe's own head sees.

`python -m models.training.baselines RECIPE.toml --data ROOT --run FOLDER --network unetplusplus`

A baseline takes the crops of stage 2 and then those of the joint stage, the same pixels in the same order, with the
losses, learning-rate curve and averaged weights of stage 2. The crops of stages 0 and 1 are not counted: it has
nothing to learn from them.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import click
import torch
from torch import nn

from models.command_line import CONTEXT, DEVICE, PATH, THREADS, fail, run
from models.engine.allocator import keep_freed_memory
from models.engine.device import pick_device
from models.training.crops.augment import Cropper
from models.training.crops.batch import Batch, step_generator
from models.training.crops.data import IGNORE, Sample, to_plane
from models.training.evaluation.assess import Subject, evaluate_sets, read_sets
from models.training.evaluation.evaluate import total_confusion
from models.training.evaluation.metrics import PROTOCOLS, scores
from models.training.evaluation.report import text
from models.training.loop import Loop, Losses, Rhythm, Task
from models.training.processes import Processes
from models.training.recipe import Recipe, StageConfig, load_recipe
from models.training.rgb_networks import NETWORKS, STRIDE_PX, RgbSegmenter, RgbSpec, build_network, load_rgb, save_rgb
from models.training.splits import load_split
from models.training.stages import head_losses
from models.training.state import kept_folder, load_weights, read_tensors

STAGE: Final = "baseline"
FOLDER: Final = "baseline"
EVALUATION: Final = "evaluation"
_VALIDATION_BATCHES: Final = 4


def source_step(recipe: Recipe, step: int) -> tuple[str, int]:
    """Return (stage, step) of the recipe whose crops a baseline's step takes; past the end, the last stage goes on."""
    first = recipe.stage("stage2").steps
    if step < first or not recipe.stage("joint").steps:
        return "stage2", step
    return "joint", step - first


def crops_seen(recipe: Recipe, steps: int | None = None) -> int:
    """Return how many crops a baseline sees: as many as stage 2 and joint stage together, unless steps are given."""
    total = _all_steps(recipe) if steps is None else steps
    return sum(recipe.stage(source_step(recipe, step)[0]).batch for step in range(total))


def _all_steps(recipe: Recipe) -> int:
    return recipe.stage("stage2").steps + recipe.stage("joint").steps


def baseline_config(recipe: Recipe, lr: float | None = None, steps: int | None = None) -> StageConfig:
    """Return stage 2's settings with the steps of stage 2 and joint, or those given.

    Raises:
        ValueError: Stage 2 has no steps, crops or batches do not fit the networks, or rate or steps are none.
    """
    stage2 = recipe.stage("stage2")
    if not stage2.steps:
        raise ValueError("the recipe's [stage2] has no steps; a baseline is trained like it")
    if recipe.crop_px % STRIDE_PX:
        raise ValueError(f"crop_px is {recipe.crop_px}; the baselines need a multiple of {STRIDE_PX}")
    for name in ("stage2", "joint"):
        batch = recipe.stage(name).batch
        if recipe.stage(name).steps and (batch % stage2.accumulate or batch // stage2.accumulate < 2):
            raise ValueError(
                f"[{name}] batch is {batch}; in {stage2.accumulate} parts it must give 2 crops or more each, for the "
                "baselines' batch norms"
            )
    return replace(stage2, lr=stage2.lr if lr is None else lr, steps=_all_steps(recipe) if steps is None else steps)


def segmentation_loss(network: nn.Module, batch: Batch, config: StageConfig) -> Losses:
    """Dice and cross-entropy, weighted as in stage 2. Dropout draws from the step's own generator."""
    device = batch.images.device
    seed = int(torch.randint(2**62, (1,), generator=batch.generator))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            logits = network(batch.images).float()
    return head_losses(logits, batch.labels, config)


class BaselineTrainer:
    """One baseline in one run folder. A folder that holds the run already is gone on with.

    Args:
        recipe: Whose data, crops, losses and seed.
        name: One of `NETWORKS`.
        train: Samples to learn from; those without annotation are left out, as in stage 2.
        validation: Samples to report on; may be empty.
        run_dir: Receives `log.jsonl`, the state, and the finished network in `baseline/`.
        lr: Peak of the learning rate; stage 2's if not given.
        steps: As many as stage 2 and joint together if not given.
        device: Where to train.

    Raises:
        ValueError: The recipe does not fit a baseline, or the folder holds another network.
    """

    def __init__(
        self,
        recipe: Recipe,
        name: str,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        run_dir: Path,
        *,
        lr: float | None = None,
        steps: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.recipe = recipe
        self.name = name
        self.run_dir = run_dir
        self.validation = validation
        self.config = baseline_config(recipe, lr, steps)
        self.device = device or torch.device("cpu")
        rhythm = Rhythm(recipe.ema_decay, recipe.log_every, recipe.validate_every, recipe.tensorboard)
        self.loop = Loop(run_dir, Processes(self.device), rhythm)
        torch.manual_seed(recipe.seed)
        network = build_network(name, len(recipe.classes))
        if tensors := read_tensors(run_dir, self.loop.place):
            load_weights(network, tensors)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._crops = self._cropper([s for s in train if bool((s.labels != IGNORE).any())])
        if self._crops is None:
            raise ValueError("no image to train on with annotation")
        self._held_out = self._cropper(validation)

    def run(self) -> Path:
        """Train to the end and return the folder of the finished network."""
        task = Task(
            name=STAGE,
            model=self.network,
            trained=dict(self.network.named_parameters()),
            loss=segmentation_loss,
            batches=partial(self.batch, self._crops),
            validate=self._validate,
            config=self.config,
            keep=lambda step: self._export(kept_folder(FOLDER, step)),
        )
        self.loop.train(task)
        return self._export()

    def batch(self, crops: Cropper | None, step: int) -> Batch:
        """Return the crops of a step; held-out ones have a step below 0."""
        if crops is None:
            raise ValueError("no image to draw from")
        stage, number = source_step(self.recipe, step) if step >= 0 else ("stage2", step)
        generator = step_generator(self.recipe.seed, stage, number)
        images, labels, _ = crops.batch(self.recipe.stage(stage).batch, generator)
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, generator, step)

    def _cropper(self, samples: Sequence[Sample]) -> Cropper | None:
        planes = [to_plane(sample, self.recipe.mpp) for sample in samples]
        return Cropper(planes, self.recipe.crop_px, self.recipe.augment) if planes else None

    def _validate(self) -> dict[str, float]:
        """Return the losses on held-out crops and the Dice of whole held-out images, called as in stage 2."""
        if self._held_out is None:
            return {}
        found: dict[str, float] = {}
        for index in range(_VALIDATION_BATCHES):
            batch = self.batch(self._held_out, -1 - index).to(self.device)
            for key, value in segmentation_loss(self.network, batch, self.config).items():
                found[f"val_{key}"] = found.get(f"val_{key}", 0.0) + value.item() / _VALIDATION_BATCHES
        segmenter = RgbSegmenter(self.network, self.recipe.classes, self.recipe.mpp, self.recipe.halo_px, self.device)
        result = scores(total_confusion(segmenter, self.validation))
        return found | {f"val_dice_{c.name}": result.dice[c.index] for c in self.recipe.classes}

    def _export(self, name: str = FOLDER) -> Path:
        recipe = self.recipe
        spec = RgbSpec(
            network=self.name,
            classes=recipe.classes,
            mpp=recipe.mpp,
            halo_px=recipe.halo_px,
            recipe=recipe.name,
            seed=recipe.seed,
            lr=self.config.lr,
            steps=self.config.steps,
            crops=crops_seen(recipe, self.config.steps),
        )
        save_rgb(self.run_dir / name, self.network, spec)
        return self.run_dir / name


# --- command ----------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Parse, train, evaluate on the recipe's validation and test sets; 2 on bad input, 1 where training fails."""
    return run(_command, "models.training.baselines", argv)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("recipe_file", type=PATH, metavar="RECIPE", help="TOML file, see models/training/configs")
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--run", "run_dir", type=PATH, required=True, help="folder for log, state, network and evaluations")
@click.option("--network", type=click.Choice(tuple(NETWORKS)), required=True)
@click.option("--lr", type=float, help="peak of the learning rate; stage 2's if not given")
@click.option("--steps", type=int, help="stage 2's and joint's together if not given")
@click.option("--seed", type=int, help="the recipe's if not given")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="tissue", help="cell leaves the background out")
@DEVICE
@THREADS
def _command(
    recipe_file: Path,
    data: Path,
    run_dir: Path,
    network: str,
    *,
    lr: float | None,
    steps: int | None,
    seed: int | None,
    protocol: str,
    device: str,
    threads: int,
) -> int:
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    try:
        recipe = load_recipe(recipe_file)
        recipe = recipe if seed is None else replace(recipe, seed=seed)
        train, validation = load_split(recipe, data)
        place = pick_device(device)
        trainer = BaselineTrainer(recipe, network, train, validation, run_dir, lr=lr, steps=steps, device=place)
        sets = read_sets(recipe, data, validation)
    except (OSError, ValueError) as error:
        return fail(error)
    try:
        folder = trainer.run()
    except FloatingPointError as error:
        return fail(error, status=1)
    segmenter, _, digest = load_rgb(folder, trainer.device)
    subject = Subject(segmenter, network, digest)
    for evaluation in evaluate_sets(subject, sets, run_dir / EVALUATION, protocol=protocol):
        sys.stdout.write(f"{text(evaluation)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
