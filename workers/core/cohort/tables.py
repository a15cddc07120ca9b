"""Many slides as one table: for a terminal, and as Parquet or CSV with a row for each and columns for the classes."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from workers.core.cohort.rows import GOOD, Row
from workers.core.errors.base import RequestInvalid
from workers.core.storage.files import atomic_write
from workers.core.text import printable

SUFFIXES: Final = (".parquet", ".csv")
NAME_SHOWN = 40

TEXT, NUMBER, WHOLE, TIME = "string", "double", "int64", "timestamp"
OF_SLIDE: Final[dict[str, tuple[str, Callable[[Row], Any]]]] = {
    "name": (TEXT, lambda row: row.name),
    "slide": (TEXT, lambda row: printable(row.slide)),
    "state": (TEXT, lambda row: row.state),
    "error": (TEXT, lambda row: row.error or None),
    "sha256": (TEXT, lambda row: row.record and row.record.slide_sha256),
    "model": (TEXT, lambda row: row.record and row.record.model),
    "model_digest": (TEXT, lambda row: row.record and row.record.model_digest),
    "mpp_x": (NUMBER, lambda row: row.record and row.record.mpp_x),
    "mpp_y": (NUMBER, lambda row: row.record and row.record.mpp_y),
    "mpp_source": (TEXT, lambda row: row.record and row.record.mpp_source),
    "slide_mm2": (NUMBER, lambda row: row.statistics and row.statistics["slide_mm2"]),
    "tissue_mm2": (NUMBER, lambda row: row.statistics and row.statistics["tissue_mm2"]),
    "excluded_mm2": (NUMBER, lambda row: row.statistics and row.statistics.get("excluded_mm2")),
    "objects": (WHOLE, lambda row: row.objects),
    "warnings": (TEXT, lambda row: ",".join(row.warnings) if row.record else None),
    "seconds": (NUMBER, lambda row: row.seconds),
    "finished_at": (TIME, lambda row: row.record and row.record.finished_at),
}
"""Columns that every summary has: type, and value of a row."""

OF_CLASS: Final = {
    "mm2": (NUMBER, "mm2"),
    "share": (NUMBER, "share_of_tissue"),
    "confidence": (NUMBER, "mean_confidence"),
    "count": (WHOLE, "count"),
    "per_mm2": (NUMBER, "density_per_mm2"),
}
"""For each class, background included, a column `share_NAME` …: type, and key in `statistics.json`."""


def check_summary(path: Path) -> None:
    """Check, before there is anything to write, that a summary can be written.

    Raises:
        RequestInvalid: The name is that of neither kind, or its folder is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise RequestInvalid("--summary: no such kind of file.", value=path, accepted=" or ".join(SUFFIXES))
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise RequestInvalid("--summary: its folder is missing, or it is a folder.", value=path, accepted="a file")


def write_summary(path: Path, rows: Sequence[Row]) -> None:
    """Write a row for each slide, those that failed included, whose numbers are empty; replaced atomically."""
    with atomic_write(path) as temporary:
        if path.suffix.lower() == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as text:
                write_csv(text, rows)
            return
        with temporary.open("wb") as file:
            write_parquet(file, rows)


def write_parquet(file: BinaryIO, rows: Sequence[Row]) -> None:
    """Write the rows as Parquet, packed with zstd; what there is no number for is null."""
    import pyarrow as pa  # noqa: PLC0415 (half a second, and few ask for tables)
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {TEXT: pa.string(), NUMBER: pa.float64(), WHOLE: pa.int64(), TIME: pa.timestamp("us", tz="UTC")}
    columns = _columns(rows).items()
    table = pa.table({name: pa.array(values, kinds[kind]) for name, (kind, values) in columns})
    pq.write_table(table, file, compression="zstd")


def write_csv(text: TextIO, rows: Sequence[Row]) -> None:
    """Write the same as CSV (RFC 4180); what there is no number for is an empty field."""
    columns = _columns(rows)
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*(values for _, values in columns.values()), strict=True))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table for people: area of tissue, share of each class but background, objects, codes."""
    names = _names(each["name"] for row in rows for each in row.classes if each["index"] != 0)
    head = ["slide", "state", "tissue mm²", *names, "objects", "seconds", "warnings or error"]
    lines = [head] + [_line(row, names) for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    left = (0, 1, len(head) - 1)
    told = [
        "  ".join(
            each.ljust(width) if at in left else each.rjust(width)
            for at, (each, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    counts = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    told.append(f"{len(rows)} slides: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    return "\n".join(told)


def exit_status(rows: Sequence[Row]) -> int:
    """Return 0 where every slide is complete, else 1."""
    return 0 if all(row.state in GOOD for row in rows) else 1


def _line(row: Row, names: Sequence[str]) -> list[str]:
    shares = {each["name"]: each["share_of_tissue"] for each in row.classes}
    cells = [row.name if len(row.name) <= NAME_SHOWN else f"{row.name[: NAME_SHOWN - 1]}…", row.state]
    cells.append("-" if row.statistics is None else f"{row.statistics['tissue_mm2']:.4f}")
    cells += ["-" if (share := shares.get(name)) is None else f"{share:.2%}" for name in names]
    cells.append("-" if row.objects is None else str(row.objects))
    cells.append("-" if row.seconds is None else f"{row.seconds:.1f}")
    cells.append(", ".join(row.warnings) or row.error.partition(": ")[0] or "-")
    return cells


def _columns(rows: Sequence[Row]) -> dict[str, tuple[str, list[Any]]]:
    """Return the columns of a summary in order: type, and a value for each row."""
    columns = {name: (kind, [value(row) for row in rows]) for name, (kind, value) in OF_SLIDE.items()}
    for name in _names(each["name"] for row in rows for each in row.classes):
        found = [next((each for each in row.classes if each["name"] == name), None) for row in rows]
        for prefix, (kind, key) in OF_CLASS.items():
            columns[f"{prefix}_{name}"] = kind, [None if each is None else each.get(key) for each in found]
    for label in _names(key for row in rows for key in row.labels):
        columns[f"label_{label}"] = TEXT, [row.labels.get(label) for row in rows]
    return columns


def _names(found: Any) -> list[str]:
    return list(dict.fromkeys(found))
