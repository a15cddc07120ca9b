"""Which slides somebody means who names many: files, folders, patterns. Names alone decide, and no slide is opened.

Of a folder the files are taken that have a name of a slide, in it and below. The instances of one DICOM series in one
folder are one slide, as is a MIRAX slide with its folder.
"""

import glob
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.errors import InvalidDicomError

from workers.core.errors.base import RequestInvalid
from workers.core.slides import mirax
from workers.core.slides.names import EXTENSIONS, JUNK
from workers.core.slides.zarr_zip import is_zarr_folder

TAKEN: Final = (*EXTENSIONS, mirax.EXTENSION)
"""Endings of the names that are taken from folders. A file that is named itself may have any."""

DICOM = ".dcm"
PLAN = "plan.json"
"""Every folder with results has one: its images are none of the slides."""


@dataclass(frozen=True, slots=True)
class Found:
    """One slide.

    Args:
        path: The file that is opened.
        files: All of the files that were found of it: several of a DICOM series.
        is_folder: They are all slides that its folder holds, so the folder's name is that of the slide.
    """

    path: Path
    files: tuple[Path, ...]
    is_folder: bool = False

    @property
    def named(self) -> Path:
        """What people call it: the file, or the folder of a series."""
        return self.path.parent if self.is_folder else self.path


def means_many(named: Sequence[Path]) -> bool:
    """Whether these are more than the one file of one slide, going by how they are named."""
    return len(named) != 1 or named[0].is_dir() or _is_pattern(named[0])


def find_slides(named: Sequence[Path], results: Path | None = None) -> list[Found]:
    """Return the slides, in the order they were named; within a folder in that of their paths.

    Args:
        named: Files, folders, or patterns such as `slides/*.svs` and `slides/**/*.svs`.
        results: A folder that is not looked into, for results are written there.

    Raises:
        RequestInvalid: One of them is not there, or leads to no slide.
    """
    files: dict[Path, Path] = {}
    for each in named:
        found = list(_expanded(each, results))
        if not found:
            raise RequestInvalid("No slide is there.", value=each, accepted=f"files named {', '.join(TAKEN)}")
        for path in found:
            files.setdefault(path.resolve(), path)
    return list(_by_series(list(files.values())))


def is_slide_name(path: Path) -> bool:
    """Whether a file of a folder is taken for a slide."""
    return path.suffix.lower() in TAKEN and not path.name.startswith(".") and JUNK.fullmatch(path.name) is None


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _expanded(named: Path, results: Path | None) -> Iterator[Path]:
    if _is_pattern(named):
        for match in sorted(glob.glob(str(named), recursive=True)):  # noqa: PTH207 (Path.glob takes no absolute ones)
            path = Path(match)
            if path.is_dir():
                if "**" not in named.parts:  # which gives what is in it by itself
                    yield from _within(path, results)
            elif "**" not in named.parts or is_slide_name(path):
                yield path
    elif named.is_dir():
        yield from _within(named, results)
    elif named.is_file():
        yield named
    else:
        raise RequestInvalid("No such file or folder.", value=named, accepted="slides, folders, or patterns in quotes")


def _within(folder: Path, results: Path | None) -> Iterator[Path]:
    """Yield the slides of a folder and of those below, without results and what is hidden."""
    avoided = None if results is None else results.resolve()
    for where, folders, files in os.walk(folder):
        here = Path(where)
        if here.resolve() == avoided or PLAN in files or is_zarr_folder(here):
            folders.clear()
            continue
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        yield from sorted(path for name in files if is_slide_name(path := here / name))


def _by_series(files: Sequence[Path]) -> Iterator[Found]:
    """Yield files as slides: of the instances of a DICOM series in one folder, the largest stands for all."""
    series: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        series.setdefault((path.parent, _series_of(path)), []).append(path)
    beside: dict[Path, int] = {}
    for folder, _ in series:
        beside[folder] = beside.get(folder, 0) + 1
    for (folder, _), members in series.items():
        first = min(members, key=lambda path: (-path.stat().st_size, path.name))
        yield Found(first, tuple(members), is_folder=len(members) > 1 and beside[folder] == 1)


def _series_of(path: Path) -> str:
    """Return what the files of one slide have in common: the series of a DICOM file, else the file's own path."""
    if path.suffix.lower() == DICOM:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the standard forbids; the reader looks at it again
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
                return str(header.SeriesInstanceUID)
        except (InvalidDicomError, AttributeError, EOFError, ValueError, OSError):
            pass  # a slide by itself, and its reader says what is wrong with it
    return str(path)
