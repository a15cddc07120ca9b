"""What the runs of a study say, in one file that goes into version control: a line of JSON for each run.

Weights and states stay in the runs' folders. What is kept is what tables are made of, so a study that has been kept
prints its tables without a training, and goes on elsewhere with the runs that it has not.
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from models.training.runlog import LOG
from models.training.study.plan import Study
from models.training.study.results import EVALUATION, FAILED, is_over, runs_of
from models.training.study.run import SETTINGS

_EVALUATIONS: Final = f"{EVALUATION}*/*/evaluation.json"


def keep(study: Study, out: Path, file: Path) -> int:
    """Write all runs of a study that are over into a file, in the order of its table; return their number.

    Raises:
        ValueError: No run is over.
    """
    folders = [run.folder(study, out) for variant in study.variants for run in runs_of(study, variant, out)]
    over = [folder for folder in dict.fromkeys(folders) if is_over(folder)]
    if not over:
        raise ValueError(f"{out} holds no run of {study.name} that is over")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [_line(folder, folder.relative_to(out).as_posix()) for folder in over]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(over)


def unpack(file: Path, out: Path) -> int:
    """Make the folders of a file's runs below `out`, but of those that are over there already; return their number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not what `keep` writes.
    """
    made = 0
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        name, files = _parsed(line, f"{file}, line {number}")
        folder = out / name
        if is_over(folder):
            continue
        made += 1
        # The evaluation last: a run with it is over.
        for path in sorted(files, key=lambda each: each.startswith(f"{EVALUATION}/")):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(_text(path, files[path]), encoding="utf-8")
    return made


def _line(folder: Path, name: str) -> str:
    return json.dumps({"run": name, "files": dict(_kept(folder))}, ensure_ascii=False, separators=(",", ":"))


def _kept(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the files of a run that tables are made of, by their path in its folder."""
    paths = [folder / name for name in (SETTINGS, LOG, FAILED)] + sorted(folder.glob(_EVALUATIONS))
    for path in paths:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            value = [json.loads(row) for row in text.splitlines()] if path.name == LOG else json.loads(text)
            yield path.relative_to(folder).as_posix(), value


def _text(path: str, value: Any) -> str:
    rows = value if path == LOG else [value]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parsed(line: str, place: str) -> tuple[str, dict[str, Any]]:
    try:
        row = json.loads(line)
        name, files = row["run"], dict(row["files"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{place}: not a run as `ldiffusion study keep` writes it: {error}") from None
    for path in (name, *files):
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise ValueError(f"{place}: {path} leads out of the folder of the runs")
    return name, files
