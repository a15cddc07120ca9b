"""What people and programs read of an evaluation: tables, Markdown, JSON."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from models.training.evaluation.bootstrap import Interval
from models.training.evaluation.instances import COUNTED_FROM, counted_images
from models.training.evaluation.metric_names import BINARY, MEANS, METRICS, OF_A_CLASS, OF_OBJECTS
from models.training.evaluation.summary import ALL_PIXELS, Evaluation, Measured, ObjectCounts, Reference, SplitBy

_REFERENCES: Final[dict[Reference, str]] = {
    "instances": "annotated one by one",
    "components": "components of the annotated mask",
}
_SPLITS: Final[dict[SplitBy, str]] = {
    "model": "by the model",
    "distance": "by the distance map of the mask",
    "components": "where they do not touch",
}

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
    setting = evaluation.setting
    pieces = f"{len(evaluation.measured.names)} {setting.piece}s"
    line = f"{setting.model} on {pieces} of {setting.dataset}, protocol {setting.protocol}, seed {setting.seed}."
    if not evaluation.intervals:
        return f"{line} No intervals."
    unit = setting.piece if setting.unit == "image" else setting.unit
    return f"{line}\n95 % intervals: percentile bootstrap over {unit}s, {setting.resamples} resamples."


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
    prefixes = {(): named} | ({(ALL_PIXELS,): "all pixels"} if evaluation.setting.protocol == "cell" else {})
    for prefix, title in prefixes.items():
        yield f"Classes, {title}", _class_rows(evaluation, prefix)
        yield f"Means, {title}", _rows(evaluation, [(*prefix, name) for name in MEANS])
        if len(classes) == 2:
            binary = [(*prefix, "binary", name) for name in BINARY]
            yield f"{classes[1]} against the rest, {title}", _rows(evaluation, binary)
    yield "Pixels: those of each class of the reference in a row, by the class that was found", _confusion(evaluation)
    if evaluation.measured.objects is not None:
        yield "Objects, all classes as one", _object_rows(evaluation, evaluation.measured.objects)


def _confusion(evaluation: Evaluation) -> list[list[str]]:
    names = evaluation.setting.classes
    counts = evaluation.measured.confusion.sum(axis=0).tolist()
    return [["", *names], *([name, *map(str, row)] for name, row in zip(names, counts, strict=True))]


def _object_rows(evaluation: Evaluation, objects: ObjectCounts) -> list[list[str]]:
    kinds, pieces = Counter(objects.references), f"{evaluation.setting.piece}s"
    reference = (f"{said} ({kinds[kind]} {pieces})" for kind, said in _REFERENCES.items() if kind in kinds)
    return [
        *_rows(evaluation, [("instances", name) for name in OF_OBJECTS]),
        ["count error is of", f"{counted_images(objects.counts)} {pieces} with {COUNTED_FROM} objects or more"],
        ["reference", ", ".join(reference)],
        ["found", f"told apart {_SPLITS[objects.split_by]}"],
    ]


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
        **({} if measured.objects is None else {"objects": _objects_dict(measured.objects)}),
    }


def _objects_dict(objects: ObjectCounts) -> dict[str, Any]:
    counted = counted_images(objects.counts)
    return {"reference": Counter(objects.references), "split_by": objects.split_by, "images_counted": counted}


def per_image(measured: Measured) -> list[dict[str, Any]]:
    """Return the counts of each image as JSON values."""
    rows = [
        {"name": name, "group": group, "confusion": confusion.tolist()}
        for name, group, confusion in zip(measured.names, measured.groups, measured.confusion, strict=True)
    ]
    if measured.objects is not None:
        for row, counts, kind in zip(rows, measured.objects.counts, measured.objects.references, strict=True):
            row |= {"instances": counts.tolist(), "reference": kind}
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
