"""JPEG tiles of a slide decoded as they lie in the file: OpenSlide's pixels, without what OpenSlide does around them.

A tile that is missing, damaged or of another kind than its directory says is asked of the slide's own reader, which is
the one that judges: what is decoded here without a doubt has its pixels to the bit.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from simplejpeg import decode_jpeg

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slide_schemas import SlideGeometry, TrustWarning
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tiff.stored_jpeg import assembled, head_of, is_usual
from workers.core.slides.tiff.tiled import TiledLevel, tiled_levels
from workers.core.slides.tiff.values import Reader, reader_of

KEPT_BYTES = 2**25
"""Decoded tiles that are kept, where nobody says otherwise."""

SLAB_BYTES = 2**23
"""Memory for tiles is asked for in pieces of this size: the kernel gives large ones in large pages. In small pages it
takes half as long as decoding into it."""

Key = tuple[int, int, int]
"""(level, row, column) of a tile."""


class _Stored(NamedTuple):
    """A level whose tiles are JPEGs: its directory, and what stands before each tile."""

    directory: TiledLevel
    head: bytes


class TileCache:
    """Decoded tiles in memory of its own; the tile that was used longest ago makes room for another.

    Args:
        tile_bytes: Of the largest tile.
        most_bytes: What all may take; one tile has room whatever it takes.
    """

    def __init__(self, tile_bytes: int, most_bytes: int) -> None:
        self._tile_bytes = tile_bytes
        self._tiles: OrderedDict[Key, tuple[Pixels, Pixels]] = OrderedDict()
        self._free: list[Pixels] = []
        self._unmade = max(1, most_bytes // tile_bytes)

    def get(self, key: Key) -> Pixels | None:
        """Return a tile that is here."""
        found = self._tiles.get(key)
        if found is None:
            return None
        self._tiles.move_to_end(key)
        return found[1]

    def room(self, key: Key, shape: tuple[int, int, int]) -> Pixels:
        """Return memory for a tile that is not here; from now on it is."""
        if not self._free and self._unmade:
            count = min(self._unmade, max(1, SLAB_BYTES // self._tile_bytes))
            self._free += list(np.empty((count, self._tile_bytes), np.uint8))
            self._unmade -= count
        slot = self._free.pop() if self._free else self._tiles.popitem(last=False)[1][0]
        tile = slot[: shape[0] * shape[1] * shape[2]].reshape(shape)
        self._tiles[key] = slot, tile
        return tile

    def drop(self, key: Key) -> None:
        """Forget a tile that is here."""
        self._free.append(self._tiles.pop(key)[0])


class StoredTilesSlide(Slide):
    """A slide of which some levels are decoded tile by tile, and everything else is its reader's.

    Args:
        file: Descriptor of its file; closed with this.
        slide: As its reader has it open; closed with this.
        stored: The levels, by their number.
        kept_bytes: Decoded tiles that are kept.
    """

    def __init__(self, file: int, slide: Slide, stored: dict[int, TiledLevel], kept_bytes: int) -> None:
        self.backend = slide.backend  # type: ignore[misc] # the reader's, not the class's
        self.geometry, self.vendor = slide.geometry, slide.vendor
        self.content, self.warnings = slide.content, slide.warnings
        self.exact = frozenset(stored)
        self._file = file
        self._pread = reader_of(file)
        self._slide = slide
        self._stored = {level: _Stored(each, head_of(each)) for level, each in stored.items()}
        tile_bytes = max(3 * each.tile[0] * each.tile[1] for each in stored.values())
        self._tiles = TileCache(tile_bytes, kept_bytes)
        self._scratch: Pixels = np.empty(tile_bytes, np.uint8)

    def doubts(self) -> Iterator[TrustWarning]:
        """Yield what the reader doubts."""
        return self._slide.doubts()

    def close(self) -> None:
        """Release the file."""
        self._slide.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _fill(self, out: Pixels, level: int, lv_x: int, lv_y: int) -> None:
        height, width = out.shape[:2]
        stored = self._stored.get(level)
        if stored is None:
            self._slide.read_level(level, lv_x, lv_y, width, height, out)
            return
        across, down = stored.directory.tile
        for row in range(lv_y // down, -(-(lv_y + height) // down)):
            top = row * down
            y0, y1 = max(top, lv_y), min(top + down, lv_y + height)
            for col in range(lv_x // across, -(-(lv_x + width) // across)):
                left = col * across
                x0, x1 = max(left, lv_x), min(left + across, lv_x + width)
                is_inner = lv_x <= left - across and left + 2 * across <= lv_x + width
                is_inner = is_inner and lv_y <= top - down and top + 2 * down <= lv_y + height
                tile = self._tile((level, row, col), is_kept=not is_inner)
                out[y0 - lv_y : y1 - lv_y, x0 - lv_x : x1 - lv_x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]

    def _tile(self, key: Key, *, is_kept: bool) -> Pixels:
        """Return a tile, uint8 (height, width, 3), to be copied at once; beyond the level there may be anything.

        Args:
            key: Which.
            is_kept: It may be wanted again, by whoever reads the next rectangle: those of a job share their margins.
        """
        tile = self._tiles.get(key)
        if tile is not None:
            return tile
        across, down = self._stored[key[0]].directory.tile
        shape = down, across, 3
        if not is_kept:
            tile = self._scratch[: down * across * 3].reshape(shape)
            self._decode(tile, key)
            return tile
        tile, is_sound = self._tiles.room(key, shape), False
        try:
            self._decode(tile, key)
            is_sound = True
        finally:
            if not is_sound:
                self._tiles.drop(key)
        return tile

    def _decode(self, tile: Pixels, key: Key) -> None:
        """Decode a tile, or have the slide's reader do it."""
        level, row, col = key
        if self._is_decoded(tile, level, row, col):
            return
        down, across = tile.shape[:2]
        size, x, y = self.geometry.levels[level], col * across, row * down
        width, height = min(across, size.width - x), min(down, size.height - y)
        self._slide.read_level(level, x, y, width, height, tile[:height, :width])

    def _is_decoded(self, tile: Pixels, level: int, row: int, col: int) -> bool:
        """Decode a tile of the file; return whether all of it is sound."""
        directory, head = self._stored[level]
        try:
            jpeg = assembled(head, directory.read(self._pread, col, row), directory.tile)
            if jpeg is not None:
                decode_jpeg(jpeg, buffer=tile)  # strict: whatever a decoder warns of is an error
        except (SlideUnreadable, ValueError):
            return False
        return jpeg is not None


def by_stored_tiles(path: Path, slide: Slide, kept_bytes: int) -> Slide:
    """Return a slide that decodes the JPEG tiles of its file itself; as it was if it has none.

    Args:
        path: Its file.
        slide: As its reader has it open. Levels of the size of a directory show its tiles, each where its number says.
        kept_bytes: Decoded tiles that are kept.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # the reader has it open, and goes on
        return slide
    stored = stored_levels(reader_of(file), os.fstat(file).st_size, slide.geometry)
    if stored:
        return StoredTilesSlide(file, slide, stored, kept_bytes)
    os.close(file)
    return slide


def stored_levels(read: Reader, size: int, geometry: SlideGeometry) -> dict[int, TiledLevel]:
    """Return the directories of JPEG tiles that are a level each, by the number of the level.

    Args:
        read: Gives the bytes of the file.
        size: How many there are.
        geometry: Of the slide.
    """
    try:
        directories = tiled_levels(read, size)
    except (SlideUnreadable, SlideTooLarge, OSError):  # the reader that has it open says what is wrong, if it is wrong
        return {}
    found = {}
    for number, level in enumerate(geometry.levels):
        same = [each for each in directories if (each.width, each.height) == (level.width, level.height)]
        if len(same) == 1 and is_usual(same[0]):
            found[number] = same[0]
    return found
