"""What the step sequence adds to an answer: `python -m benchmarks.sequence [--data ROOT] [--model nuclei]`.

The images of the test parts are segmented three times by the same weights: as they are; with noise and U-Net taken
out, so that every step gives back exactly what it was given (ẑ_0 = z_0); and with nothing in place of what the steps
give (ẑ_0 = 0). The table has Dice and the share of the labels that change. What a network makes that was trained
without the sequence is another question: that is its `-fast` sibling, or `none` in the studies of the forms.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import Figure, figure
from models.ldiffusion import Denoised
from models.predictor import Predictor
from models.training.crops.data import Sample, load_dataset
from models.training.evaluation.evaluate import LDiffusionSegmenter, segment_sample
from models.training.evaluation.metrics import confusion_matrix, scores
from models.training.recipe import load_recipe
from workers.core.command_line import CONTEXT

MODELS = Path(__file__).resolve().parents[1] / "models"
ZOO, RECIPES = MODELS / "zoo", MODELS / "training" / "configs"
WAYS = ("as it is", "without noise and U-Net", "nothing in its place")


class Found(NamedTuple):
    """Of one way: the confusion matrix of each image, and how many of its labels are not those of the first way."""

    confusion: list[NDArray[np.int64]]
    changed: list[float]


@contextmanager
def taken_out(predictor: Predictor, way: str) -> Iterator[None]:
    """Run a block with one of `WAYS`.

    Raises:
        ValueError: The model has no sequence.
    """
    model = predictor.model
    if model.config.form == "none":
        raise ValueError(f"{predictor.spec.name} has no step sequence")
    if way == WAYS[0]:
        yield
        return

    def stand_in(z0: Tensor, noise: Tensor, *_: Tensor | None) -> Denoised:
        scale = torch.zeros_like(z0) if model.config.predict_scale else None
        return Denoised(noise, scale, z0 if way == WAYS[1] else torch.zeros_like(z0))

    model.denoise = stand_in
    try:
        yield
    finally:
        del model.denoise  # the class's own is found again


def dice(found: Sequence[NDArray[np.int64]]) -> float:
    """Return the Dice of the first class after the background over all images."""
    return float(scores(np.sum(found, axis=0)).dice[1])


def look(predictor: Predictor, samples: Sequence[Sample]) -> dict[str, Found]:
    """Segment every sample in each way."""
    segmenter, found = LDiffusionSegmenter(predictor, objects=False), {way: Found([], []) for way in WAYS}
    for sample in samples:
        labels = {}
        for way in WAYS:
            with taken_out(predictor, way):
                labels[way] = segment_sample(segmenter, sample).labels
        for way, one in found.items():
            one.confusion.append(confusion_matrix(sample.labels, labels[way], len(predictor.classes)))
            one.changed.append(float((labels[way] != labels[WAYS[0]]).mean()))
    return found


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--model", default="nuclei", show_default=True)
def main(data: Path, model: str) -> None:
    predictor = Predictor.load(ZOO / model, "cpu", threads=1)
    print(f"{model}, seed 0, Dice of {predictor.classes[1].name} and share of labels that change")
    print(f"{'set':<24}" + "".join(f"{way:>30}" for way in WAYS))
    figures: list[Figure] = []
    for config in load_recipe(RECIPES / f"{model}.toml").tests:
        name = config.root.replace("/", "_")
        found = look(predictor, load_dataset(config, data, len(predictor.classes)))
        cells = [f"{dice(one.confusion):.4f} ({np.mean(one.changed):.4%})" for one in found.values()]
        print(f"{name:<24}" + "".join(f"{cell:>30}" for cell in cells))
        without, own = found[WAYS[1]], found[WAYS[0]]
        spread = (float(np.min(without.changed)), float(np.max(without.changed)))
        figures.append(Figure(f"sequence.labels_changed_{name}", float(np.mean(without.changed)), "share", spread))
        gain = 100 * (dice(own.confusion) - dice(without.confusion))
        figures.append(Figure(f"sequence.dice_points_{name}", gain, "points"))
    for row in figures:
        figure(*row)


if __name__ == "__main__":
    main()
