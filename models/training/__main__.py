"""Train a model: `python -m models.training RECIPE.toml --data ROOT --run FOLDER`. An interrupted run resumes."""

import os
import sys
from pathlib import Path

import click
import torch

from models.command_line import CONTEXT, DEVICE, PATH, THREADS, fail, run
from models.engine.allocator import keep_freed_memory
from models.training.processes import join_processes
from models.training.recipe import STAGES, load_recipe
from models.training.splits import load_split
from models.training.trainer import Trainer


def main(argv: list[str] | None = None) -> int:
    """Parse, read the data, check all of it, train; 2 with one sentence on bad input, 1 where training fails."""
    return run(_command, "ldiffusion train", argv)


@click.command(context_settings=CONTEXT, help=__doc__)
@click.argument("recipe_file", type=PATH, metavar="RECIPE", help="TOML file, see models/training/configs")
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--run", "run_dir", type=PATH, required=True, help="folder for log, state and the finished model")
@click.option("--stage", type=click.Choice(STAGES), help="train this stage alone; all of them if not given")
@DEVICE
@THREADS
def _command(recipe_file: Path, data: Path, run_dir: Path, stage: str | None, device: str, threads: int) -> int:
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    try:
        recipe = load_recipe(recipe_file)
        train, validation = load_split(recipe, data)
        processes = join_processes(device, int(os.environ.get("WORLD_SIZE", "1")))
        trainer = Trainer(recipe, train, validation, run_dir, processes)
        if stage:
            trainer.check_turn(stage)
    except (OSError, ValueError) as error:
        return fail(error)
    if processes.first:
        sys.stdout.write(f"{recipe.name}: {len(train)} images to train on, {len(validation)} for validation\n")
    try:
        trainer.run(stage)
    except FloatingPointError as error:
        return fail(error, status=1)
    if processes.first:
        sys.stdout.write(f"model written to {run_dir / 'model'}\n")
    processes.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
