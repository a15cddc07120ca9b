"""Evaluate a model on a dataset folder: `python -m models.training.evaluation.evaluate MODEL DATASET --mpp 0.25`.

Protocol: each image is resampled to the model's mpp, continued past its edges by its mirror image (it was cut from
tissue), segmented in one piece with the shipped noise field, and the label map is scaled back (nearest) to the
annotation's grid, where it is compared with the annotation as it is. One confusion matrix over all images. Objects are
told apart at the model's mpp where the model gives an interior map, and their numbers are scaled back alike.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.command_line import CONTEXT, DEVICE, PATH, fail, run
from models.folder import ModelClass
from models.predictor import Predictor
from models.training.crops.data import DatasetConfig, Sample, load_dataset, resize_image, working_size
from models.training.datasets.registry import ADAPTERS, open_dataset
from models.training.evaluation.instances import instance_counts
from models.training.evaluation.metrics import IGNORE, PROTOCOLS, confusion_matrix
from models.training.evaluation.report import markdown, per_image, text, to_dict
from models.training.evaluation.segmenter import Answer, Segmenter
from models.training.evaluation.splitting import class_objects, components, split_instances
from models.training.evaluation.summary import (
    UNITS,
    Evaluation,
    Measured,
    ObjectCounts,
    Reference,
    Setting,
    SplitBy,
    summarise,
)

Core = tuple[int, slice, slice]

_BINARY: Final = 2
"""Classes of a model whose masks are cut into components where nobody numbered objects."""


@dataclass(frozen=True)
class LDiffusionSegmenter:
    """A loaded L-Diffusion model as a `Segmenter`, with one seed of the noise field.

    Attributes:
        predictor: The model.
        seed: Of the noise field.
        objects: Whether to tell objects apart, which takes time. Done where the model gives an interior map.
    """

    predictor: Predictor
    seed: int = 0
    objects: bool = True

    @property
    def mpp(self) -> float:
        """µm per px of the images it takes."""
        return self.predictor.mpp

    @property
    def classes(self) -> Sequence[ModelClass]:
        """Its classes, background first."""
        return self.predictor.classes

    def __call__(self, image: NDArray[np.uint8], /) -> Answer:
        """Label one image (H, W, 3), with a mirrored halo around it."""
        output, core = padded_logits(self.predictor, image, self.seed)
        whole, _, *interior = self.predictor.planes(output)
        labels = whole[core]
        if not interior or not self.objects:
            return Answer(labels)
        return Answer(labels, class_objects(labels, interior[0][core], self.mpp, self.predictor.spec.objects))


def mirrored(predictor: Predictor, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """Continue an image (H, W, 3) by its mirror, a halo around it and up to the next stride, and say where it lies."""
    height, width = image.shape[:2]
    stride, halo = predictor.stride_px, predictor.halo_px
    rows, cols = ((halo, halo + -length % stride) for length in (height, width))
    padded = np.pad(image, (rows, cols, (0, 0)), mode="reflect")
    return padded, (slice(halo, halo + height), slice(halo, halo + width))


def padded_logits(predictor: Predictor, image: NDArray[np.uint8], seed: int) -> tuple[Tensor, Core]:
    """Return a model's output for one image (H, W, 3) with a mirrored halo around it, and where the image lies in it.

    The output is (1, `head_outputs`, H', W'), as `Predictor.planes` takes it; the place holds for each of its planes.
    """
    padded, inside = mirrored(predictor, image)
    origin = -predictor.halo_px
    return predictor.logits(padded[None], [(origin, origin)], seed), (0, *inside)


def annotated_grid(sample: Sample, height: int, width: int) -> tuple[NDArray[np.int64], ...]:
    """Return what takes a plane (height, width) of the model's mpp to the grid of the annotation."""
    rows = (np.arange(sample.labels.shape[0]) * height) // sample.labels.shape[0]
    cols = (np.arange(sample.labels.shape[1]) * width) // sample.labels.shape[1]
    return np.ix_(rows, cols)


def segment_sample(segmenter: Segmenter, sample: Sample) -> Answer:
    """Segment a sample and return the answer on its own grid, the annotation's.

    Raises:
        ValueError: The segmenter's answer is not of its image's size.
    """
    width, height = working_size(sample, segmenter.mpp)
    answer = segmenter(resize_image(sample.image, width, height))
    if answer.labels.shape != (height, width):
        raise ValueError(
            f"{sample.name}: the image is {(height, width)}, the segmenter's labels are {answer.labels.shape}"
        )
    grid = annotated_grid(sample, height, width)
    return Answer(answer.labels[grid], None if answer.objects is None else answer.objects[grid])


def measure(segmenter: Segmenter, samples: Iterable[Sample]) -> Measured:
    """Segment every sample and count, image by image; objects too if every sample has any for a reference."""
    classes = len(segmenter.classes)
    names, groups, confusion, objects = [], [], [], []
    split_by: SplitBy | None = None
    for sample in samples:
        answer = segment_sample(segmenter, sample)
        names.append(sample.name)
        groups.append(sample.group or sample.name)
        confusion.append(confusion_matrix(sample.labels, answer.labels, classes))
        split_by = "distance" if answer.objects is None else "model"
        if sample.instances is not None or classes == _BINARY:
            objects.append(_count_objects(sample, answer))
    counts = np.stack(confusion) if confusion else np.zeros((0, classes, classes), np.int64)
    found = None
    if split_by is not None and len(objects) == len(names):
        kinds, numbers = zip(*objects, strict=True)
        found = ObjectCounts(np.stack(numbers), kinds, split_by)
    return Measured(tuple(names), tuple(groups), counts, found)


def _count_objects(sample: Sample, answer: Answer) -> tuple[Reference, NDArray[np.float64]]:
    """Count objects whatever their class, outside of what is not annotated, and tell what the reference's are."""
    known = sample.labels != IGNORE
    found = split_instances((answer.labels > 0) & known, sample.mpp) if answer.objects is None else answer.objects
    if sample.instances is None:
        kind: Reference = "components"
        annotated = components((sample.labels > 0) & known, sample.mpp)
    else:
        kind, annotated = "instances", sample.instances
    return kind, instance_counts(*(np.where(known, numbers, 0) for numbers in (annotated, found)))


def evaluate(predictor: Predictor, samples: Iterable[Sample], seed: int = 0) -> NDArray[np.int64]:
    """Return the confusion matrix of an L-Diffusion model over all samples."""
    return total_confusion(LDiffusionSegmenter(predictor, seed, objects=False), samples)


def total_confusion(segmenter: Segmenter, samples: Iterable[Sample]) -> NDArray[np.int64]:
    """Return one confusion matrix over all samples, (classes, classes)."""
    total = np.zeros((len(segmenter.classes),) * 2, np.int64)
    for sample in samples:
        total += confusion_matrix(sample.labels, segment_sample(segmenter, sample).labels, len(segmenter.classes))
    return total


def write(evaluation: Evaluation, out: Path) -> None:
    """Write `evaluation.json`, with the counts of every image, and `evaluation.md`."""
    out.mkdir(parents=True, exist_ok=True)
    whole = to_dict(evaluation) | {"per_image": per_image(evaluation.measured)}
    (out / "evaluation.json").write_text(
        json.dumps(whole, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (out / "evaluation.md").write_text(markdown(evaluation), encoding="utf-8")


def _dataset(folder: Path, layout: dict[str, Any]) -> tuple[DatasetConfig, Path]:
    """Return the dataset's settings and the folder it lies in; the test part where there is one."""
    config = DatasetConfig(root=folder.name, **layout)
    if not config.split:
        splits = {record.split for record in open_dataset(config, folder).records}
        config = replace(config, split="test" if "test" in splits else "all")
    return config, folder.parent


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, print the tables and one JSON line; 2 with one sentence on bad input."""
    return run(_command, "ldiffusion evaluate", argv)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("model", type=PATH, help="model folder")
@click.argument("dataset", type=PATH, help="dataset folder")
@click.option("--adapter", default="folder", help=f"layout of the folder: {', '.join(ADAPTERS)}")
@click.option("--variant", default="", help="label scheme of the adapter; its first if not given")
@click.option("--mpp", type=float, help="µm per px of the images; the adapter's or dataset.toml's if not given")
@click.option("--masks", default="masks", help="name of the masks folder (adapter folder)")
@click.option("--binary", is_flag=True, help="masks hold instance numbers: above 0 is class 1")
@click.option("--split", default="", help="train, validation, test or all; test if not given, all without one")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="tissue", help="cell leaves the background out")
@click.option("--bootstrap", type=int, default=1000, help="resamples for the 95 % intervals; 0 for none")
@click.option("--resample", type=click.Choice(UNITS), default="image", help="what the intervals are over")
@click.option("--seed", type=int, default=0, help="seed of the noise field and of the resamples")
@click.option("--out", type=PATH, help="folder for evaluation.json and evaluation.md")
@DEVICE
def _command(
    model: Path,
    dataset: Path,
    out: Path | None,
    device: str,
    *,
    protocol: str,
    bootstrap: int,
    resample: str,
    seed: int,
    **layout: Any,
) -> int:
    try:
        config, root = _dataset(dataset.resolve(), layout)
        predictor = Predictor.load(model, device)
        setting = Setting(
            model=predictor.spec.name,
            digest=predictor.digest,
            dataset=f"{root.name}/{config.root}",
            classes=tuple(c.name for c in predictor.classes),
            protocol=protocol,
            resamples=bootstrap,
            unit=resample,
            seed=seed,
        )
        samples = load_dataset(config, root, len(predictor.classes))
    except (FileNotFoundError, ValueError) as error:
        return fail(error)
    evaluation = summarise(setting, measure(LDiffusionSegmenter(predictor, seed), samples))
    if out:
        write(evaluation, out)
    line = json.dumps(to_dict(evaluation), allow_nan=False, ensure_ascii=False)
    sys.stdout.write(f"{text(evaluation)}\n{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
