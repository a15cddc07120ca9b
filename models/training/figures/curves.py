"""Training curves of a run, from its `log.jsonl`."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.training.evaluation.metric_names import METRICS
from models.training.figures.style import line_color, new_figure

VALIDATION: Final = "val_"
DICE: Final = "val_dice_"
# What a stage can log, in the order of the stages; other figures of the log are kept in the numbers, but not drawn.
TERMS: Final = {
    "reconstruction": "reconstruction, L1",
    "noise": "noise, mean square",
    "likelihood": "noise, −log likelihood",
    "contrastive": "contrastive loss",
    "dice_loss": "Dice loss",
    "cross_entropy": "cross-entropy, nats",
}
_NOT_A_CLASS: Final = "val_dice_loss"
_COLUMNS: Final = 2
_FIRST_CLASS: Final = 2


@dataclass(frozen=True)
class StageSpan:
    """A stage: the steps made before it, and its last step."""

    name: str
    start: int
    steps: int


@dataclass(frozen=True)
class Line:
    """One figure of the log in one stage. Steps count from the stage's own start."""

    key: str
    stage: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Curves:
    """All figures of a log; the stages in the order they were run."""

    stages: tuple[StageSpan, ...]
    lines: tuple[Line, ...]


def read_log(path: Path) -> Curves:
    """Read a run's log.

    Raises:
        FileNotFoundError: There is none.
        ValueError: A line is no row of a log, or there is no row.
    """
    last: dict[str, int] = {}
    found: dict[tuple[str, str], tuple[list[int], list[float | None]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        row = _row(line, f"{path.name}, line {number}")
        stage, step = row.pop("stage"), row.pop("step")
        last[stage] = max(step, last.get(stage, 0))
        for key, value in row.items():
            steps, values = found.setdefault((stage, key), ([], []))
            steps.append(step)
            values.append(value)
    if not last:
        raise ValueError(f"{path} has no row")
    spans, start = [], 0
    for name, steps_made in last.items():
        spans.append(StageSpan(name, start, steps_made))
        start += steps_made
    lines = (Line(key, stage, tuple(steps), tuple(values)) for (stage, key), (steps, values) in found.items())
    return Curves(tuple(spans), tuple(lines))


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    good = isinstance(row, dict) and isinstance(row.get("stage"), str) and isinstance(row.get("step"), int)
    if not good:
        raise ValueError(f"{where} is not a row of a log: stage and step are missing")
    return dict(row)


def draw(curves: Curves) -> Figure:
    """Draw one axis for each term of the loss, and one for the Dice on held-out images."""
    keys = {line.key.removeprefix(VALIDATION) for line in curves.lines}
    terms = [term for term in TERMS if term in keys]
    dice = sorted({line.key for line in curves.lines if line.key.startswith(DICE) and line.key != _NOT_A_CLASS})
    count = len(terms) + bool(dice)
    rows = max(1, -(-count // _COLUMNS))
    figure = new_figure(7.2, 0.7 + 1.75 * rows)
    axes = [figure.add_subplot(rows, _COLUMNS, place + 1) for place in range(count)]
    for axis, term in zip(axes, terms, strict=False):
        _draw_lines(axis, curves, {term: "training batch", VALIDATION + term: "held-out crops"}, 0)
        axis.set(ylabel=TERMS[term])
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    if dice:
        _draw_lines(axes[-1], curves, {key: key.removeprefix(DICE) for key in dice}, _FIRST_CLASS)
        axes[-1].set(ylabel=f"{METRICS['dice'].heading}, held-out images", ylim=(0, 1))
        axes[-1].legend(loc="best")
    if terms:
        handles = dict(pair for axis in axes[: len(terms)] for pair in zip(*_legend_of(axis), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    for axis in axes:
        _mark_stages(axis, curves)
    return figure


def _legend_of(axis: Axes) -> tuple[list[str], list[Any]]:
    handles, labels = axis.get_legend_handles_labels()
    return labels, handles


def _draw_lines(axis: Axes, curves: Curves, labels: dict[str, str], first_color: int) -> None:
    """Draw the lines of some keys over all steps of the run, each stage apart."""
    starts = {span.name: span.start for span in curves.stages}
    for color, (key, label) in enumerate(labels.items(), first_color):
        validation = key.startswith(VALIDATION)
        named = False
        for line in (line for line in curves.lines if line.key == key):
            steps = [starts[line.stage] + step for step in line.steps]
            values = [float("nan") if value is None else value for value in line.values]
            axis.plot(
                steps,
                values,
                color=line_color(color),
                marker="o" if validation else None,
                markersize=3,
                linewidth=1.2 if validation else 0.8,
                label=None if named else label,
            )
            named = True


def _mark_stages(axis: Axes, curves: Curves) -> None:
    end = curves.stages[-1].start + curves.stages[-1].steps
    for _, following in pairwise(curves.stages):
        axis.axvline(following.start, color="#b0b0b0", linewidth=0.6, zorder=0)
    for span in curves.stages:
        middle = span.start + span.steps / 2
        axis.text(middle, 1.02, span.name, transform=axis.get_xaxis_transform(), ha="center", va="bottom", fontsize=6)
    axis.set(xlabel="step of the run", xlim=(0, 1.01 * end))
