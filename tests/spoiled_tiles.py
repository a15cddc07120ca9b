"""Breaks a tile of a slide: its bytes become those of no codec, and all else stays as it was."""

from pathlib import Path

import tifffile


def spoil_tile(path: Path, page: int, index: int) -> Path:
    """Write zeros over a tile of a TIFF.

    Args:
        path: The slide.
        page: Number of the directory.
        index: Number of the tile in it, row by row.
    """
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[page]
        assert isinstance(found, tifffile.TiffPage)
        offset, length = found.dataoffsets[index], found.databytecounts[index]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(length))
    return path
