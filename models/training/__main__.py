"""Train a model: `python -m models.training RECIPE.toml --data ROOT --run FOLDER`. An interrupted run resumes."""

import argparse
import os
import sys
from pathlib import Path

import torch

from models.allocator import keep_freed_memory
from models.training.processes import join_processes
from models.training.recipe import STAGES, load_recipe
from models.training.splits import load_split
from models.training.trainer import Trainer


def main(argv: list[str] | None = None) -> int:
    """Parse, read the data, check all of it, train; 2 with one sentence on bad input, 1 where training fails."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recipe = load_recipe(args.recipe)
        train, validation = load_split(recipe, args.data)
        processes = join_processes(args.device, int(os.environ.get("WORLD_SIZE", "1")))
        trainer = Trainer(recipe, train, validation, args.run, processes)
        if args.stage:
            trainer.check_turn(args.stage)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if processes.first:
        sys.stdout.write(f"{recipe.name}: {len(train)} images to train on, {len(validation)} for validation\n")
    try:
        trainer.run(args.stage)
    except FloatingPointError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if processes.first:
        sys.stdout.write(f"model written to {args.run / 'model'}\n")
    processes.leave()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ldiffusion train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="TOML file, see models/training/configs")
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's dataset roots lie in")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, state and the finished model")
    parser.add_argument("--stage", choices=STAGES, help="train this stage alone; all of them if not given")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; torch's own default if 0")
    return parser


if __name__ == "__main__":
    sys.exit(main())
