"""An OME-Zarr is a folder of many small files; it comes as one zip, which is kept and read as it is.

Its files lie at the root of the zip, or all in one folder.
"""

from collections.abc import Iterable
from pathlib import Path

from workers.core.slides.names import JUNK

METADATA = (".zattrs", ".zgroup", "zarr.json")
"""A group of Zarr has one of them."""

MAX_ENTRIES = 2**17
"""Of a zip that is read as it is: where each one lies is held in memory."""

MAX_DEPTH = 12
"""Components of a name: folder, series, level, an index for each of five axes, and some to spare."""


def root_of(names: Iterable[str]) -> str | None:
    """Return what the names of an OME-Zarr in a zip begin with, empty or `folder/`; None if there is none.

    Args:
        names: Of all entries.
    """
    known = {name for name in names if not JUNK.fullmatch(name)}
    if known.intersection(METADATA):
        return ""
    tops = {name.partition("/")[0] for name in known}
    root = f"{tops.pop()}/" if len(tops) == 1 else None
    return root if root and any(root + name in known for name in METADATA) else None


def is_zarr_folder(path: Path) -> bool:
    """Whether a folder is a group of Zarr."""
    return any((path / name).is_file() for name in METADATA)
