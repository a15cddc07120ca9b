"""A plane and its coarser levels as tiles: made in one pass over the plane, packed once for every file of it.

Each chunk of the plane is decoded once for all levels and files. Level k holds every 2^k-th pixel of every 2^k-th row.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from workers.core.checks import Check, unchecked
from workers.core.label_layout import TILE_PX, level_steps
from workers.pipeline.sparse import PlaneArray
from workers.pipeline.stitch import UInt8

BLOCK_PX = 4096
"""Side of the block of the plane that is in memory at once; a chunk larger than this is in memory whole."""

DEFLATE_LEVEL = 2
"""Of ISA-L, which has four, 0 to 3; an eighth of the time of zlib's sixth, twice its size."""


class Tile(NamedTuple):
    """A tile of a level.

    Args:
        level: Place of the level among the steps.
        row: Of the tiles of the level.
        col: Of the tiles of the level.
        pixels: uint8, `TILE_PX` px a side, less at the plane's right and lower edge.
    """

    level: int
    row: int
    col: int
    pixels: UInt8

    def flat(self) -> int | None:
        """Return the value that all its pixels have, and those past the plane's edge; None if they differ."""
        value = int(self.pixels[0, 0])
        is_whole = value == 0 or self.pixels.shape == (TILE_PX, TILE_PX)
        looks = self.pixels[::16], self.pixels  # where a tile is not flat, a few rows mostly say so
        return value if is_whole and all(rows.min() == value == rows.max() for rows in looks) else None

    def padded(self) -> UInt8:
        """Return its pixels, uint8 (`TILE_PX`, `TILE_PX`), background past the plane's edge."""
        if self.pixels.shape == (TILE_PX, TILE_PX):
            return self.pixels
        tile = np.zeros((TILE_PX, TILE_PX), np.uint8)
        tile[: self.pixels.shape[0], : self.pixels.shape[1]] = self.pixels
        return tile


def level_tiles(
    plane: PlaneArray, steps: Sequence[int], block_px: int = BLOCK_PX, check: Check = unchecked
) -> Iterator[Tile]:
    """Yield the tiles of all levels in one pass over a plane: block by block, the coarsest levels last.

    Memory holds one block of the plane and, for the levels of which a block holds no whole tile, the coarse plane.

    Args:
        plane: uint8 array of the working plane.
        steps: How many px of the plane the pixels of each level are apart: 1, 2, 4, …
        block_px: Side of a block; `TILE_PX` times a power of two.
        check: Called before each block; raises if the work is no longer wanted.
    """
    height, width = plane.shape
    every = 2 * block_px // TILE_PX
    has_coarse = any(step >= every for step in steps)
    coarse = np.zeros((-(-height // every), -(-width // every)) if has_coarse else (0, 0), np.uint8)
    side = -(-plane.chunks[0] // block_px) * block_px
    for y in range(0, height, side):
        for x in range(0, width, side):
            check()
            block: UInt8 = np.asarray(plane[y : min(y + side, height), x : min(x + side, width)])
            if has_coarse:
                part = block[::every, ::every]
                coarse[y // every :, x // every :][: part.shape[0], : part.shape[1]] = part
            for level, step in enumerate(steps):
                if step < every:
                    yield from _cut(level, block[::step, ::step], y // (step * TILE_PX), x // (step * TILE_PX))
    for level, step in enumerate(steps):
        if step >= every:
            yield from _cut(level, coarse[:: step // every, :: step // every], 0, 0)


def _cut(level: int, pixels: UInt8, first_row: int, first_col: int) -> Iterator[Tile]:
    """Yield the tiles of a part of a level that begins with the tile at this row and column."""
    for y in range(0, pixels.shape[0], TILE_PX):
        for x in range(0, pixels.shape[1], TILE_PX):
            part = pixels[y : y + TILE_PX, x : x + TILE_PX]
            yield Tile(level, first_row + y // TILE_PX, first_col + x // TILE_PX, part)


def deflated(pixels: UInt8) -> bytes:
    """Return a tile as a zlib stream."""
    return isal_zlib.compress(pixels.tobytes(), DEFLATE_LEVEL)


class Levels:
    """Packed tiles of a plane, all of `TILE_PX` px a side: past the plane's edge they are background.

    Nothing is read before the first tile is asked for. Tiles lie in a file without a name, in a folder of the caller:
    memory holds one block of the plane and, for the levels of which a block holds no whole tile, the coarse plane.

    Args:
        plane: uint8 array of the working plane.
        folder: On a disk that has room for the tiles.
        block_px: Side of a block; `TILE_PX` times a power of two.
        steps: How many px of the plane the pixels of each level are apart; those of a pyramid if not given.
        pack: Makes the bytes of a tile, uint8 (`TILE_PX`, `TILE_PX`).
    """

    def __init__(
        self,
        plane: PlaneArray,
        folder: Path,
        block_px: int = BLOCK_PX,
        *,
        steps: Sequence[int] = (),
        pack: Callable[[UInt8], bytes] = deflated,
    ) -> None:
        self.shape = plane.shape
        self.steps = tuple(steps) or level_steps(plane.shape[1], plane.shape[0])
        self._pack = pack
        self._plane = plane
        self._block_px = block_px
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places = [np.zeros((*self.grid(step), 2), np.int64) for step in self.steps]
        self._flat: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the room on the disk back."""
        if self._file is not None:
            self._file.close()

    def grid(self, step: int) -> tuple[int, int]:
        """Return (rows, columns) of the tiles of the level whose pixels are `step` working px apart."""
        height, width = self.shape
        return -(-height // (TILE_PX * step)), -(-width // (TILE_PX * step))

    def tiles(self, step: int) -> Iterator[bytes]:
        """Yield the tiles of a level, row by row, as they were packed.

        Raises:
            OSError: The plane cannot be read, or the disk does not take the tiles.
        """
        file = self._made()
        for offset, size in self._places[self.steps.index(step)].reshape(-1, 2).tolist():
            file.seek(offset)
            yield file.read(size)

    def sizes(self, step: int) -> NDArray[np.int64]:
        """Return how many bytes each of them has; errors as for `tiles`."""
        self._made()
        return self._places[self.steps.index(step)][..., 1].ravel()

    def _made(self) -> IO[bytes]:
        return self._file or self._make()

    def _make(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by `close`)
        try:
            for tile in level_tiles(self._plane, self.steps, self._block_px):
                self._places[tile.level][tile.row, tile.col] = self._place(file, tile)
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _place(self, file: IO[bytes], tile: Tile) -> tuple[int, int]:
        """Return offset and size of a tile; one of a single value is written once."""
        value = tile.flat()
        if value is not None and value in self._flat:
            return self._flat[value]
        packed = self._pack(tile.padded())
        place = file.tell(), len(packed)
        file.write(packed)
        if value is not None:
            self._flat[value] = place
        return place
