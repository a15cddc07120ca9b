"""SHA-256 of files, in hexadecimal."""

import hashlib
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path

Opener = Callable[[Path], FileIO]
"""How files are opened that are read: another one than the usual may read slowly."""


def sha256_of(path: Path, opener: Opener = FileIO) -> str:
    """Return the SHA-256 of a file."""
    with opener(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(files: Iterable[Path], folder: Path, opener: Opener = FileIO) -> str:
    """Return the SHA-256 of the lines `<sha256>  <path>` of files in a folder, as `sha256sum` writes them.

    Args:
        files: In the order of the lines.
        folder: What the paths begin at.
        opener: See `Opener`.
    """
    lines = [f"{sha256_of(path, opener)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
