"""Slides of several files, packed into the one zip that the server takes: MIRAX, or the folder of a DICOM series."""

import shutil
import zipfile
from pathlib import Path

from ldiffusion_client.errors import Refused, failure
from ldiffusion_client.names import printable

MIRAX = ".mrxs"
PIECE_BYTES = 2**20


def files_of(path: Path) -> dict[str, Path] | None:
    """Return the files of a slide of several, by their names in the archive; None if the slide is one file.

    Args:
        path: A folder with one DICOM series, or `slide.mrxs`, which belongs to the folder `slide` beside it. Without
            that folder it counts as one file: the server says what is missing.

    Raises:
        Refused: The folder is empty, or a name is not UTF-8, which an archive cannot hold.
    """
    files = _found(path)
    for each in files or ():
        if printable(each) != each:
            told = "A slide of several files has a name that is not UTF-8."
            raise failure(Refused, "invalid_request", told, printable(each), "UTF-8")
    return files


def _found(path: Path) -> dict[str, Path] | None:
    if path.is_dir():
        found = {each.name: each for each in _within(path)}
        if not found:
            accepted = "a folder with one DICOM series"
            raise failure(Refused, "invalid_request", "The folder holds no files.", path, accepted)
        return found
    folder = path.with_suffix("")
    if path.suffix.lower() != MIRAX or not folder.is_dir():
        return None
    return {path.name: path} | {f"{folder.name}/{each.name}": each for each in _within(folder)}


def pack(files: dict[str, Path], archive: Path) -> None:
    """Write files into a zip as they are. The same files make the same bytes, by which an upload is known again."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name, path in files.items():
            with path.open("rb") as source, target.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                shutil.copyfileobj(source, entry, PIECE_BYTES)


def _within(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
