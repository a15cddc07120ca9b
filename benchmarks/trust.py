"""What could tell that a model's answer is not to be trusted: `python -m benchmarks.trust [--data ../shared/data]`.

Novelty: clean pictures of 256 px at 0.5 µm per px (test part of tnbc, other organs of monuseg_external) are spoiled by
script, and scores of cells of 32 px are compared between a spoiled picture and the same cells of the clean one: AUROC,
0.5 where nothing is told. `organs` compares clean with clean, other organs with breast: high values there are false
alarms on tissue that the model segments well. Scores are fitted on a quarter of the clean training images. An alarm is
a mean over the picture above that of 19 in 20 images that the recipe keeps for validation.

Calibration: expected calibration error and area under risk and coverage of the confidence plane, and −log p of the
annotated class, over all pixels. Intervals are a bootstrap over images.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Figure, figure
from benchmarks.trust_artefacts import KINDS, spoil
from benchmarks.trust_calibration import rows
from benchmarks.trust_scores import CELL_PX, Pixels, Raw, Scores, in_cells, measure
from models.predictor import Predictor
from models.training.crops.data import DatasetConfig, Sample, iterate_dataset, resize_image, working_size
from models.training.evaluation.bootstrap import intervals
from models.training.evaluation.metrics import Figures
from workers.core.command_line import CONTEXT

ZOO = Path(__file__).resolve().parents[1] / "models" / "zoo"
TRAINING = (
    DatasetConfig("tnbc/train", 0.25, validation=("06_*", "07_*")),
    DatasetConfig("dsb2018_stained/train", 0.25, masks="inst_masks", binary=True, validation=("0*",)),
)
"""As in the recipes of both models, but for the boxes of a slide, of which none is kept for validation."""
SETS = {"tnbc_test": DatasetConfig("tnbc/test", 0.25), "monuseg_external": DatasetConfig("monuseg_external", 0.25)}
NAMES = "nuclei-fast", "nuclei-paper"
ORGANS = "organs"
SIDE_PX, STEPS, MOSTLY, ALARM = 256, 2048, 0.6, 0.95
SEED = 5
EVERY = 4
"""Of the training images every how many-th is measured, for what is usual."""

Floats = NDArray[np.float64]


class Picture(NamedTuple):
    """One picture, clean or not: scores of its cells, and which of them count."""

    source: str
    scores: dict[str, Floats]
    counts: NDArray[np.bool_]


class Two(NamedTuple):
    """Both models: that which reads the image alone, and that with the sequence."""

    fast: Predictor
    sequence: Predictor


def cut(sample: Sample, mpp: float) -> Pixels:
    """Return the upper left of an image at a model's mpp, at most `SIDE_PX`, its sides multiples of a cell."""
    image = resize_image(sample.image, *working_size(sample, mpp))
    height, width = (min(side, SIDE_PX) // CELL_PX * CELL_PX for side in image.shape[:2])
    return image[:height, :width]


def auroc(counts: NDArray[np.generic]) -> float:
    """Return the share of pairs in which the second is above the first, from (2, steps) counts by rising value."""
    clean, strange = counts.astype(np.float64)
    below = np.cumsum(clean) - clean / 2
    return float((strange * below).sum() / (clean.sum() * strange.sum())) if clean.sum() * strange.sum() else np.nan


def counted(clean: list[Floats], strange: list[Floats]) -> NDArray[np.int64]:
    """Return (pictures, 2, steps) counts of values, by steps of equal share of all of them."""
    everything = np.sort(np.concatenate([*clean, *strange]))
    edges = np.unique(everything[np.linspace(0, len(everything) - 1, min(STEPS, len(everything))).astype(int)])
    sides = [[np.bincount(np.searchsorted(edges, each), minlength=len(edges) + 1) for each in side]
             for side in (clean, strange)]  # fmt: skip
    return np.stack([np.array(side, np.int64) for side in sides], axis=1)


def compare(clean: list[Floats], strange: list[Floats]) -> tuple[float, tuple[float, float]]:
    """Return the AUROC and its 95 % interval over pictures, of which both lists have the same in the same order."""

    def statistic(total: NDArray[np.generic]) -> Figures:
        return {("auroc",): auroc(total)}

    counts = counted(clean, strange)
    span = intervals(counts, statistic)["auroc",]
    return auroc(counts.sum(axis=0)), (span.low, span.high)


class Novelty:
    """The first table. Args: the data's folder, both models, and how many images of each set are looked at."""

    def __init__(self, data: Path, models: Two, limit: int) -> None:
        self._models, self._mpp = models, models.fast.mpp
        train: list[Raw] = []
        kept: list[Raw] = []
        for config in TRAINING:
            for index, (sample, held_out) in enumerate(iterate_dataset(config, data, 2)):
                if held_out or index % EVERY == 0:
                    (kept if held_out else train).append(self._raw(cut(sample, self._mpp)))
        self._scores = Scores(train, models.sequence.model.config.schedule.timesteps)
        self.usual = {
            name: float(np.quantile([each[name].mean() for each in map(self._scores.of, kept)], ALARM))
            for name in self._scores.of(kept[0])
        }
        self._sets = {name: some(data, config, limit) for name, config in SETS.items()}
        self.clean = {name: [self._clean(each) for each in samples] for name, samples in self._sets.items()}

    def _raw(self, pixels: Pixels) -> Raw:
        return measure(pixels, *self._models)

    def _clean(self, sample: Sample) -> Picture:
        scores = self._scores.of(self._raw(cut(sample, self._mpp)))
        return Picture(sample.name, scores, np.ones(next(iter(scores.values())).shape, np.bool_))

    def spoiled(self, kind: str) -> Iterator[Picture]:
        """Yield every clean picture spoiled."""
        for index, sample in enumerate(each for samples in self._sets.values() for each in samples):
            pixels, where = spoil(kind, cut(sample, self._mpp), SEED + index)
            mostly = in_cells(where[..., np.newaxis])[..., 0] >= MOSTLY
            yield Picture(sample.name, self._scores.of(self._raw(pixels)), mostly)

    def measure(self) -> None:
        """Print the table and its figures."""
        clean = [each for pictures in self.clean.values() for each in pictures]
        strange = {kind: list(self.spoiled(kind)) for kind in KINDS}
        print(f"{'AUROC of cells':20}" + "".join(f"{kind:>13}" for kind in (*KINDS, ORGANS)))
        alarms: list[str] = []
        lines: list[Figure] = []
        for name, usual in self.usual.items():
            found = {kind: _of_cells(clean, pictures, name) for kind, pictures in strange.items()}
            breast, organs = (self.clean[which] for which in SETS)
            found[ORGANS] = _of_sides(breast, organs, name)
            print(f"{name:20}" + "".join(f"{value:13.3f}" for value, _ in found.values()))
            lines += [Figure(f"trust.auroc.{name}.{kind}", value, "", span) for kind, (value, span) in found.items()]
            raised = {kind: _above(pictures, name, usual) for kind, pictures in (strange | self.clean).items()}
            alarms.append(f"{name:20}" + "".join(f"{share:13.0%}" for share in raised.values()))
            lines += [Figure(f"trust.alarm.{name}.{kind}", share, "of pictures") for kind, share in raised.items()]
        print(f"\n{'alarms':20}" + "".join(f"{kind[:12]:>13}" for kind in (*KINDS, *SETS)))
        print("\n".join(alarms) + "\n")
        for line in lines:
            figure(*line)


def some(data: Path, config: DatasetConfig, limit: int) -> list[Sample]:
    """Return at most so many images of a set, spread over it."""
    samples = [sample for sample, _ in iterate_dataset(config, data, 2)]
    return samples[:: max(1, -(-len(samples) // limit))]


def _of_cells(clean: list[Picture], strange: list[Picture], name: str) -> tuple[float, tuple[float, float]]:
    pairs = list(zip(clean, strange, strict=True))
    before, after = ([(a, b)[side].scores[name][b.counts] for a, b in pairs] for side in (0, 1))
    return compare(before, after)


def _of_sides(first: list[Picture], second: list[Picture], name: str) -> tuple[float, tuple[float, float]]:
    """Compare pictures of two sets: each is drawn by itself, and has no cells on the other side."""
    nothing = np.zeros(0)
    before, after = ([each.scores[name].ravel() for each in side] for side in (first, second))
    return compare([*before, *[nothing] * len(after)], [*[nothing] * len(before), *after])


def _above(pictures: list[Picture], name: str, usual: float) -> float:
    """Return the share of pictures whose cells that count have a mean above what is usual."""
    means = [each.scores[name][each.counts].mean() for each in pictures if each.counts.any()]
    return float(np.mean(np.array(means) > usual))


def calibration(data: Path, predictors: Sequence[Predictor], limit: int, seeds: int) -> None:
    """Print the second table and its figures; what has no sequence has one seed."""
    held_out = [sample for config in TRAINING for sample, kept in iterate_dataset(config, data, 2) if kept]
    print(f"{'confidence':44}{'ECE':>9}{'NLL':>9}{'AURC':>9}")
    lines: list[Figure] = []
    for predictor in predictors:
        count = seeds if predictor.model.config.form != "none" else 1
        for name, config in SETS.items():
            for row in rows(predictor, held_out, some(data, config, limit), count):
                ece, nll, aurc = (row.values[key] for key in ("ece", "nll", "aurc"))
                label = f"{predictor.spec.name} {name} {row.how}"
                print(f"{label:44}{ece:9.4f}{nll:9.4f}{aurc:9.4f}", flush=True)
                for key, value in row.values.items():
                    span = row.intervals[key]
                    title = f"trust.{key}.{predictor.spec.name}.{name}.{row.how}"
                    lines.append(Figure(title, value, "", (span.low, span.high)))
    print()
    for line in lines:
        figure(*line)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), help="LDIFFUSION_TEST_DATA, else ../shared/data.")
@click.option("--limit", default=4, show_default=True, help="Images of each set that are looked at, at most.")
@click.option("--seeds", default=2, show_default=True, help="Of the noise field, that are averaged.")
@click.option("--model", "names", type=click.Choice(NAMES), multiple=True, default=NAMES, help="Whose confidence.")
@click.option("--part", type=click.Choice(["novelty", "calibration", "both"]), default="both", show_default=True)
def main(data: Path | None, limit: int, seeds: int, names: tuple[str, ...], part: str) -> None:
    folder = data or Path(os.environ.get("LDIFFUSION_TEST_DATA") or "../shared/data")
    models = Two(*(Predictor.load(ZOO / name, "cpu") for name in NAMES))
    if part != "calibration":
        with torch.inference_mode():
            Novelty(folder, models, limit).measure()
    if part != "novelty":
        calibration(folder, [each for each in models if each.spec.name in names], limit, seeds)


if __name__ == "__main__":
    main()
