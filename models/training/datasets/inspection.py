"""A dataset gone through file by file: what is there, and everything that is wrong with it."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.training.datasets.records import Annotation, DatasetIndex, Record, Shape, annotation_problems
from models.training.datasets.registry import open_dataset
from models.training.datasets.sample import IGNORE, DatasetConfig

_SIZES_SHOWN = 5


@dataclass(frozen=True)
class ClassShare:
    """How much of a dataset a class is: pixels, share of what is annotated, images with it, share of each split."""

    label: int
    name: str
    pixels: int
    share: float
    images: int
    splits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What `inspect` found.

    Attributes:
        folder: The dataset's folder.
        adapter: The adapter it was read with.
        images: Images listed.
        sizes: "width x height" of the readable images to their number, most frequent first.
        mpp: µm per px, or None.
        groups: Number of patients, slides or tiles.
        splits: Split to number of images.
        classes: The classes, in the order of their labels.
        instances: Objects in the instance maps, or None where the dataset has none.
        annotated_share: Share of the pixels that are annotated.
        problems: What makes the dataset unusable, a sentence each.
        notes: What is odd but does no harm.
    """

    folder: str
    adapter: str
    images: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    mpp: float | None = None
    groups: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    classes: tuple[ClassShare, ...] = ()
    instances: int | None = None
    annotated_share: float = 0.0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the report as one JSON object with the attributes' names, and `usable`."""
        body = dataclasses.asdict(self) | {"usable": not self.problems}
        return json.dumps(body, indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Return the report for people, every problem on a line of its own."""
        return "\n".join(_lines(self))


@dataclass
class _Tally:
    """Counts while the files are gone through."""

    sizes: Counter[str] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    splits: dict[str, Counter[int]] = field(default_factory=dict)
    instances: int | None = None

    def add(self, annotation: Annotation, split: str) -> None:
        own = self.splits.setdefault(split, Counter())
        values, counts = np.unique(annotation.labels, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.pixels[value] += count
            self.images[value] += 1
            own[value] += count
        if annotation.instances is not None:
            objects = np.unique(annotation.instances)
            self.instances = (self.instances or 0) + int((objects > 0).sum())


def inspect(folder: Path, config: DatasetConfig, classes: int | None = None) -> Report:
    """Go through all files of a dataset; faults are collected, not raised.

    Args:
        folder: The dataset's folder.
        config: Adapter, variant, mpp and masks; the root is not used.
        classes: Number of classes, where the dataset itself does not say.
    """
    try:
        index = open_dataset(config, folder)
    except (OSError, ValueError) as error:
        return Report(str(folder), config.adapter, problems=(str(error),))
    known = len(index.classes) or classes
    tally = _Tally()
    problems = list(index.problems)
    for record in index.records:
        problems += _read(record, known, tally)
    shares = _shares(tally, index, known)
    problems += _whole(index, tally, shares)
    annotated = sum(share.pixels for share in shares)
    return Report(
        folder=str(folder),
        adapter=config.adapter,
        images=len(index.records),
        sizes=dict(tally.sizes.most_common()),
        mpp=index.mpp,
        groups=len({record.group for record in index.records}),
        splits=dict(Counter(record.split for record in index.records)),
        classes=shares,
        instances=tally.instances,
        annotated_share=annotated / max(1, annotated + tally.pixels[IGNORE]),
        problems=tuple(problems),
        notes=index.notes,
    )


def _read(record: Record, classes: int | None, tally: _Tally) -> list[str]:
    """Read one record into the tally and return what is wrong with it. A bad image does not hide a bad mask."""
    problems: list[str] = []
    shape: Shape | None = None
    try:
        image = record.read_image()
        shape = (image.shape[0], image.shape[1])
        tally.sizes[f"{shape[1]} x {shape[0]}"] += 1
    except (OSError, ValueError) as error:
        problems.append(str(error))
    try:
        annotation = record.read_annotation(shape or (1, 1))
    except (OSError, ValueError) as error:
        return [*problems, str(error)]
    found = annotation_problems(record, annotation, shape or annotation.labels.shape[:2], classes)
    if not found and shape is not None:
        tally.add(annotation, record.split)
    return problems + found


def _shares(tally: _Tally, index: DatasetIndex, classes: int | None) -> tuple[ClassShare, ...]:
    highest = max((value for value in tally.pixels if value != IGNORE), default=-1)
    count = classes or highest + 1
    total = sum(pixels for value, pixels in tally.pixels.items() if value != IGNORE)
    names = [one.name for one in index.classes] or [f"class {label}" for label in range(count)]
    annotated = {split: max(1, pixels.total() - pixels[IGNORE]) for split, pixels in tally.splits.items()}
    return tuple(
        ClassShare(
            label,
            name,
            tally.pixels[label],
            tally.pixels[label] / max(1, total),
            tally.images[label],
            {split: pixels[label] / annotated[split] for split, pixels in tally.splits.items()},
        )
        for label, name in enumerate(names)
    )


def _whole(index: DatasetIndex, tally: _Tally, shares: Sequence[ClassShare]) -> Iterator[str]:
    """Yield what is wrong with the dataset as a whole."""
    if index.mpp is None:
        yield "mpp is not known: give --mpp, or mpp in dataset.toml"
    if not shares or not any(share.pixels for share in shares):
        yield "no pixel is annotated"
        return
    for share in shares:
        if not share.pixels:
            yield f"class {share.label} ({share.name}) has no pixel"
    if len(shares) == 1:
        trap = tally.pixels[IGNORE] > 0
        hint = ": 255 means not annotated here; say value = 255 in dataset.toml, or use --binary" if trap else ""
        yield f"there is only one class{hint}"


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.folder} (adapter {report.adapter}): {report.images} images, {report.groups} groups"
    if report.images:
        shown = list(report.sizes.items())[:_SIZES_SHOWN]
        more = f", {len(report.sizes) - len(shown)} other sizes" if len(report.sizes) > len(shown) else ""
        yield "sizes: " + ", ".join(f"{size} ({count})" for size, count in shown) + more
        yield f"mpp: {'unknown' if report.mpp is None else f'{report.mpp:g}'}"
        yield "splits: " + ", ".join(f"{name} {count}" for name, count in report.splits.items())
        yield f"annotated: {report.annotated_share:.1%} of the pixels"
        splits = tuple(report.splits) if len(report.splits) > 1 else ()
        heads = "".join(f"{name:>12}" for name in splits)
        yield f"{'label':>5}  {'class':<24}{'pixels':>14}{'share':>9}{'images':>8}{heads}"
        for one in report.classes:
            shares = "".join(f"{one.splits.get(name, 0):>12.2%}" for name in splits)
            yield f"{one.label:>5}  {one.name:<24}{one.pixels:>14}{one.share:>9.2%}{one.images:>8}{shares}"
    if report.instances is not None:
        yield f"objects: {report.instances}"
    yield from (f"note: {note}" for note in report.notes)
    yield from (f"problem: {problem}" for problem in report.problems)
    count = len(report.problems)
    yield "usable" if not count else f"not usable: {count} problem{'s' if count > 1 else ''}"
