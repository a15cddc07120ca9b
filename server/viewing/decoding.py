"""Tiles and overviews of one open slide, decoded: the work of a tile child, and only of it."""

from pathlib import Path
from typing import NamedTuple

from server.viewing import deepzoom
from server.viewing.deepzoom import Address, grid_of
from server.viewing.jpeg_tiles import StoredTiles
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tolerant import TolerantSlide


class Overview(NamedTuple):
    """A whole slide, uint8 (height, width, 3), and how many blocks of it are lost, and white."""

    pixels: Pixels
    lost: int


class SlideDecoder:
    """Decodes a slide, which stays open between two tiles. Not to be shared between threads.

    Args:
        path: The slide's file.
        info: The slide.
    """

    def __init__(self, path: Path, info: SlideInfo) -> None:
        self._path = path
        self._info = info
        self._grid = grid_of(info.geometry)
        self._slide: Slide | None = None
        self._stored: StoredTiles | None = None

    def close(self) -> None:
        """Release the file."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def tile(self, address: Address) -> bytes:
        """Return a tile as JPEG.

        Raises:
            ResultNotFound: There is no such tile.
            SlideUnreadable: It cannot be decoded.
            SlideTooLarge: The slide has no level that is small enough for it.
        """
        left, upper, right, lower = self._grid.tile(*address)
        if right - left == lower - upper == self._grid.tile_px:
            if self._stored is None:
                self._stored = StoredTiles(self._path, self._info, self._grid.tile_px)
            pixels = self._stored.reduced(self._grid.step(address[0]), *address[1:])
            if pixels is not None:
                return deepzoom.jpeg(pixels)
        return deepzoom.jpeg(self._read(address))

    def overview(self) -> Overview:
        """Return the whole slide, `OVERVIEW_PX` at most, white where it cannot be decoded.

        Raises:
            SlideUnreadable: No reader opens it.
            SlideTooLarge: It has no small level.
        """
        deepzoom.check_overview(self._info.geometry)
        with TolerantSlide(self._path) as slide:
            pixels = slide.thumbnail(deepzoom.OVERVIEW_PX)
            return Overview(pixels, len(slide.bad))

    def _read(self, address: Address) -> Pixels:
        """Read a tile; a slide that failed is closed, since it might fail for ever after."""
        slide = self._slide = self._slide or open_slide(self._path)
        is_sound = False
        try:
            pixels = deepzoom.slide_tile(slide, self._grid, address)
            is_sound = True
        finally:
            if not is_sound:
                self.close()
        return pixels
