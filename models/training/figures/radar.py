"""Per-class radar of one or more evaluations (the paper's Fig. 4), from their `evaluation.json`."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from models.training.evaluation.metric_names import METRICS, OF_A_CLASS
from models.training.figures.style import line_color, new_figure

_FEWEST_AXES: Final = 3


@dataclass(frozen=True)
class Trace:
    """One model: a value for each axis and its 95 % interval; None where a figure is not defined."""

    name: str
    values: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Radar:
    """The axes, the traces, and what the values are."""

    figure: str
    axes: tuple[str, ...]
    traces: tuple[Trace, ...]


def read_evaluations(paths: Sequence[tuple[str, Path]], figure: str) -> Radar:
    """Read evaluations of the same classes.

    With three classes or more, an axis is a class, and its label gives the class's share of the annotated pixels. Two
    classes make no radar: then an axis is a class and one of the four figures.

    Args:
        paths: Name (empty: the model's) and `evaluation.json` of each.
        figure: One of `OF_A_CLASS`.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no evaluation, the classes differ, or two have one name.
    """
    if figure not in OF_A_CLASS:
        raise ValueError(f"unknown figure {figure!r}; known: {', '.join(OF_A_CLASS)}")
    read = [(name, _load(path)) for name, path in paths]
    classes = read[0][1]["classes"]
    for (_, path), (_, one) in zip(paths, read, strict=True):
        if one["classes"] != classes:
            raise ValueError(f"{path} is of the classes {one['classes']}, {paths[0][1]} of {classes}")
    names = [name or one["model"] for name, one in read]
    if len(set(names)) < len(names):
        raise ValueError(f"evaluations need names of their own, NAME=FILE; given: {', '.join(names)}")
    if len(classes) >= _FEWEST_AXES:
        pairs, labels = [(figure, name) for name in classes], _shares(read[0][1])
    else:
        pairs = [(key, name) for name in classes for key in OF_A_CLASS]
        labels = tuple(f"{name}\n{METRICS[key].heading}" for key, name in pairs)
    traces = tuple(_trace(name, one, pairs) for name, (_, one) in zip(names, read, strict=True))
    return Radar(METRICS[figure].heading if len(classes) >= _FEWEST_AXES else "", labels, traces)


def _load(path: Path) -> dict[str, Any]:
    try:
        one: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if missing := [key for key in ("model", "classes", "confusion", "intervals", *OF_A_CLASS) if key not in one]:
        raise ValueError(f"{path} is no evaluation.json: it lacks {', '.join(missing)}")
    return one


def _shares(one: dict[str, Any]) -> tuple[str, ...]:
    pixels = np.array(one["confusion"]).sum(axis=1)
    parts = pixels / max(pixels.sum(), 1)
    return tuple(f"{name}\n{part:.1%} of pixels" for name, part in zip(one["classes"], parts, strict=True))


def _trace(name: str, one: dict[str, Any], pairs: list[tuple[str, str]]) -> Trace:
    ranges = [one["intervals"].get(key, {}).get(label) or (None, None) for key, label in pairs]
    low, high = zip(*ranges, strict=True)
    return Trace(name, tuple(one[key][label] for key, label in pairs), tuple(low), tuple(high))


def draw(radar: Radar) -> Figure:
    """Draw the traces as closed lines from 0 in the middle to 1 at the rim, with their intervals as bands."""
    figure = new_figure(4.2, 3.9 + 0.16 * len(radar.traces))
    axis = figure.add_subplot(projection="polar")
    count = len(radar.axes)
    angles = [2 * math.pi * place / count for place in range(count)]
    closed = [*angles, 2 * math.pi]
    axis.set(theta_offset=math.pi / 2, theta_direction=-1, ylim=(0, 1))
    for number, trace in enumerate(radar.traces):
        color = line_color(number)
        values, low, high = (_closed(row) for row in (trace.values, trace.low, trace.high))
        axis.plot(closed, values, color=color, marker="o", markersize=3, label=trace.name)
        axis.fill_between(closed, low, high, color=color, alpha=0.18, linewidth=0)
    axis.set_xticks(angles, radar.axes)
    axis.set_yticks([0.2, 0.4, 0.6, 0.8, 1.0])
    axis.tick_params(axis="x", pad=3)
    for label, angle in zip(axis.get_xticklabels(), angles, strict=True):  # beside the rim, never across it
        across, up = round(math.sin(angle), 3), round(math.cos(angle), 3)
        label.set_horizontalalignment("left" if across > 0 else "right" if across < 0 else "center")
        label.set_verticalalignment("bottom" if up > 0 else "top" if up < 0 else "center")
    axis.set_rlabel_position(180 / count)  # type: ignore[attr-defined]
    axis.grid(color="#d0d0d0", linewidth=0.5)
    axis.spines["polar"].set_color("#b0b0b0")
    bands = any(value is not None for trace in radar.traces for value in trace.low)
    title = ", ".join(filter(None, (radar.figure, "bands: 95 % intervals" if bands else "")))
    figure.legend(loc="outside lower center", ncols=2, title=title or None, title_fontsize=7)
    return figure


def _closed(values: Sequence[float | None]) -> list[float]:
    shown = [math.nan if value is None else value for value in values]
    return [*shown, shown[0]]
