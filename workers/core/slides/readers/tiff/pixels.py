"""Pixels of a TIFF by its directories: what neither OpenSlide nor tiffslide shows as it is.

Levels in SubIFDs, colours in planes of their own, palettes, grey where 0 is white. Each stored tile is decoded by
tifffile's codecs, after its own header was asked for its size. What is not understood is refused by name.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tifffile import TiffFile, TiffPage

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.tiff.layout import Layout, Level
from workers.core.slides.slide import PARSER_ERRORS, WHITE, Pixels, Slide, over_white, undecodable
from workers.core.slides.tiff.codestream import check_size

CACHE_BYTES = 32 * 2**20
"""Decoded tiles that are kept: neighbouring reads share them."""

ORIENTATION, UPRIGHT = 274, 1
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
NAMES = {
    4: "transparency mask",
    5: "CMYK",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "colour filter array",
    32844: "LogL",
    32845: "LogLuv",
}
JPEGS = frozenset({6, 7, 34892, 33007})
"""Compressions whose decoder turns YCbCr into RGB."""

ASSOCIATED_ALPHA, FREE_ALPHA = 1, 2


class TiffPagesSlide(Slide):
    """A TIFF read by its directories.

    Args:
        path: The file.
        file: The same, open; closed with the slide.
        layout: What of it is read.

    Raises:
        SlideUnreadable: A directory holds pixels that are not understood.
    """

    backend = "tifffile"

    def __init__(self, path: Path, file: TiffFile, layout: Layout) -> None:
        self._file = file
        self._levels = layout.levels
        for level in self._levels:
            check_pixels_understood(level)
        self._descriptor = os.open(path, os.O_RDONLY)
        self._cache: OrderedDict[tuple[int, int, int], Pixels] = OrderedDict()
        self._cached_bytes = 0

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        pages = self._levels[level].pages
        try:
            planes = [self._read_page(level, plane, lv_x, lv_y, width, height) for plane in range(len(pages))]
        except PARSER_ERRORS as error:
            raise undecodable(level, lv_x, lv_y) from error
        if len(planes) == 1:
            return planes[0]
        colours = [plane[..., 0] for plane in planes]
        colours += [np.zeros_like(colours[0])] * (3 - len(colours))  # two channels: red and green
        return np.stack(colours, axis=2)

    def _read_page(self, level: int, plane: int, x: int, y: int, width: int, height: int) -> Pixels:
        page = self._levels[level].pages[plane]
        tile_width, tile_height = tile_size(page)
        out = np.full((height, width, 3), WHITE, np.uint8)
        for row in range(y // tile_height, -(-(y + height) // tile_height)):
            for col in range(x // tile_width, -(-(x + width) // tile_width)):
                tile = self._tile(level, plane, row, col)
                top, left = row * tile_height, col * tile_width
                y0, y1 = max(top, y), min(top + tile.shape[0], y + height)
                x0, x1 = max(left, x), min(left + tile.shape[1], x + width)
                if y0 < y1 and x0 < x1:
                    out[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return out

    def _tile(self, level: int, plane: int, row: int, col: int) -> Pixels:
        page = self._levels[level].pages[plane]
        across = -(-page.imagewidth // tile_size(page)[0])
        key = level, plane, row * across + col
        tile = self._cache.pop(key, None)
        if tile is None:
            tile = as_rgb(page, self._samples(page, key[2]))
            self._cached_bytes += tile.nbytes
        self._cache[key] = tile
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile

    def _samples(self, page: TiffPage, index: int) -> npt.NDArray[np.uint8] | None:
        """Return the samples of a tile or strip, (height, width, samples); None if the file has not stored it."""
        if page.planarconfig != 2 or page.samplesperpixel == 1:
            return self._segment(page, index)
        count = len(page.dataoffsets) // page.samplesperpixel
        planes = [self._segment(page, index + sample * count) for sample in range(page.samplesperpixel)]
        known = [plane for plane in planes if plane is not None]
        return np.concatenate(known, axis=2) if len(known) == len(planes) else None

    def _segment(self, page: TiffPage, index: int) -> npt.NDArray[np.uint8] | None:
        size = page.databytecounts[index]
        if size == 0:
            return None
        data = os.pread(self._descriptor, size, page.dataoffsets[index])
        width, height = tile_size(page)
        if not page.is_tiled:
            height = min(height, page.imagelength - index % -(-page.imagelength // height) * height)
        check_size(int(page.compression), data, width, height, is_whole=True)
        tables = page.jpegtables
        decoded, _, shape = page.decode(data, index, jpegtables=tables) if tables else page.decode(data, index)
        if decoded is None:
            return None
        _, rows, columns, _ = shape
        return np.asarray(decoded)[0, :rows, :columns]

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._file.close()


def tile_size(page: TiffPage) -> tuple[int, int]:
    """Return (width, height) of what is stored in one piece: a tile or a strip, px."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, min(page.rowsperstrip or page.imagelength, page.imagelength)


def check_pixels_understood(level: Level) -> None:
    """Refuse pixels that would come out wrong.

    Raises:
        SlideUnreadable: Names what it is.
    """
    for page in level.pages:
        for what, value, accepted in _misfits(page):
            raise SlideUnreadable(f"The {what} of this TIFF is not understood.", value=value, accepted=accepted)


def _misfits(page: TiffPage) -> Iterator[tuple[str, str, str]]:
    photometric = int(page.photometric)
    understood = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, PALETTE: 1, RGB: 3, YCBCR: 3}
    if photometric not in understood or (photometric == YCBCR and int(page.compression) not in JPEGS):
        yield (
            "photometric interpretation",
            NAMES.get(photometric, str(photometric)),
            "grey, palette, RGB, YCbCr in JPEG",
        )
        return
    if page.dtype != np.uint8 or page.bitspersample != 8:
        yield "bit depth", f"{page.bitspersample} bits, {page.dtype}", "8 bits, unsigned"
    table = page.colormap
    if photometric == PALETTE and (table is None or table.shape != (3, 256)):
        yield "palette", "none" if table is None else f"{table.size} values", "256 of red, green and blue each"
    extra = page.samplesperpixel - understood[photometric]
    if extra not in ((0, 1) if photometric == RGB else (0,)):
        yield (
            "number of samples",
            f"{page.samplesperpixel} of 8 bits",
            f"{understood[photometric]} of 8 bits, or RGB and one",
        )
    orientation = page.tags.get(ORIENTATION)
    if orientation is not None and int(orientation.value) != UPRIGHT:
        yield "orientation", str(int(orientation.value)), f"{UPRIGHT}, upright"


def as_rgb(page: TiffPage, samples: npt.NDArray[np.uint8] | None) -> Pixels:
    """Turn samples (height, width, samples) into RGB as a person sees it; white where nothing is stored."""
    width, height = tile_size(page)
    if samples is None:
        return np.full((height, width, 3), WHITE, np.uint8)
    photometric = int(page.photometric)
    if photometric in (RGB, YCBCR):
        colours = samples[..., :3]
        alpha = int(page.extrasamples[0]) if page.extrasamples else 0
        if samples.shape[2] > 3 and alpha in (ASSOCIATED_ALPHA, FREE_ALPHA):
            return _over_white(colours, samples[..., 3], is_multiplied=alpha == ASSOCIATED_ALPHA)
        return np.ascontiguousarray(colours)
    if photometric == PALETTE:
        table = np.asarray(page.colormap)
        small = (table >> 8 if table.max(initial=0) > 255 else table).astype(np.uint8)
        return np.ascontiguousarray(small.T[samples[..., 0]])
    grey = WHITE - samples[..., 0] if photometric == WHITE_IS_ZERO else samples[..., 0]
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _over_white(colours: Pixels, alpha: npt.NDArray[np.uint8], *, is_multiplied: bool) -> Pixels:
    if not is_multiplied:
        return over_white(np.concatenate([colours, alpha[..., np.newaxis]], axis=2))
    rest = np.uint16(WHITE) - alpha[..., np.newaxis]
    return np.minimum(colours + rest, WHITE).astype(np.uint8)
