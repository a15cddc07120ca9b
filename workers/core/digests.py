"""SHA-256 of files, in hexadecimal."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(files: Iterable[Path], folder: Path) -> str:
    """Return the SHA-256 of the lines `<sha256>  <path>` of files in a folder, as `sha256sum` writes them.

    Args:
        files: In the order of the lines.
        folder: What the paths begin at.
    """
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
