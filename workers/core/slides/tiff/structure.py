"""Is a TIFF whole? Walks the directories without decoding a pixel: a file that was cut off, or that lies, is refused.

What a directory is, and which make no sense, is told by `tiff_directories`; here are the limits of what they hold.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.size_limits import check_pixels, check_tile
from workers.core.slides.tiff.codestream import READERS, check_size
from workers.core.slides.tiff.directories import Directory, Tiff, open_tiff
from workers.core.slides.tiff.values import Tag, cut_off, reader_of

MAX_STRIP_PIXELS = 2**26
"""A strip is decoded as a whole: 200 MB of RGB."""

PEEK_BYTES = 512
"""As much of each stored tile is looked at: its size stands at the beginning."""

JPEG = 7
_CHUNKS = ((Tag.STRIP_OFFSETS, Tag.STRIP_SIZES), (Tag.TILE_OFFSETS, Tag.TILE_SIZES))


def check_tiff(path: Path) -> bool:
    """Check that all that the directories of a TIFF point to lies within the file.

    Returns:
        False if the file is no TIFF at all, and nothing was checked.

    Raises:
        SlideUnreadable: The file is cut off, a directory leads back to itself, or they make no sense.
        SlideTooLarge: A tile, a strip or a number of directories or tags is past the limits.
    """
    with path.open("rb") as file:
        tiff = open_tiff(reader_of(file.fileno()), path.stat().st_size)
        if tiff is None:
            return False
        for directory in tiff.directories():
            _check_sizes(tiff, directory)
            _check_chunks(tiff, directory)
            _check_tiles(tiff, directory)
    return True


def _check_sizes(tiff: Tiff, directory: Directory) -> None:
    width, height = (directory.number(tiff.read, tag) for tag in (Tag.TILE_WIDTH, Tag.TILE_HEIGHT))
    check_tile("TIFF", width, height)
    bits = directory.tags.get(Tag.BITS)
    most_bits = 1 if bits is None else int(bits.all(tiff.read).max(initial=0))
    samples = directory.number(tiff.read, Tag.SAMPLES, 1)
    check_pixels("TIFF", width * height or _strip_pixels(tiff, directory), samples, most_bits)


def _strip_pixels(tiff: Tiff, directory: Directory) -> int:
    """Return the px of a strip that a reader decodes as a whole; those of an NDPI have restart points."""
    if tiff.is_ndpi and directory.number(tiff.read, Tag.COMPRESSION) == JPEG:
        return 0
    width, height = (directory.number(tiff.read, tag) for tag in (Tag.WIDTH, Tag.HEIGHT))
    rows = min(directory.number(tiff.read, Tag.ROWS_PER_STRIP) or height, height)
    if width * rows > MAX_STRIP_PIXELS:
        raise SlideTooLarge(
            "This TIFF is not tiled and its strips are too large.",
            value=f"{width} x {rows}",
            accepted=f"a tiled TIFF, or strips of at most {MAX_STRIP_PIXELS} pixels",
        )
    return width * rows


class Grid(NamedTuple):
    """The tiles or strips of a directory.

    Attributes:
        piece: (width, height) of a tile or strip, px.
        across: How many stand side by side.
        wanted: How many the size of the directory asks for, those of planes apart each for itself.
        offsets: Where the stored ones lie.
        sizes: How many bytes they have.
        whole: (width, height) of the directory, px.
        is_tiled: They are tiles.
    """

    piece: tuple[int, int]
    across: int
    wanted: int
    offsets: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.uint64]
    whole: tuple[int, int]
    is_tiled: bool

    def at(self, index: int) -> tuple[int, int]:
        """Return (left, top) of a piece, px; pieces of planes apart lie on one another."""
        index %= self.across * -(-self.whole[1] // self.piece[1])
        return index % self.across * self.piece[0], index // self.across * self.piece[1]

    def covers(self, size: tuple[int, int]) -> bool:
        """Whether a picture of this size needs just this grid: the directory may be padded."""
        return all(
            -(-length // side) == -(-full // side)
            for length, full, side in zip(size, self.whole, self.piece, strict=True)
        )


def grid_of(tiff: Tiff, directory: Directory) -> Grid | None:
    """Return the tiles or strips of a directory; None where it says too little."""
    is_tiled = {Tag.TILE_WIDTH, Tag.TILE_HEIGHT} <= directory.tags.keys()
    tags = next((pair for pair in reversed(_CHUNKS) if set(pair) <= directory.tags.keys()), None)
    width, height = directory.number(tiff.read, Tag.WIDTH), directory.number(tiff.read, Tag.HEIGHT)
    if is_tiled:
        piece = directory.number(tiff.read, Tag.TILE_WIDTH), directory.number(tiff.read, Tag.TILE_HEIGHT)
    else:
        piece = width, min(directory.number(tiff.read, Tag.ROWS_PER_STRIP) or height, height)
    if tags is None or 0 in piece:
        return None
    planes = directory.number(tiff.read, Tag.SAMPLES, 1) if directory.number(tiff.read, Tag.PLANAR, 1) == 2 else 1
    across, down = -(-width // piece[0]), -(-height // piece[1])
    offsets, sizes = (directory.tags[tag].all(tiff.read) for tag in tags)
    return Grid(piece, across, across * down * planes, offsets, sizes, (width, height), is_tiled)


def _check_tiles(tiff: Tiff, directory: Directory) -> None:
    """Refuse a directory that has not a place for each tile of its grid, and tiles that say another size of themselves.

    Only tiles that are stored are asked: a tile of no bytes was never scanned.
    """
    grid = grid_of(tiff, directory)
    if grid is None or (tiff.is_ndpi and not grid.is_tiled):
        return
    if min(len(grid.offsets), len(grid.sizes)) < grid.wanted:
        what = "tiles" if grid.is_tiled else "strips"
        raise SlideUnreadable(
            f"A directory of this TIFF has fewer {what} than its size asks for.",
            value=f"{min(len(grid.offsets), len(grid.sizes))} {what}",
            accepted=f"{grid.wanted} {what} of {grid.piece[0]} x {grid.piece[1]} for {grid.whole[0]} x {grid.whole[1]}",
        )
    compression = directory.number(tiff.read, Tag.COMPRESSION, 1)
    if compression in READERS and grid.is_tiled:
        pieces = zip(grid.offsets[: grid.wanted].tolist(), grid.sizes[: grid.wanted].tolist(), strict=True)
        for offset, size in pieces:
            if size:
                check_size(compression, tiff.read(offset, min(size, PEEK_BYTES)), *grid.piece)


def _check_chunks(tiff: Tiff, directory: Directory) -> None:
    """Refuse tiles and strips that lie outside the file."""
    for offsets_tag, sizes_tag in _CHUNKS:
        if offsets_tag not in directory.tags or sizes_tag not in directory.tags:
            continue
        offsets, counts = (directory.tags[tag].all(tiff.read) for tag in (offsets_tag, sizes_tag))
        size = np.uint64(tiff.size)
        pairs = min(len(offsets), len(counts))
        offsets, counts = offsets[:pairs], counts[:pairs]
        outside = np.flatnonzero((offsets > size) | (counts > size - np.minimum(offsets, size)))
        if outside.size:  # said like this because a hostile offset + count may pass 64 bits
            end = int(offsets[outside[0]]) + int(counts[outside[0]])
            raise cut_off(f"a piece of its pixels ends at byte {end}", tiff.size)
