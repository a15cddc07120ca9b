"""Measure a trained model on its recipe's held-out images and test sets and write it, with the figures, into a folder.

`python -m models.training.evaluation.publish RECIPE.toml --data ROOT --run FOLDER --out models/zoo/NAME`

The figures go into `config.json`, and into the card (`README.md`) between the two lines `BEGIN` and `END`, where the
card has them.
"""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import torch

from models import checkpoint
from models.command_line import CONTEXT, PATH, fail, run
from models.predictor import Predictor
from models.training.crops.data import Sample, load_dataset
from models.training.evaluation.evaluate import LDiffusionSegmenter, measure
from models.training.evaluation.marked import fill_or_tell
from models.training.evaluation.metric_names import METRICS
from models.training.evaluation.report import text, with_interval
from models.training.evaluation.summary import Evaluation, Setting, summarise
from models.training.recipe import Recipe, load_recipe
from models.training.splits import load_split

BEGIN: Final = "<!-- figures: written by models.training.evaluation.publish -->"
END: Final = "<!-- end of figures -->"
CARD: Final = "README.md"
HELD_OUT: Final = "held out of training"
OBJECT_FIGURES: Final = ("pq", "f1", "count_error")


def sets_of(recipe: Recipe, data_root: Path) -> dict[str, list[Sample]]:
    """Return what a model is measured on: the images kept from training, if there are some, and every test set."""
    _, held_out = load_split(recipe, data_root)
    tests = {test.root: load_dataset(test, data_root, len(recipe.classes)) for test in recipe.tests}
    return ({HELD_OUT: held_out} if held_out else {}) | tests


def assess(predictor: Predictor, name: str, samples: list[Sample]) -> Evaluation:
    """Evaluate on one set under the *tissue* protocol, and print the tables."""
    names = tuple(c.name for c in predictor.classes)
    setting = Setting(predictor.spec.name, predictor.digest, name, names)
    evaluation = summarise(setting, measure(LDiffusionSegmenter(predictor), samples))
    sys.stdout.write(f"{text(evaluation)}\n")
    return evaluation


def card_figures(evaluation: Evaluation) -> dict[str, float]:
    """Return `dice_<class>_<set>` of every class but the background and, with objects, `pq_<set>` and others.

    The interval stands beside each as `…_low` and `…_high`. A class that the set's reference does not have is left out.
    """
    suffix = evaluation.setting.dataset.replace("/", "_").replace(" ", "_")
    keys = {f"dice_{name}_{suffix}": ("dice", name) for name in evaluation.setting.classes[1:]}
    keys |= {f"{name}_{suffix}": ("instances", name) for name in OBJECT_FIGURES}
    found: dict[str, float] = {}
    for key, path in keys.items():
        if math.isnan(evaluation.figures.get(path, math.nan)):
            continue
        found[key] = round(evaluation.figures[path], 4)
        if interval := evaluation.intervals.get(path):
            found |= {f"{key}_low": round(interval.low, 4), f"{key}_high": round(interval.high, 4)}
    return found


def card_table(evaluations: list[Evaluation]) -> str:
    """Return the card's table: a row for each set, with every class's Dice and its 95 % interval, and its objects'."""
    names = evaluations[0].setting.classes[1:]
    objects = OBJECT_FIGURES if any(one.measured.objects is not None for one in evaluations) else ()
    headings = [*(f"{name} {METRICS['dice'].heading}" for name in names), *(METRICS[name].heading for name in objects)]
    paths = [*(("dice", name) for name in names), *(("instances", name) for name in objects)]
    rows = [
        ["set", "images", *(f"{heading} (95 % interval)" for heading in headings)],
        ["---"] * (2 + len(headings)),
    ]
    for one in evaluations:
        cells = [with_interval(one.figures.get(path, math.nan), one.intervals.get(path)) for path in paths]
        name = one.setting.dataset
        rows.append([name if name == HELD_OUT else f"`{name}`", str(len(one.measured.names)), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def publish(recipe: Recipe, data_root: Path, run_dir: Path, out: Path) -> dict[str, float]:
    """Write the model folder with the recipe's tile and halo sizes and the measured figures, and return these."""
    model, spec, digest = checkpoint.load(run_dir / "model")
    sized = replace(spec, tile_px=recipe.tile_px, halo_px=recipe.halo_px)
    # Measured in memory: a folder that is there keeps its model until all figures of the new one are.
    predictor = Predictor(model, sized, digest, torch.device("cpu"))
    evaluations = [assess(predictor, name, samples) for name, samples in sets_of(recipe, data_root).items()]
    figures: dict[str, float] = {}
    for evaluation in evaluations:
        figures |= card_figures(evaluation)
    checkpoint.save(out, model, replace(sized, figures=figures))
    if evaluations:
        fill_or_tell(out / CARD, BEGIN, END, card_table(evaluations))
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, write; 2 with one sentence on bad input."""
    return run(_command, "models.training.evaluation.publish", argv)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("recipe", type=PATH)
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--run", "run_dir", type=PATH, required=True, help="folder of the finished run")
@click.option("--out", type=PATH, required=True, help="model folder to write")
def _command(recipe: Path, data: Path, run_dir: Path, out: Path) -> int:
    try:
        figures = publish(load_recipe(recipe), data, run_dir, out)
    except (FileNotFoundError, ValueError) as error:
        return fail(error)
    sys.stdout.write("".join(f"{name} {value:.4f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
