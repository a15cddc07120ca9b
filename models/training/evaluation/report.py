"""From the counts of each image to what people and programs read: tables, Markdown, JSON."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training.evaluation.bootstrap import Interval, intervals
from models.training.evaluation.instances import instance_figures
from models.training.evaluation.metric_names import BINARY, MEANS, METRICS, OF_A_CLASS, OF_OBJECTS
from models.training.evaluation.metrics import Figures, figures, under_protocol

UNITS: Final = ("image", "group")

_ALL: Final = "all_pixels"


@dataclass(frozen=True)
class Setting:
    """What was measured, and how.

    Attributes:
        model: Name of the model.
        digest: Its digest, empty where it has none.
        dataset: Name of the dataset.
        classes: Names of the model's classes, background first.
        protocol: *tissue* (all pixels) or *cell* (without the reference's background).
        resamples: Sets drawn for the intervals; 0 for none.
        unit: What is drawn: "image" or "group" (patient, slide).
        seed: Of the noise field and of the resampling.
    """

    model: str
    digest: str
    dataset: str
    classes: tuple[str, ...]
    protocol: str = "tissue"
    resamples: int = 1000
    unit: str = "image"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r}; known: {', '.join(UNITS)}")
        if self.resamples < 0:
            raise ValueError(f"{self.resamples} resamples given; 0 (no intervals) or more is expected")


@dataclass(frozen=True)
class Measured:
    """What a model did, image by image.

    Attributes:
        names: Of the N images.
        groups: Patient or slide of each.
        confusion: (N, classes, classes), rows the reference.
        instances: (N, 6), see `instances.instance_counts`; None where an image has no instance map.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    confusion: NDArray[np.int64]
    instances: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Evaluation:
    """All figures of a model on a dataset, and their 95 % intervals where two or more units could be drawn."""

    setting: Setting
    measured: Measured
    figures: Figures
    intervals: dict[tuple[str, ...], Interval]


def summarise(setting: Setting, measured: Measured) -> Evaluation:
    """Compute the figures of the protocol from the sum over images; under *cell* also those over all pixels.

    Raises:
        ValueError: There is no image, or the protocol or the unit is not known.
    """
    if not measured.names:
        raise ValueError(f"{setting.dataset} has no image")
    parts: list[tuple[NDArray[Any], Callable[[NDArray[Any]], Figures]]] = [
        (measured.confusion, lambda counts: _pixel_figures(counts, setting))
    ]
    if measured.instances is not None:
        parts.append((measured.instances, instance_figures))
    found: Figures = {}
    ranges: dict[tuple[str, ...], Interval] = {}
    for counts, statistic in parts:
        found |= statistic(counts.sum(axis=0))
        drawn = counts if setting.unit == "image" else _by_group(counts, measured.groups)
        if setting.resamples and len(drawn) > 1:
            ranges |= intervals(drawn, statistic, setting.resamples, setting.seed)
    return Evaluation(setting, measured, found, ranges)


def _pixel_figures(confusion: NDArray[np.int64], setting: Setting) -> Figures:
    found = figures(under_protocol(confusion, setting.protocol), setting.classes)
    if setting.protocol == "cell":
        found |= {(_ALL, *name): value for name, value in figures(confusion, setting.classes).items()}
    return found


def _by_group(counts: NDArray[Any], groups: Sequence[str]) -> NDArray[Any]:
    names = sorted(set(groups))
    total = np.zeros((len(names), *counts.shape[1:]), counts.dtype)
    np.add.at(total, [names.index(group) for group in groups], counts)
    return total


# --- for people -------------------------------------------------------------------------------------------------------


def text(evaluation: Evaluation) -> str:
    """Return the tables for a terminal."""
    parts = [heading(evaluation)]
    for title, rows in _tables(evaluation):
        widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
        lines = (
            "  ".join(
                cell.rjust(width) if c else cell.ljust(width)
                for c, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )
        parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts) + "\n"


def markdown(evaluation: Evaluation) -> str:
    """Return the same as a Markdown page."""
    setting = evaluation.setting
    parts = [f"# {setting.model} on {setting.dataset}", heading(evaluation) + f"\n\nModel digest: `{setting.digest}`"]
    for title, (head, *rows) in _tables(evaluation):
        lines = (f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
        parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def heading(evaluation: Evaluation) -> str:
    """Say in a line or two what was measured, and what the intervals are."""
    setting, count = evaluation.setting, len(evaluation.measured.names)
    line = f"{setting.model} on {count} images of {setting.dataset}, protocol {setting.protocol}, seed {setting.seed}."
    if not evaluation.intervals:
        return f"{line} No intervals."
    return f"{line}\n95 % intervals: percentile bootstrap over {setting.unit}s, {setting.resamples} resamples."


def with_interval(value: float, interval: Interval | None) -> str:
    """Return `0.1234 (0.1000 to 0.1500)`; a dash for what is not defined."""
    shown = _number(value)
    return (
        shown
        if interval is None or math.isnan(value)
        else f"{shown} ({_number(interval.low)} to {_number(interval.high)})"
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _tables(evaluation: Evaluation) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield (title, rows), the head first."""
    classes = evaluation.setting.classes
    named = "cell: without the reference's background" if evaluation.setting.protocol == "cell" else "all pixels"
    prefixes = {(): named} | ({(_ALL,): "all pixels"} if evaluation.setting.protocol == "cell" else {})
    for prefix, title in prefixes.items():
        yield f"Classes, {title}", _class_rows(evaluation, prefix)
        yield f"Means, {title}", _rows(evaluation, [(*prefix, name) for name in MEANS])
        if len(classes) == 2:
            binary = [(*prefix, "binary", name) for name in BINARY]
            yield f"{classes[1]} against the rest, {title}", _rows(evaluation, binary)
    if evaluation.measured.instances is not None:
        yield "Objects, all classes as one", _rows(evaluation, [("instances", name) for name in OF_OBJECTS])


def _class_rows(evaluation: Evaluation, prefix: tuple[str, ...]) -> list[list[str]]:
    pixels = evaluation.measured.confusion.sum(axis=(0, 2))
    rows = [["class", *(METRICS[key].column for key in OF_A_CLASS), "pixels"]]
    for index, name in enumerate(evaluation.setting.classes):
        paths = [(*prefix, column, name) for column in OF_A_CLASS]
        cells = [
            _cell(evaluation, path) if path[-2] in ("dice", "iou") else _number(evaluation.figures[path])
            for path in paths
        ]
        rows.append([name, *cells, str(pixels[index])])
    return rows


def _rows(evaluation: Evaluation, paths: list[tuple[str, ...]]) -> list[list[str]]:
    return [["figure", "value"], *([METRICS[path[-1]].heading, _cell(evaluation, path)] for path in paths)]


def _cell(evaluation: Evaluation, path: tuple[str, ...]) -> str:
    return with_interval(evaluation.figures[path], evaluation.intervals.get(path))


# --- for programs -----------------------------------------------------------------------------------------------------


def to_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything but the images as JSON values; what is not defined is null.

    `intervals` has the same paths as the figures, with [low, high] for the value. `confusion` is over all pixels,
    whatever the protocol.
    """
    setting, measured = evaluation.setting, evaluation.measured
    ranges = {path: [_null(one.low), _null(one.high)] for path, one in evaluation.intervals.items()}
    return {
        "model": setting.model,
        "digest": setting.digest,
        "dataset": setting.dataset,
        "images": len(measured.names),
        "classes": list(setting.classes),
        "protocol": setting.protocol,
        "bootstrap": {"resamples": setting.resamples, "unit": setting.unit, "level": 0.95},
        "seed": setting.seed,
        **_nested({path: _null(value) for path, value in evaluation.figures.items()}),
        "intervals": _nested(ranges),
        "confusion": measured.confusion.sum(axis=0).tolist(),
    }


def per_image(measured: Measured) -> list[dict[str, Any]]:
    """Return the counts of each image as JSON values."""
    rows = [
        {"name": name, "group": group, "confusion": confusion.tolist()}
        for name, group, confusion in zip(measured.names, measured.groups, measured.confusion, strict=True)
    ]
    if measured.instances is not None:
        for row, counts in zip(rows, measured.instances, strict=True):
            row["instances"] = counts.tolist()
    return rows


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nested(flat: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    return tree
