"""The paper's Tables 1 and 2 with our numbers beside them, from the pages that the studies wrote.

The pages in `docs/results` are written from the runs' `evaluation.json` by `ldiffusion study table --into`, and lie in
the repository where the runs do not; so they are what is read here, and nothing is typed off.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.training.evaluation.metric_names import MEANS, METRICS

CITED: Final = Path(__file__).parents[1] / "studies" / "paper"
_METRICS: Final = tuple(METRICS[key].heading for key in MEANS)
_NOTHING: Final = "–"
_COMPLETE: Final = re.compile(r"(\d+) of \1")


@dataclass(frozen=True)
class Beside:
    """One of our sets beside a table of the paper.

    Attributes:
        table: Number of the paper's table.
        title: What the numbers are of.
        name: The set, as its heading in a study's page has it.
        studies: Whose pages are looked into; the first with a finished row gives it.
    """

    table: int
    title: str
    name: str
    studies: tuple[str, ...]


# The same settings are the same run, in whichever study they stand: `full-glands` and `full-nuclei` hold rows of these.
TABLES: Final = (
    Beside(1, "glands of `glas/test`, one seed", "glas_test", ("full-paper-glands", "full-glands")),
    Beside(2, "nuclei of `tnbc/test`, all pixels, one seed", "tnbc_test", ("full-paper-nuclei", "full-nuclei")),
    Beside(
        2,
        "nuclei of `dsb2018_stained/test`, all pixels, one seed",
        "dsb2018_stained_test",
        ("full-paper-nuclei", "full-nuclei"),
    ),
    Beside(
        2,
        "types of nuclei of `consep/test`, pixels of nuclei alone, few steps, three seeds",
        "consep_test",
        ("baselines-consep",),
    ),
)


@dataclass(frozen=True)
class Cited:
    """A row of the paper: its name of the method, ours of it (empty: not trained), percents by set and metric."""

    method: str
    variant: str
    percent: Mapping[tuple[str, str], float]


def read_cited(path: Path) -> list[Cited]:
    """Read a table of the paper: `method,variant`, then a column `SET METRIC` for each number.

    Raises:
        ValueError: A cell is no number.
    """
    found = []
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            method, variant = row.pop("method"), row.pop("variant")
            try:
                numbers = {(*key.split(" "),): float(value) for key, value in row.items()}
            except ValueError as error:
                raise ValueError(f"{path.name}, {method}: {error}") from error
            found.append(Cited(method, variant, {(key[0], key[1]): value for key, value in numbers.items()}))
    return found


def read_page(page: str, study: str, name: str) -> dict[str, dict[str, str]]:
    """Return the finished rows of a set's table in a study's page: variant → heading → what stands there."""
    part = re.split(r"^#", page.partition(f"\n### {study}: {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = part.strip().partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return {row["variant"]: row for row in rows if _COMPLETE.fullmatch(row["seeds"])}


def table_markdown(number: int, pages: Path, cited: Path = CITED) -> str:
    """Return one of the paper's tables, once for each of our sets.

    Args:
        number: Of the table.
        pages: Folder of the studies' pages.
        cited: Folder of `table<number>.csv`.

    Raises:
        FileNotFoundError: A page or the paper's table is missing.
        ValueError: Nothing is known of this table.
    """
    chosen = [one for one in TABLES if one.table == number]
    if not chosen:
        known = ", ".join(str(one) for one in sorted({one.table for one in TABLES}))
        raise ValueError(f"table is {number}; accepted: {known}")
    rows = read_cited(cited / f"table{number}.csv")
    parts = []
    for one in chosen:
        ours: dict[str, dict[str, str]] = {}
        for study in one.studies:
            text = (pages / f"{study}.md").read_text(encoding="utf-8")
            ours = read_page(text, study, one.name) | ours
        parts.append(f"**Table {number}, beside {one.title}**\n\n{_render(rows, ours)}\n")
    return "\n".join(parts)


def _render(rows: Sequence[Cited], ours: Mapping[str, Mapping[str, str]]) -> str:
    sets = list(dict.fromkeys(key[0] for key in rows[0].percent))
    head = ["method"]
    for metric in _METRICS:
        head += [metric, f"paper: {' / '.join(sets)}"]
    head += ["place by DICE", "paper"]
    measured = [row for row in rows if row.variant in ours]
    own_places = _places([float(ours[row.variant][_METRICS[0]].split()[0]) for row in measured])
    theirs = _places([float(np.mean([row.percent[name, _METRICS[0]] for name in sets])) for row in measured])
    places = {row.method: pair for row, *pair in zip(measured, own_places, theirs, strict=True)}
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.method]
        for metric in _METRICS:
            own = ours.get(row.variant, {}).get(metric, _NOTHING)
            cells += [own, " / ".join(f"{row.percent[name, metric]:.2f}" for name in sets)]
        lines.append(cells + [str(place) for place in places.get(row.method, (_NOTHING, _NOTHING))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _places(values: Sequence[float]) -> list[int]:
    """Return the place of each value, 1 for the largest; equal ones share the better place."""
    return [1 + sum(other > value for other in values) for value in values]
