"""How far the confidence of `benchmarks.trust` can be believed: as it is, with a temperature, averaged over seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.predictor import Predictor
from models.training.crops.data import Sample
from models.training.evaluation.bootstrap import Interval, intervals
from models.training.evaluation.calibrate import Told, at_temperature, fit, tell
from models.training.evaluation.reliability import count, figures


class Row(NamedTuple):
    """Of one model, one set and one way: the figures `ece`, `aurc` and `nll`, and their intervals over images."""

    how: str
    values: dict[str, float]
    intervals: dict[str, Interval]


def averaged(seeds: Sequence[Told], classes: int) -> Told:
    """Return what several seeds give of one image as one output: the logarithm of the mean probabilities."""
    outputs = torch.cat([each.output for each in seeds])
    mean = outputs[:, :classes].softmax(dim=1).mean(dim=0, keepdim=True).clamp_min(1e-9).log()
    return replace(seeds[0], output=torch.cat([mean, outputs[:, classes:].mean(dim=0, keepdim=True)], dim=1))


def over_seeds(predictor: Predictor, samples: Sequence[Sample], seeds: int) -> list[list[Told]]:
    """Return what each seed gives, image by image."""
    return [list(tell(predictor, samples, seed)) for seed in range(seeds)]


def rows(predictor: Predictor, held_out: Sequence[Sample], samples: Sequence[Sample], seeds: int) -> Iterator[Row]:
    """Yield the ways of one model on one set: as it is, with a temperature, and both averaged over seeds if several.

    Args:
        predictor: The model; its own temperature is not used.
        held_out: The validation images of its recipe, on which temperatures are fitted.
        samples: The set.
        seeds: Of the noise field.
    """
    plain, classes = at_temperature(predictor, 1.0), len(predictor.classes)
    validation, test = (over_seeds(plain, each, seeds) for each in (held_out, samples))
    ways = {"": (validation[0], test[0])}
    if seeds > 1:
        ways["averaged_"] = _mean(validation, classes), _mean(test, classes)
    for way, (fitted_on, told) in ways.items():
        temperature = fit(fitted_on, classes)
        yield _row(f"{way}plain", plain, told)
        yield _row(f"{way}temperature", at_temperature(plain, temperature), told)


def _mean(seeds: list[list[Told]], classes: int) -> list[Told]:
    return [averaged(each, classes) for each in zip(*seeds, strict=True)]


def _row(how: str, predictor: Predictor, told: Sequence[Told]) -> Row:
    counts = np.stack([count(each.sample.labels, *each.planes(predictor)) for each in told])
    surprises = np.array([_surprise(each, predictor) for each in told])
    found = {path[0]: value for path, value in figures(counts.sum(axis=0)).items()}
    spans = {path[0]: value for path, value in intervals(counts, figures).items()}
    spans["nll"] = intervals(surprises, lambda total: {("nll",): float(total[0] / total[1])})[("nll",)]
    nll = float(surprises[:, 0].sum() / surprises[:, 1].sum())
    return Row(how, found | {"nll": nll}, spans)


def _surprise(told: Told, predictor: Predictor) -> NDArray[np.float64]:
    """Return the sum of −log p of the annotated class, and the number of pixels."""
    logits, reference = told.logits(len(predictor.classes))
    total = torch.nn.functional.cross_entropy(logits / predictor.spec.temperature, reference, reduction="sum")
    return np.array([float(total), len(reference)])
