"""A plane and its coarser levels as deflated tiles: made in one pass over the plane, for every TIFF of it.

Each chunk of the plane is decoded once for all levels and files. Level k holds every 2^k-th pixel of every 2^k-th row.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import imagecodecs
import numpy as np

from workers.core.label_layout import TILE_PX, level_steps
from workers.pipeline.stitch import PlaneArray, UInt8

BLOCK_PX = 4096
"""Side of the block of the plane that is in memory at once; a chunk larger than this is in memory whole."""

DEFLATE_LEVEL = 6


class Levels:
    """Deflated tiles of a plane, all of `TILE_PX` px a side: past the plane's edge they are background.

    Nothing is read before the first tile is asked for. Tiles lie in a file without a name, in a folder of the caller:
    memory holds one block of the plane and, for the levels of which a block holds no whole tile, the coarse plane.

    Args:
        plane: uint8 array of the working plane.
        folder: On a disk that has room for the tiles.
        block_px: Side of a block; `TILE_PX` times a power of two.
    """

    def __init__(self, plane: PlaneArray, folder: Path, block_px: int = BLOCK_PX) -> None:
        self.shape = plane.shape
        self.steps = level_steps(plane.shape[1], plane.shape[0])
        self._plane = plane
        self._block_px = block_px
        self._coarse = 2 * block_px // TILE_PX
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
        """Yield the tiles of a level, row by row, as zlib streams.

        Raises:
            OSError: The plane cannot be read, or the disk does not take the tiles.
        """
        file = self._file or self._make()
        for offset, size in self._places[self.steps.index(step)].reshape(-1, 2).tolist():
            file.seek(offset)
            yield file.read(size)

    def _make(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by `close`)
        try:
            coarse = self._take_blocks(file)
            for level, step in enumerate(self.steps):
                if step >= self._coarse:
                    self._take(file, level, coarse[:: step // self._coarse, :: step // self._coarse], (0, 0))
        except BaseException:
            file.close()
            raise
        self._file = file
        return file

    def _take_blocks(self, file: IO[bytes]) -> UInt8:
        """Write the tiles of the fine levels, block by block; return every `_coarse`-th pixel of the plane."""
        height, width = self.shape
        coarse = np.zeros((-(-height // self._coarse), -(-width // self._coarse)), np.uint8)
        side = -(-self._plane.chunks[0] // self._block_px) * self._block_px
        for y in range(0, height, side):
            for x in range(0, width, side):
                block: UInt8 = np.asarray(self._plane[y : min(y + side, height), x : min(x + side, width)])
                part = block[:: self._coarse, :: self._coarse]
                coarse[y // self._coarse :, x // self._coarse :][: part.shape[0], : part.shape[1]] = part
                for level, step in enumerate(self.steps):
                    if step < self._coarse:
                        corner = y // (step * TILE_PX), x // (step * TILE_PX)
                        self._take(file, level, block[::step, ::step], corner)
        return coarse

    def _take(self, file: IO[bytes], level: int, pixels: UInt8, corner: tuple[int, int]) -> None:
        """Write tiles of a level, from its tile at `corner` (row, column) on."""
        for row in range(-(-pixels.shape[0] // TILE_PX)):
            for col in range(-(-pixels.shape[1] // TILE_PX)):
                part = pixels[row * TILE_PX : (row + 1) * TILE_PX, col * TILE_PX : (col + 1) * TILE_PX]
                self._places[level][corner[0] + row, corner[1] + col] = self._place(file, part)

    def _place(self, file: IO[bytes], part: UInt8) -> tuple[int, int]:
        """Return offset and size of a tile; one of a single value is written once."""
        value = int(part[0, 0])
        is_flat = (part.shape == (TILE_PX, TILE_PX) or value == 0) and not (part != value).any()
        if is_flat and value in self._flat:
            return self._flat[value]
        tile = np.zeros((TILE_PX, TILE_PX), np.uint8)
        tile[: part.shape[0], : part.shape[1]] = part
        packed = imagecodecs.deflate_encode(tile.tobytes(), level=DEFLATE_LEVEL)
        place = file.tell(), len(packed)
        file.write(packed)
        if is_flat:
            self._flat[value] = place
        return place
