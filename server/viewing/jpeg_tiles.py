"""The JPEG tiles that a slide's file holds, given as they are: nothing is decoded, nothing is lost.

Put together by `workers.core.slides.tiff.stored_jpeg` they are pictures that any viewer shows with the pixels that
OpenSlide reads. Of which formats they may be given is said by each format: `Format.stored_tiles`. What is not of the
usual kind is not given, and is then decoded as every other slide is.
"""

import io
import os
import weakref
from pathlib import Path

import numpy as np
from PIL import Image

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import gives_stored_tiles
from workers.core.slides.slide import Pixels
from workers.core.slides.tiff.stored_jpeg import assembled, head_of, is_usual
from workers.core.slides.tiff.tiled import TiledLevel, tiled_levels
from workers.core.slides.tiff.values import Reader, reader_at_hand, reader_of

REDUCTIONS = (2, 4, 8)
"""Steps between stored px that a JPEG can be decoded at at once."""


class StoredTiles:
    """The JPEG tiles of a slide that its Deep Zoom grid consists of. For any thread; holds the file open meanwhile.

    Args:
        path: The slide's file.
        info: The slide.
        tile_px: Side of the tiles of the grid.
    """

    def __init__(self, path: Path, info: SlideInfo, tile_px: int) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, file)
        self._read, self._read_at_hand = reader_of(file), reader_at_hand(file)
        self._levels = _by_step(self._read, os.fstat(file).st_size, info, tile_px)
        self._heads = {step: head_of(level) for step, level in self._levels.items()}

    def tile(self, step: int, col: int, row: int) -> bytes | None:
        """Return a tile as a JPEG, None if it is not to be had without decoding: at an edge, absent, of another kind.

        Args:
            step: Level-0 px per px of the tile's level.
            col: Of the grid.
            row: Of the grid.
        """
        return self._stored(self._read, step, col, row) if step in self._levels else None

    def tile_at_hand(self, step: int, col: int, row: int) -> bytes | None:
        """Return what `tile` does if it takes no wait for a disk, else None; may be called where nothing may block."""
        try:
            return self._stored(self._read_at_hand, step, col, row) if step in self._levels else None
        except BlockingIOError:
            return None

    def reduced(self, step: int, col: int, row: int) -> Pixels | None:
        """Return a tile of a level that the slide has not, from the tiles of one that is 2, 4 or 8 times as fine.

        Each is decoded at the smaller size at once, which averages it within its frequencies.

        Returns:
            uint8 (tile_px, tile_px, 3), or None if it is not to be had so.
        """
        factor = next((each for each in REDUCTIONS if step % each == 0 and step // each in self._levels), None)
        if factor is None:
            return None
        fine = step // factor
        side = self._levels[fine].tile[0]
        part = side // factor
        if part * factor != side:
            return None
        out = np.empty((side, side, 3), np.uint8)
        for y in range(factor):
            for x in range(factor):
                stored = self._stored(self._read, fine, col * factor + x, row * factor + y)
                pixels = None if stored is None else decoded_at(stored, part)
                if pixels is None:
                    return None
                out[y * part : (y + 1) * part, x * part : (x + 1) * part] = pixels
        return out

    def _stored(self, read: Reader, step: int, col: int, row: int) -> bytes | None:
        level = self._levels[step]
        side = level.tile[0]
        if (col + 1) * side > level.width or (row + 1) * side > level.height:
            return None
        return assembled(self._heads[step], level.read(read, col, row), level.tile)


def decoded_at(stored: bytes, side: int) -> Pixels | None:
    """Decode a JPEG at a smaller size, a half, a quarter or an eighth of its own; None if it is damaged.

    Returns:
        uint8 (side, side, 3).
    """
    try:
        with Image.open(io.BytesIO(stored), formats=["JPEG"]) as image:
            image.draft("RGB", (side, side))
            pixels = np.asarray(image.convert("RGB"))
    except OSError:
        return None
    return pixels if pixels.shape[:2] == (side, side) else None


def _by_step(read: Reader, size: int, info: SlideInfo, tile_px: int) -> dict[int, TiledLevel]:
    """Return the directories that hold a level of the grid as JPEG, by level-0 px per px."""
    if not gives_stored_tiles(info.vendor, info.backend):
        return {}
    whole = (info.geometry.l0_width, info.geometry.l0_height)
    found: dict[int, TiledLevel] = {}
    try:
        directories = tiled_levels(read, size)
    except (SlideUnreadable, SlideTooLarge):  # whoever decodes it says what is wrong
        return {}
    for sides in ((level.width, level.height) for level in info.geometry.levels):
        same = [each for each in directories if (each.width, each.height) == sides]
        step = max(1, round(whole[0] / sides[0]))
        is_exact = all(abs(own * step - l0) < step for own, l0 in zip(sides, whole, strict=True))
        if (
            len(same) == 1
            and is_exact
            and step & (step - 1) == 0
            and is_usual(same[0])
            and same[0].tile == (tile_px, tile_px)
        ):
            found[step] = same[0]
    return found
