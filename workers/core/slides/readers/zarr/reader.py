"""An OME-Zarr as a slide: three channels as red, green and blue, or one as grey; the middle focal plane.

Each chunk is read when a place in it is asked for, and decoded once for its neighbours.
"""

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.slide_schemas import SlideLevel, TrustWarning
from workers.core.slides.geometry import geometry_from
from workers.core.slides.readers.zarr.array import OWNER, Index, ZarrArray
from workers.core.slides.readers.zarr.doubts import chunk_doubts, unlisted_doubts
from workers.core.slides.readers.zarr.entries import Entries, open_entries
from workers.core.slides.readers.zarr.layout import Layout, layout_of
from workers.core.slides.readers.zarr.missing import Place, missing_doubts
from workers.core.slides.size_limits import check_count, check_tile
from workers.core.slides.slide import PARSER_ERRORS, WHITE, Pixels, Slide, undecodable
from workers.core.slides.unread import SHOWN

LOOKED_AT = 2**17
"""Chunks of a level of which it is asked whether they are stored."""

CACHE_BYTES = 32 * 2**20
"""Tiles that are kept: neighbouring reads share them."""


def open_ome_zarr(path: Path, image: int | None = None) -> Slide:
    """Open an OME-Zarr, a zip or a folder.

    Args:
        path: The zip, or the folder.
        image: The number of the image to read; None takes the largest.

    Raises:
        SlideUnreadable: It holds no image, or what it holds is not understood.
        SlideTooLarge: It has too many entries, or a chunk is past the limits.
    """
    entries = open_entries(path)
    try:
        return OmeZarrSlide(entries, layout_of(entries, image))
    except LDiffusionError:
        entries.close()
        raise
    except PARSER_ERRORS as error:
        entries.close()
        raise SlideUnreadable("The metadata of this OME-Zarr make no sense.", value=ascii(str(error)[:200])) from error


class OmeZarrSlide(Slide):
    """One image of an OME-Zarr.

    Args:
        entries: Where its files lie; closed with the slide.
        layout: What of it is read.

    Raises:
        SlideUnreadable: Its arrays hold what is not understood.
        SlideTooLarge: A chunk, or their number, is past the limits.
    """

    backend = "zarr"
    vendor = "ome-zarr"

    def __init__(self, entries: Entries, layout: Layout) -> None:
        self._entries = entries
        self._axes, self._listed = layout.axes, layout.listed
        self._arrays = tuple(ZarrArray(entries, level.said) for _, level in layout.levels)
        levels = []
        for (factor, _), array in zip(layout.levels, self._arrays, strict=True):
            width, height = self._tile_size(array)
            check_tile(OWNER, width, height)
            check_count(OWNER, -(-factor.size[0] // width) * -(-factor.size[1] // height))
            levels.append(
                SlideLevel(
                    width=factor.size[0],
                    height=factor.size[1],
                    downsample=float(factor.downsample),
                    tile_width=width,
                    tile_height=height,
                )
            )
        self.geometry = geometry_from(levels, layout.resolution)
        self.content, self.warnings = layout.content, layout.warnings
        self._cache: OrderedDict[tuple[int, int, int], Pixels] = OrderedDict()
        self._cached_bytes = 0

    def doubts(self) -> Iterator[TrustWarning]:
        """Yield what cannot be trusted of the files, by their names and by a few of them."""
        yield from unlisted_doubts(self._entries, self._arrays, self._listed)
        for number, array in enumerate(self._arrays):
            yield from chunk_doubts(self._entries, array, self._axes, number, self.geometry)
            yield from missing_doubts(self, number, min(self._tile_size(array)), _fill(array), self._absent(number))

    def _absent(self, level: int) -> list[Place]:
        """Return where chunks that would be shown are not stored; of a level of too many, of some of them."""
        array, size = self._arrays[level], self.geometry.levels[level]
        width, height = self._tile_size(array)
        channels, side = min(self._length(array, "c"), SHOWN), self._side(array, "c")
        counts = -(-channels // side), -(-size.height // height), -(-size.width // width)
        found = []
        for number in range(0, prod(counts), max(1, prod(counts) // LOOKED_AT)):
            channel, row, col = map(int, np.unravel_index(number, counts))
            if not array.is_stored(self._index(array, channel, row, col)):
                colours = slice(channel * side, (channel + 1) * side) if channels > 1 else slice(None)
                found.append(Place(col * width, row * height, (col + 1) * width, (row + 1) * height, colours))
        return found

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        tile_width, tile_height = self._tile_size(self._arrays[level])
        out = np.empty((height, width, 3), np.uint8)
        for row in range(lv_y // tile_height, -(-(lv_y + height) // tile_height)):
            for col in range(lv_x // tile_width, -(-(lv_x + width) // tile_width)):
                tile = self._tile(level, row, col)
                top, left = row * tile_height, col * tile_width
                y0, y1 = max(top, lv_y), min(top + tile_height, lv_y + height)
                x0, x1 = max(left, lv_x), min(left + tile_width, lv_x + width)
                out[y0 - lv_y : y1 - lv_y, x0 - lv_x : x1 - lv_x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def _tile(self, level: int, row: int, col: int) -> Pixels:
        key = level, row, col
        tile = self._cache.pop(key, None)
        if tile is None:
            try:
                tile = self._coloured(self._arrays[level], row, col)
            except (*PARSER_ERRORS, zlib.error) as error:
                width, height = self._tile_size(self._arrays[level])
                raise undecodable(level, col * width, row * height) from error
            self._cached_bytes += tile.nbytes
        self._cache[key] = tile
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _coloured(self, array: ZarrArray, row: int, col: int) -> Pixels:
        """Return a tile as it is shown: grey, or its first channels as red, green and blue."""
        width, height = self._tile_size(array)
        planes: list[Pixels] = []
        chunk: Pixels | None = None
        for channel in range(min(self._length(array, "c"), SHOWN)):
            side = self._side(array, "c")
            if channel % side == 0:
                chunk = array.read(self._index(array, channel // side, row, col))
            if chunk is None:
                planes.append(np.full((height, width), _fill(array), np.uint8))
            else:
                planes.append(self._plane(array, chunk, channel % side))
        if len(planes) > 1:
            planes += [np.zeros_like(planes[0])] * (3 - len(planes))  # two channels: red and green
        return np.stack(planes if len(planes) > 1 else planes * 3, axis=2)

    def _index(self, array: ZarrArray, c_index: int, row: int, col: int) -> Index:
        at = {"t": 0, "z": self._z(array) // self._side(array, "z"), "c": c_index, "y": row, "x": col}
        return tuple(at[axis] for axis in self._axes)

    def _plane(self, array: ZarrArray, chunk: Pixels, channel: int) -> Pixels:
        """Return one plane of a chunk, (height, width)."""
        at = {"t": 0, "z": self._z(array) % self._side(array, "z"), "c": channel}
        return np.asarray(chunk[tuple(at.get(axis, slice(None)) for axis in self._axes)])

    def _z(self, array: ZarrArray) -> int:
        """Return the focal plane that is read; a level may have fewer of them."""
        return self._length(array, "z") // 2

    def _length(self, array: ZarrArray, axis: str) -> int:
        return array.said.shape[self._axes.index(axis)] if axis in self._axes else 1

    def _side(self, array: ZarrArray, axis: str) -> int:
        return array.chunk[self._axes.index(axis)] if axis in self._axes else 1

    def _tile_size(self, array: ZarrArray) -> tuple[int, int]:
        """Return (width, height) of a chunk, px."""
        return self._side(array, "x"), self._side(array, "y")

    def close(self) -> None:
        """Release the file."""
        self._entries.close()


def _fill(array: ZarrArray) -> int:
    """Return what is shown where nothing is stored: white, as of other formats, where the file does not say it."""
    return WHITE if array.fill is None else array.fill
