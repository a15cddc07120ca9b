"""Fit the temperature of a model's confidence on its recipe's validation images, and write it into the model folder.

`python -m models.training.evaluation.calibrate RECIPE.toml --data ROOT --model models/zoo/NAME`

One number divides the classes' logits before the softmax: that which makes the annotation of the validation images
most likely (Guo et al., On Calibration of Modern Neural Networks, 2017). No label depends on it. How far the
confidence is off on the recipe's test sets goes into `config.json`, and into the card between the two lines `BEGIN` and
`END`, where the card has them.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from models import checkpoint
from models.command_line import CONTEXT, PATH, fail, run
from models.predictor import Predictor
from models.training.crops.data import Sample, load_dataset, resize_image, working_size
from models.training.evaluation.evaluate import Core, annotated_grid, padded_logits
from models.training.evaluation.marked import fill_or_tell
from models.training.evaluation.metrics import IGNORE
from models.training.evaluation.reliability import count, expected_error
from models.training.recipe import Recipe, load_recipe
from models.training.splits import load_split

BEGIN: Final = "<!-- calibration: written by models.training.evaluation.calibrate -->"
END: Final = "<!-- end of calibration -->"
CARD: Final = "README.md"
LEAST: Final = 0.05
"""An expected calibration error up to this is what is aimed at."""

_RANGE: Final = (0.1, 10.0)


@dataclass(frozen=True)
class Told:
    """What a model's network gives for one image, and what is annotated there.

    Attributes:
        sample: The image with its annotation.
        output: As `Predictor.planes` takes it, with a halo.
        core: Where the image lies in it.
    """

    sample: Sample
    output: Tensor
    core: Core

    def planes(self, predictor: Predictor) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return labels and confidence on the grid of the annotation, as the model ships them."""
        labels, confidence = (plane[self.core] for plane in predictor.planes(self.output)[:2])
        grid = annotated_grid(self.sample, *labels.shape)
        return labels[grid], confidence[grid]

    def logits(self, classes: int) -> tuple[Tensor, Tensor]:
        """Return logits (pixels, classes) and annotation (pixels,) of every other row and column, where annotated."""
        image, rows, cols = self.core
        core = self.output[image, :classes, rows, cols]
        y, x = annotated_grid(self.sample, *core.shape[1:])
        rows_at, cols_at = torch.from_numpy(y[::2]), torch.from_numpy(x[:, ::2])
        reference = torch.from_numpy(self.sample.labels[::2, ::2].astype(np.int64))
        known = reference != IGNORE
        return core[:, rows_at, cols_at].permute(1, 2, 0)[known], reference[known]


def tell(predictor: Predictor, samples: Iterable[Sample], seed: int = 0) -> Iterator[Told]:
    """Yield what a model's network gives for each image, continued by its mirror."""
    for sample in samples:
        image = resize_image(sample.image, *working_size(sample, predictor.mpp))
        yield Told(sample, *padded_logits(predictor, image, seed))


def fit(told: Sequence[Told], classes: int) -> float:
    """Return the temperature, 0.1 to 10, at which the annotation is most likely, to three digits after the point.

    Raises:
        ValueError: No pixel is annotated.
    """
    pairs = [each.logits(classes) for each in told]
    if not sum(len(reference) for _, reference in pairs):
        raise ValueError("a temperature is fitted on annotated validation images, and there are none")
    logits, reference = (torch.cat(parts) for parts in zip(*pairs, strict=True))

    def surprise(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / float(np.exp(log_temperature)), reference))

    found = minimize_scalar(surprise, bounds=tuple(np.log(_RANGE)), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 3)


def at_temperature(predictor: Predictor, temperature: float) -> Predictor:
    """Return the same model with another temperature; the weights are shared."""
    spec = replace(predictor.spec, temperature=temperature)
    return Predictor(predictor.model, spec, predictor.digest, predictor.device)


def off_by(told: Sequence[Told], predictor: Predictor) -> float:
    """Return the expected calibration error of the confidence plane over all pixels of some images."""
    return expected_error(np.sum([count(each.sample.labels, *each.planes(predictor)) for each in told], axis=0))


def calibrate(
    recipe: Recipe, data_root: Path, folder: Path, sets: Sequence[str] = ()
) -> dict[str, tuple[float, float]]:
    """Fit, measure on the recipe's test sets, and write `config.json` and the card of a model folder.

    Args:
        recipe: The model's.
        data_root: Folder that its dataset roots lie in.
        folder: The model folder.
        sets: Roots of the test sets to measure on; all of the recipe if none is given.

    Returns:
        The expected calibration error of each test set, without and with the temperature.

    Raises:
        CheckpointError: The folder is no model.
        FileNotFoundError: A dataset is missing.
        ValueError: The recipe keeps no annotated image for validation, its classes are not the model's, or it has no
            test set of a name in `sets`.
    """
    roots = [test.root for test in recipe.tests]
    if unknown := sorted(set(sets) - set(roots)):
        raise ValueError(f"{unknown[0]} is no test set of the recipe; accepted: {', '.join(roots)}")
    model, spec, digest = checkpoint.load(folder)
    names, wanted = [one.name for one in spec.classes], [one.name for one in recipe.classes]
    if names != wanted:
        raise ValueError(f"the model's classes are {', '.join(names)}; accepted: the recipe's, {', '.join(wanted)}")
    plain = Predictor(model, replace(spec, temperature=1.0), digest, torch.device("cpu"))
    held_out = list(tell(plain, load_split(recipe, data_root)[1]))
    fitted = at_temperature(plain, fit(held_out, len(spec.classes)))
    found = {}
    for test in (one for one in recipe.tests if not sets or one.root in sets):
        told = list(tell(plain, load_dataset(test, data_root, len(recipe.classes))))
        found[test.root] = off_by(told, plain), off_by(told, fitted)
    figures = spec.figures | {f"ece_{name.replace('/', '_')}": round(after, 4) for name, (_, after) in found.items()}
    checkpoint.save(folder, model, replace(fitted.spec, figures=figures))
    fill_or_tell(folder / CARD, BEGIN, END, card(fitted.spec.temperature, len(held_out), found))
    return found


def card(temperature: float, images: int, found: dict[str, tuple[float, float]]) -> str:
    """Return what the card says of the confidence."""
    rows = "".join(f"| `{name}` | {before:.4f} | {after:.4f} |\n" for name, (before, after) in found.items())
    return (
        f"Temperature {temperature:g}, fitted on {images} images held out of training. Expected calibration error of\n"
        f"the confidence over all pixels, 15 bins; {LEAST:g} is aimed at:\n\n"
        f"| set | without | with the temperature |\n| --- | --- | --- |\n{rows}"
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, fit, write; 2 with one sentence on bad input."""
    return run(_command, "models.training.evaluation.calibrate", argv)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("recipe", type=PATH)
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--model", "folder", type=PATH, required=True, help="model folder, written anew")
@click.option("--set", "sets", multiple=True, help="root of a test set to measure on; all of the recipe if none")
def _command(recipe: Path, data: Path, folder: Path, sets: tuple[str, ...]) -> int:
    try:
        found = calibrate(load_recipe(recipe), data, folder, sets)
    except (FileNotFoundError, ValueError) as error:
        return fail(error)
    sys.stdout.write("".join(f"{name} {before:.4f} -> {after:.4f}\n" for name, (before, after) in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
