"""A study's table as Markdown, from `evaluation.json` and `log.jsonl` of its runs alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models.training.evaluation.assess import VALIDATION, set_names
from models.training.evaluation.bootstrap import Difference
from models.training.evaluation.metric_names import heading_of
from models.training.study.differences import difference
from models.training.study.draws import draws_markdown
from models.training.study.plan import RUN_TIME, Study, Variant
from models.training.study.results import (
    EVALUATION,
    FAILED,
    Run,
    chosen_lr,
    is_over,
    read_figure,
    run_seconds,
    runs_of,
    seconds_per_step,
)

_NOTHING: Final = "–"
_SPREADS: Final = {
    "std": "mean ± sample standard deviation over the seeds",
    "range": "mean (lowest to highest) over the seeds",
}


def markdown(study: Study, out: Path) -> str:
    """Return the study's page: a table for every set, validation first where there is one."""
    sets = [
        name
        for name in (VALIDATION, *_test_sets(study))
        if name != VALIDATION or study.folds or _has_validation(study, out)
    ]
    parts = [f"## {study.title}", *([study.note.strip()] if study.note.strip() else []), _caption(study)]
    for name in sets:
        parts += [f"### {study.name}: {name}", _table(study, name, out)]
        if study.versus:
            # Every fold has other images: their differences are told over draws, see `models.training.study.draws`.
            parts += [] if study.folds else [f"Minus `{study.versus}`, in points:", _differences(study, name, out)]
    if study.folds:
        parts.append(draws_markdown([study], out))
    return "\n\n".join(parts) + "\n"


def spread_text(values: Sequence[float], spread: str, digits: int = 2) -> str:
    """Return mean and spread of one figure over seeds; of one value that value alone, of none a dash."""
    if not values:
        return _NOTHING
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    if spread == "std":
        return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _caption(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    lines = [f"Figures in percent, protocol {study.protocol}: {_SPREADS[study.spread]} ({seeds})."]
    if study.lr_search:
        rates = ", ".join(f"{lr:g}" for lr in study.lr_search)
        lines.append(
            f"Rate of the head chosen for each row among {rates} by `{study.choose_by}` on the validation images, with "
            f"seed {study.seeds[0]}."
        )
    if study.versus and not study.folds:
        lines.append(
            f"Differences to `{study.versus}` with the 95 % interval of a paired bootstrap over images, both sides the "
            "mean over the seeds."
        )
    if any(variant.paper for variant in study.variants):
        lines.append('"Paper": the published number, on the data the paper names, not on this set.')
    return "\n".join(lines)


def _table(study: Study, name: str, out: Path) -> str:
    timed = _with_paper(study, RUN_TIME)
    head = ["variant", "seeds", *(["rate"] if study.lr_search else [])]
    for figure in study.figures:
        head += [heading_of(figure), *(["paper"] if _with_paper(study, figure) else [])]
    head += ["s/step", "run time, s", *(["paper, s"] if timed else [])]
    rows = [head, ["---"] * len(head), *(_row(study, variant, name, out) for variant in study.variants)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(study: Study, variant: Variant, name: str, out: Path) -> list[str]:
    runs = runs_of(study, variant, out)
    folders = [folder for run in runs if is_over(folder := run.folder(study, out))]
    cells = [variant.name, _count(study, variant, folders, out)]
    if study.lr_search:
        lr = chosen_lr(study, variant, out)
        cells.append(_NOTHING if lr is None else f"{lr:g}")
    for figure in study.figures:
        values = _values(folders, lambda folder, figure=figure: read_figure(folder, name, figure))  # type: ignore[misc]
        cells.append(spread_text([100 * value for value in values], study.spread))
        cells += _paper(study, variant, figure, 2)
    for read, digits in ((seconds_per_step, 3), (run_seconds, 0)):
        # A run that failed ended early: its time says nothing.
        measured = [folder for folder in folders if (folder / EVALUATION).is_dir()]
        cells.append(spread_text(_values(measured, read), study.spread, digits))
    return cells + _paper(study, variant, RUN_TIME, 0)


def _differences(study: Study, name: str, out: Path) -> str:
    other = _measured(study, study.variant(study.versus), name, out)
    head = ["variant", *map(heading_of, study.figures)]
    rows = [head, ["---"] * len(head)]
    for variant in study.variants:
        own = _measured(study, variant, name, out)
        if variant.name != study.versus and own and len(own) == len(other):
            found = (difference(own, other, figure, study.protocol) for figure in study.figures)
            rows.append([variant.name, *map(_difference_text, found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _difference_text(found: Difference | None) -> str:
    if found is None:
        return _NOTHING
    return f"{100 * found.value:+.2f} ({100 * found.interval.low:+.2f} to {100 * found.interval.high:+.2f})"


def _measured(study: Study, variant: Variant, name: str, out: Path) -> list[Path]:
    runs = runs_of(study, variant, out)
    paths = [run.folder(study, out) / EVALUATION / name / "evaluation.json" for run in runs]
    return [path for path in paths if path.is_file()]


def _count(study: Study, variant: Variant, folders: Sequence[Path], out: Path) -> str:
    """Return how many seeds are measured, and how many failed; with a search that found no rate, its runs."""
    if study.lr_search and chosen_lr(study, variant, out) is None:
        folders = [Run(variant, study.seeds[0], lr).folder(study, out) for lr in study.lr_search]
        failed = sum((folder / FAILED).is_file() for folder in folders)
        return f"0 of {len(study.seeds)}" + (f", {failed} rates failed" if failed else "")
    failed = sum((folder / FAILED).is_file() for folder in folders)
    return f"{len(folders) - failed} of {len(study.seeds)}" + (f", {failed} failed" if failed else "")


def _values(folders: Sequence[Path], read: Callable[[Path], float | None]) -> list[float]:
    return [value for folder in folders if (value := read(folder)) is not None]


def _with_paper(study: Study, figure: str) -> bool:
    return any(figure in variant.paper for variant in study.variants)


def _paper(study: Study, variant: Variant, figure: str, digits: int) -> list[str]:
    if not _with_paper(study, figure):
        return []
    value = variant.paper.get(figure)
    return [_NOTHING if value is None else f"{value:.{digits}f}"]


def _test_sets(study: Study) -> tuple[str, ...]:
    return set_names(study.resolve(study.variants[0], study.seeds[0]))


def _has_validation(study: Study, out: Path) -> bool:
    runs = [run for variant in study.variants for run in runs_of(study, variant, out)]
    return any((run.folder(study, out) / EVALUATION / VALIDATION).is_dir() for run in runs)
