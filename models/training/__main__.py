"""Train a model: `python -m models.training RECIPE.toml --data ROOT --run FOLDER`. An interrupted run resumes."""

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

import torch

from models.allocator import keep_freed_memory
from models.training.data import Sample, load_dataset
from models.training.recipe import Recipe, load_recipe
from models.training.trainer import Trainer


def load_split(recipe: Recipe, data_root: Path) -> tuple[list[Sample], list[Sample]]:
    """Read all datasets of a recipe: (training, validation)."""
    train: list[Sample] = []
    validation: list[Sample] = []
    for dataset in recipe.datasets:
        for sample in load_dataset(dataset, data_root, len(recipe.classes)):
            held_out = any(fnmatch(sample.name, pattern) for pattern in dataset.validation)
            (validation if held_out else train).append(sample)
    return train, validation


def main(argv: list[str] | None = None) -> int:
    """Parse, read the data, train; 2 with one sentence on bad input."""
    parser = argparse.ArgumentParser(prog="ldiffusion train", description=__doc__)
    parser.add_argument("recipe", type=Path, help="TOML file, see models/training/configs")
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's dataset roots lie in")
    parser.add_argument("--run", type=Path, required=True, help="folder for log, state and the finished model")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; torch's own default if 0")
    args = parser.parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recipe = load_recipe(args.recipe)
        train, validation = load_split(recipe, args.data)
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{recipe.name}: {len(train)} images to train on, {len(validation)} for validation\n")
    Trainer(recipe, train, validation, args.run).run()
    sys.stdout.write(f"model written to {args.run / 'model'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
