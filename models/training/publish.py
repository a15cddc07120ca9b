"""Measure a trained model on its recipe's test sets and write it, with these figures, into a model folder.

`python -m models.training.publish RECIPE.toml --data ROOT --run FOLDER --out models/zoo/NAME`
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from models import checkpoint
from models.predictor import Predictor
from models.training.data import DatasetConfig, load_dataset
from models.training.evaluate import evaluate, report
from models.training.metrics import scores
from models.training.recipe import Recipe, load_recipe


def measure(predictor: Predictor, test: DatasetConfig, data_root: Path) -> dict[str, float]:
    """Return `dice_<class>_<set>` for every class but the background, and print the table."""
    confusion = evaluate(predictor, load_dataset(test, data_root, len(predictor.classes)))
    result = scores(confusion)
    sys.stdout.write(f"{test.root}\n{report(predictor, confusion, result)}\n")
    suffix = test.root.replace("/", "_")
    return {f"dice_{c.name}_{suffix}": round(result.dice[c.index], 4) for c in predictor.classes[1:]}


def publish(recipe: Recipe, data_root: Path, run_dir: Path, out: Path) -> dict[str, float]:
    """Write the model folder with the recipe's tile and halo sizes and the measured figures, and return these."""
    model, spec, digest = checkpoint.load(run_dir / "model")
    sized = replace(spec, tile_px=recipe.tile_px, halo_px=recipe.halo_px)
    # Measured in memory: a folder that is there keeps its model until all figures of the new one are.
    predictor = Predictor(model, sized, digest, torch.device("cpu"))
    figures: dict[str, float] = {}
    for test in recipe.tests:
        figures |= measure(predictor, test, data_root)
    checkpoint.save(out, model, replace(sized, figures=figures))
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="models.training.publish", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's dataset roots lie in")
    parser.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(argv)
    try:
        figures = publish(load_recipe(args.recipe), args.data, args.run, args.out)
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("".join(f"{name} {value:.4f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
