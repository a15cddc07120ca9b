"""What the runs of a study left on disk: figures, time, rates. Nothing is computed anew."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from models.training.evaluation.assess import VALIDATION
from models.training.runlog import LOG
from models.training.state import kept_folder
from models.training.study.plan import Study, Variant

EVALUATION: Final = "evaluation"
FAILED: Final = "failed.json"
OURS: Final = "l-diffusion"


@dataclass(frozen=True)
class Run:
    """One training run of a study; `lr` is None where no rate is searched for."""

    variant: Variant
    seed: int
    lr: float | None = None

    def folder(self, study: Study, out: Path) -> Path:
        """Return its folder, `<network>-<digest of all settings but the seed>/seed-<n>`.

        So runs of the same settings are one run, in whichever study and under whichever name they stand.
        """
        kind = self.variant.baseline or OURS
        return out / f"{kind}-{study.digest(self.variant, self.lr)}" / f"seed-{self.seed}"


def is_over(folder: Path) -> bool:
    """Return whether a run is measured, or failed."""
    return (folder / EVALUATION).is_dir() or (folder / FAILED).is_file()


def evaluation_file(folder: Path, name: str, step: int = 0) -> Path:
    """Return where a run is measured on a set, at its end or after a step whose weights it kept."""
    return folder / (kept_folder(EVALUATION, step) if step else EVALUATION) / name / "evaluation.json"


def read_figure(folder: Path, name: str, figure: str, step: int = 0) -> float | None:
    """Return a figure of a run on a set by its path with dots; None where the run has none."""
    path = evaluation_file(folder, name, step)
    if not path.is_file():
        return None
    found: Any = json.loads(path.read_text(encoding="utf-8"))
    for part in figure_path(figure):
        found = found.get(part) if isinstance(found, dict) else None
    return None if found is None else float(found)


def figure_path(figure: str) -> list[str]:
    """Cut a figure's path at its dots; the name of a class, its last part, may have dots itself."""
    depth = 2 if figure.startswith("all_pixels.") else 1
    return figure.split(".", depth)


def run_seconds(folder: Path) -> float | None:
    """Return the time of all stages together, validations too, as logged; None before the first row."""
    last = {row["stage"]: row["seconds"] for row in _timed_rows(folder)}
    return sum(last.values()) if last else None


def seconds_per_step(folder: Path) -> float | None:
    """Return the mean time of a step over all stages; each stage's is its median between rows of the log.

    So the validations, which lie between a few of the rows, do not count.
    """
    stages: dict[str, list[tuple[int, float]]] = {}
    for row in _timed_rows(folder):
        stages.setdefault(row["stage"], [(0, 0.0)]).append((row["step"], row["seconds"]))
    total, steps = 0.0, 0
    for places in stages.values():
        count = places[-1][0]
        # A run that was killed writes the rows since its last state again.
        onward = [pair for pair in pairwise(places) if pair[1][0] > pair[0][0]]
        total += count * median((end[1] - start[1]) / (end[0] - start[0]) for start, end in onward)
        steps += count
    return total / steps if steps else None


def _timed_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / LOG
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "seconds" in row]


def chosen_lr(study: Study, variant: Variant, out: Path) -> float | None:
    """Return the rate with the best validation figure on the first seed; None before the search is over.

    Of equal figures the first given wins. A run that failed is out. None also if all did.
    """
    runs = [Run(variant, study.seeds[0], lr) for lr in study.lr_search]
    if not runs or not all(is_over(run.folder(study, out)) for run in runs):
        return None
    values = {run.lr: read_figure(run.folder(study, out), VALIDATION, study.choose_by) for run in runs}
    known = {lr: value for lr, value in values.items() if value is not None}
    return max(known, key=lambda lr: known[lr]) if known else None


def runs_of(study: Study, variant: Variant, out: Path) -> list[Run]:
    """Return a variant's runs that the table is about, one a seed; none while the rate is not chosen."""
    if not study.lr_search:
        return [Run(variant, seed) for seed in study.seeds]
    lr = chosen_lr(study, variant, out)
    return [] if lr is None else [Run(variant, seed, lr) for seed in study.seeds]
