"""Each row of one or several studies minus one of them, paired over draws of labelled images and patients held out.

A seed of a study with folds is a draw: which images have labels, and which patients are held out. Rows are compared
within each draw, on the same images; the differences are averaged over the draws, and then over the studies. How far
that would move with other draws, and with other images of the kind, says a bootstrap over both. With one number for
each row, the chance that any of several rows that are worth nothing looks like something is held down by Holm's
method (Scand. J. Statist. 6, 1979).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.assess import VALIDATION
from models.training.evaluation.bootstrap import resample_weights
from models.training.study.plan import Study, Variant
from models.training.study.results import evaluation_file, runs_of

_DICE: Final = "dice."
_RESAMPLES: Final = 10_000
_PERCENTILES: Final = (2.5, 97.5)

Numbers: TypeAlias = NDArray[np.float64]
Files: TypeAlias = Callable[[Study, Variant], Mapping[int, Path]]
"""Gives seed → what was measured of a row of a study."""


@dataclass(frozen=True)
class Paired:
    """Two rows on the same draws.

    Attributes:
        names: Of the images held out, for each draw.
        first: Confusion matrices (images, classes, classes) of one row, for each draw.
        second: The same of the other.
        label: Class whose Dice is compared.
    """

    names: tuple[tuple[str, ...], ...]
    first: tuple[NDArray[np.int64], ...]
    second: tuple[NDArray[np.int64], ...]
    label: int


@dataclass(frozen=True)
class Effect:
    """A mean difference in Dice, 0 to 1, its 95 % interval, and the two-sided chance of it where there is none."""

    value: float
    low: float
    high: float
    chance: float


def draws_markdown(studies: Sequence[Study], out: Path) -> str:
    """Return a table for every step kept and for the end of the runs; rows that lack a draw show how many are.

    With steps kept, a last table takes of each row and draw the end that is better in the mean over the row's other
    draws: a draw has no say in what is chosen for it.

    Raises:
        ValueError: The studies do not have the same rows and `versus`, or show no Dice first.
    """
    _check(studies)
    first = studies[0]
    kept = first.resolve(first.variants[0], first.seeds[0]).stage("stage2").keep_steps
    parts = [
        f"#### {' and '.join(study.name for study in studies)}: minus `{first.versus}`",
        "Dice in points, mean over draws"
        + (" and studies" if len(studies) > 1 else "")
        + ". Interval: 95 % of a bootstrap over draws and images. p: two-sided, by the same bootstrap; after Holm: for "
        "all rows together.",
    ]
    for step in (*kept, 0):
        parts += [f"After {step} steps:" if step else "At the end:", _table(studies, partial(_files, out, step))]
    if kept:
        better = partial(_better, out, (0, *kept))
        parts += [
            "Of each row and draw, the better of these in the mean over its other draws:",
            _table(studies, better),
        ]
    return "\n\n".join(parts)


def effect(parts: Sequence[Paired], resamples: int = _RESAMPLES, seed: int = 0) -> Effect:
    """Return the difference of two rows: the mean over draws, and over studies.

    Draws are drawn anew, and of every set of images held out its images, alike for both rows and for all draws that
    hold out the same.

    Args:
        parts: One for each study.
        resamples: Sets drawn.
        seed: Of the draws.
    """
    whole = [float(_differences(one, None).mean()) for one in parts]
    drawn = np.zeros(resamples)
    for place, one in enumerate(parts):
        each = _differences(one, (resamples, seed + 1000 * place))
        weights = resample_weights(len(one.names), resamples, seed + 1000 * place + 999)
        drawn += (weights * each).sum(axis=1) / len(one.names) / len(parts)
    low, high = np.percentile(drawn, _PERCENTILES).tolist()
    below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
    chance = min(1.0, 2 * (min(below, above) + 1) / (resamples + 1))
    return Effect(float(np.mean(whole)), low, high, chance)


def holm(chances: Sequence[float]) -> list[float]:
    """Return the chances as Holm's step-down method raises them, in their own order."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    found, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = highest
    return found


def _differences(one: Paired, resampling: tuple[int, int] | None) -> Numbers:
    """Return the difference of every draw, (1, draws), or of every resample of its images, (resamples, draws)."""
    groups = sorted(set(one.names))
    columns = []
    for names, first, second in zip(one.names, one.first, one.second, strict=True):
        if resampling is None:
            weights = np.ones((1, len(names)), np.int64)
        else:
            weights = resample_weights(len(names), resampling[0], resampling[1] + groups.index(names))
        columns.append(_dice(weights, first, one.label) - _dice(weights, second, one.label))
    return np.stack(columns, axis=1)


def _dice(weights: NDArray[np.int64], counts: NDArray[np.int64], label: int) -> Numbers:
    """Return Dice of one class from weighted sums of matrices (images, reference, answer), (resamples,)."""
    hit = weights @ counts[:, label, label]
    sizes = weights @ (counts[:, label, :].sum(axis=1) + counts[:, :, label].sum(axis=1))
    # Where nothing of the class is and nothing is found, nothing is wrong.
    return np.where(sizes > 0, 2 * hit / np.maximum(sizes, 1), 1.0)


def _table(studies: Sequence[Study], files: Files) -> str:
    versus = studies[0].versus
    rows: list[tuple[str, str, Effect | None]] = []
    effects: list[Effect] = []
    for variant in (one for one in studies[0].variants if one.name != versus):
        parts = [_paired(study, study.variant(variant.name), files) for study in studies]
        if any(one is None for one in parts):
            rows.append((variant.name, _count(studies, variant, files), None))
            continue
        effects.append(effect([one for one in parts if one is not None]))
        rows.append((variant.name, _count(studies, variant, files), effects[-1]))
    raised = iter(holm([one.chance for one in effects]))
    lines = ["| variant | draws | difference | p | after Holm |", "| --- | --- | --- | --- | --- |"]
    for name, count, found in rows:
        cells = ["–", "–", "–"]
        if found is not None:
            interval = f"({100 * found.low:+.2f} to {100 * found.high:+.2f})"
            cells = [f"{100 * found.value:+.2f} {interval}", f"{found.chance:.4f}", f"{next(raised):.4f}"]
        lines.append(f"| {' | '.join([name, count, *cells])} |")
    return "\n".join(lines)


def _count(studies: Sequence[Study], variant: Variant, files: Files) -> str:
    each = [(len(files(study, study.variant(variant.name))), len(study.seeds)) for study in studies]
    return " + ".join(f"{found} of {wanted}" for found, wanted in each)


def _paired(study: Study, variant: Variant, files: Files) -> Paired | None:
    """Return a row and the study's `versus` on the draws that both have; None if they share none."""
    own, other = files(study, variant), files(study, study.variant(study.versus))
    seeds = sorted(set(own) & set(other))
    if not seeds:
        return None
    first, second = ([_read(found[seed]) for seed in seeds] for found in (own, other))
    names = tuple(_names(one) for one in first)
    if names != tuple(_names(one) for one in second):
        raise ValueError(f"{study.name}: {variant.name} and {study.versus} are not measured on the same images")
    return Paired(names, tuple(map(_counts, first)), tuple(map(_counts, second)), _label(study, first[0]))


def _files(out: Path, step: int, study: Study, variant: Variant) -> dict[int, Path]:
    """Return seed → what was measured at a step of a row's runs, 0 for the end."""
    runs = {run.seed: evaluation_file(run.folder(study, out), VALIDATION, step) for run in runs_of(study, variant, out)}
    return {seed: path for seed, path in runs.items() if path.is_file()}


def _better(out: Path, steps: Sequence[int], study: Study, variant: Variant) -> dict[int, Path]:
    """Return the same of the step that is best in the mean over the other draws; of equal ones the first given."""
    files = [_files(out, step, study, variant) for step in steps]
    seeds = sorted(set(files[0]).intersection(*files[1:]))
    dice = np.array([[_whole_dice(study, of_step[seed]) for seed in seeds] for of_step in files])
    best = (dice.sum(axis=1, keepdims=True) - dice).argmax(axis=0)
    return {seed: files[place][seed] for seed, place in zip(seeds, best.tolist(), strict=True)}


def _whole_dice(study: Study, path: Path) -> float:
    evaluation = _read(path)
    counts = _counts(evaluation)
    return float(_dice(np.ones((1, len(counts)), np.int64), counts, _label(study, evaluation))[0])


def _label(study: Study, evaluation: dict[str, Any]) -> int:
    label: int = evaluation["classes"].index(study.figures[0].removeprefix(_DICE))
    return label


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _names(evaluation: dict[str, Any]) -> tuple[str, ...]:
    return tuple(image["name"] for image in evaluation["per_image"])


def _counts(evaluation: dict[str, Any]) -> NDArray[np.int64]:
    return np.array([image["confusion"] for image in evaluation["per_image"]], np.int64)


def _check(studies: Sequence[Study]) -> None:
    kinds = {(study.versus, tuple(variant.name for variant in study.variants)) for study in studies}
    if len(kinds) > 1:
        raise ValueError(f"{', '.join(study.name for study in studies)} do not have the same variants and versus")
    for study in studies:
        if not study.versus:
            raise ValueError(f"{study.name} has no versus: there is nothing to compare with")
        if not study.figures[0].startswith(_DICE):
            raise ValueError(f"{study.name}: the first figure is {study.figures[0]!r}; accepted: {_DICE}CLASS")
