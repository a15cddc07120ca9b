"""A table of slides, `cohort.csv`: which, at what resolution, with which model, and what is known of each.

    path,mpp,model,labels
    slides/a.svs,,nuclei,patient=7;arm=control

`path` alone is needed; relative ones start at the folder of the table. It is checked whole before anything runs.
"""

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workers.core.cohort.slides_in import DICOM, find_slides
from workers.core.errors.base import LDiffusionError, RequestInvalid
from workers.core.schemas import Mpp

COLUMNS = ("path", "mpp", "model", "labels")
LABELS = "key=value, several with ; between"
MAX_BYTES = 2**24
SHOWN = 10


@dataclass(frozen=True)
class Entry:
    """A slide of many.

    Args:
        path: The file that is opened.
        named: What the slide is called by: that file, or the folder of a DICOM series.
        mpp: µm per level-0 px that were given for it.
        model: The model that was named for it.
        labels: What was noted of it.
        files: How many files of it were found.
    """

    path: Path
    named: Path
    mpp: float | None = None
    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    files: int = 1


def entries_of(named: tuple[Path, ...], results: Path) -> list[Entry]:
    """Return what was named on a command line; arguments and errors as for `find_slides`."""
    return [Entry(each.path, each.named, files=len(each.files)) for each in find_slides(named, results)]


def read_manifest(path: Path, check_model: Callable[[str], object]) -> list[Entry]:
    """Read a table of slides.

    Args:
        path: A CSV file, UTF-8, with a head.
        check_model: Raises if there is no model of a name.

    Raises:
        RequestInvalid: It is no such table, or a field of it is wrong; the lines are named.
    """
    found: list[Entry] = []
    wrong: list[tuple[int, LDiffusionError]] = []
    seen: dict[Path, int] = {}
    for line, row in _rows(path):
        try:
            entry = _entry(path.parent, row, check_model)
            first = seen.setdefault(entry.path.resolve(), line)
            if first != line:
                raise RequestInvalid(f"path: the slide of line {first} again.", value=row["path"])
            found.append(entry)
        except LDiffusionError as error:
            wrong.append((line, error))
    if wrong:
        raise _told(path, wrong)
    if not found:
        raise RequestInvalid("The manifest names no slide.", value=path, accepted="a row for each slide")
    return found


def _told(path: Path, wrong: list[tuple[int, LDiffusionError]]) -> RequestInvalid:
    """Return one error for all: what is wrong in the first line, and the numbers of the others."""
    line, first = wrong[0]
    others = ", ".join(str(number) for number, _ in wrong[1 : SHOWN + 1]) + (", …" if len(wrong) > SHOWN + 1 else "")
    also = f" Also wrong: line {others}." if others else ""
    return RequestInvalid(
        f"{path.name}, line {line}: {first.message}{also}", value=first.value, accepted=first.accepted
    )


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows that are not empty, each with its line in the file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestInvalid("The manifest is too large.", value=path, accepted=f"at most {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestInvalid("The manifest cannot be read.", value=path, accepted="a CSV file") from error
    except UnicodeDecodeError as error:
        raise RequestInvalid("The manifest is not UTF-8.", value=path, accepted="a CSV file in UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        head = [name.strip() for name in next(reader, [])]
        _check_head(path, head)
        for fields in reader:
            if not any(each.strip() for each in fields):
                continue
            if len(fields) > len(head):
                told = f"{path.name}, line {reader.line_num}: more fields than the head has columns."
                raise RequestInvalid(told, value=len(fields), accepted=f"at most {len(head)}")
            row = dict.fromkeys(COLUMNS, "") | {name: each.strip() for name, each in zip(head, fields, strict=False)}
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise RequestInvalid(f"{path.name}, line {reader.line_num}: {error}.", accepted="CSV of RFC 4180") from error
    return rows


def _check_head(path: Path, head: list[str]) -> None:
    for name in head:
        if name not in COLUMNS or head.count(name) > 1:
            kind = "twice the same" if name in COLUMNS else "an unknown"
            raise RequestInvalid(f"{path.name}, line 1: {kind} column.", value=name, accepted=", ".join(COLUMNS))
    if "path" not in head:
        raise RequestInvalid(f"{path.name}, line 1: the column path is missing.", accepted=", ".join(COLUMNS))


def _entry(folder: Path, row: Mapping[str, str], check_model: Callable[[str], object]) -> Entry:
    named = _path(folder, row["path"])
    mpp = _mpp(row["mpp"]) if row["mpp"] else None
    if row["model"]:
        check_model(row["model"])
    slides = find_slides([named]) if named.is_dir() else None
    if slides is not None and (len(slides) != 1 or slides[0].path.suffix.lower() != DICOM):
        raise RequestInvalid("path: a folder.", value=row["path"], accepted="a slide, or the folder of a DICOM series")
    path, files = (slides[0].path, len(slides[0].files)) if slides else (named, 1)
    return Entry(path, named, mpp, row["model"] or None, _labels(row["labels"]), files)


def _mpp(text: str) -> float:
    try:
        mpp = TypeAdapter(Mpp).validate_python(text)
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        raise RequestInvalid(f"mpp: {told}.", value=text, accepted="µm per level-0 px, or nothing") from error
    if not isfinite(mpp):
        raise RequestInvalid("mpp: no number.", value=text, accepted="µm per level-0 px, or nothing")
    return mpp


def _path(folder: Path, text: str) -> Path:
    path = folder / text
    try:
        is_there = bool(text) and path.exists()
    except (OSError, ValueError):  # too long a name, or a NUL
        is_there = False
    if not is_there:
        raise RequestInvalid("path: no such file.", value=text, accepted="a slide")
    return path


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in filter(None, (each.strip() for each in text.split(";"))):
        key, equals, value = (each.strip() for each in pair.partition("="))
        if not equals or not key or key in labels:
            raise RequestInvalid("labels: no key, or one that is there twice.", value=pair, accepted=LABELS)
        labels[key] = value
    return labels
