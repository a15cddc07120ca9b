"""What a plan of studies costs, from what runs took."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from models.training.study.plan import Study, Variant
from models.training.study.results import is_over, run_seconds, runs_of

_HOUR_S: Final = 3600.0


def plan_text(studies: Sequence[Study], out: Path | None) -> str:
    """Return a table: of every row the runs, the seconds of one, the hours of all of them and of what is left.

    Seconds are the mean of the runs in `out` that are over; before there is one, the `run_seconds` of the file.
    """
    lines = ["| study | variant | runs | s/run | hours | left |", "| --- | --- | --- | --- | --- | --- |"]
    whole = left = 0.0
    for study in studies:
        for variant in study.variants:
            took = _took(study, variant, out)
            runs = len(study.seeds)
            hours, open_hours = (count * _seconds(variant, took) / _HOUR_S for count in (runs, runs - len(took)))
            whole, left = whole + hours, left + open_hours
            cells = [study.name, variant.name, str(runs), f"{_seconds(variant, took):.0f}"]
            lines.append(f"| {' | '.join([*cells, f'{hours:.2f}', f'{open_hours:.2f}'])} |")
    lines.append(f"| all | | | | {whole:.2f} | {left:.2f} |")
    return "\n".join(lines) + "\n"


def _took(study: Study, variant: Variant, out: Path | None) -> list[float]:
    if out is None:
        return []
    folders = [run.folder(study, out) for run in runs_of(study, variant, out)]
    return [seconds for folder in folders if is_over(folder) and (seconds := run_seconds(folder)) is not None]


def _seconds(variant: Variant, took: Sequence[float]) -> float:
    return mean(took) if took else variant.run_seconds
