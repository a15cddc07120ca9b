"""Deep Zoom tiles of a slide and of its overlay on one grid: level-0 px of the full plane, no overlap.

A tile is as large as those of the slide's own file where they are square, so that none is cut out of four of them.
The coarsest level, 0, is one pixel; a pixel of level k is 2^(top - k) level-0 px wide. The bounds of a slide are never
cropped to, so that a tile of the overlay lies on the tile of the slide with the same address.
"""

import io
from math import ceil, floor
from typing import NamedTuple

import numpy as np
from PIL import Image

from workers.core.class_colours import color_table
from workers.core.errors.base import ResultNotFound, SlideTooLarge
from workers.core.model.schemas import ModelClass
from workers.core.slide_schemas import SlideGeometry
from workers.core.slides.geometry import level_for_side
from workers.core.slides.slide import Pixels, Slide

TILE_PX = 256
"""Side of a tile where the slide's own tiles are no model."""
NATIVE_PX = range(192, 1025)
"""Sides of a slide's own tiles that suit a viewer."""
OVERVIEW_PX = 1024
"""Levels up to this size are cut from one picture of the slide, made once."""
READ_PX = 2048
"""Side of the largest rectangle of a slide that is in memory for a tile."""
MAX_READ_PX = 2**30
"""Most px of a slide that are decoded for one picture: seconds. Only a large slide without small levels needs more."""
JPEG_QUALITY = 85
PNG_COMPRESSION = 1
SAME_SCALE = 1e-3
"""A level this close to the scale of a tile is taken as it is: over a tile it is off by a quarter of a px."""
XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="{format}" Overlap="0" TileSize="{tile}">'
    '<Size Width="{width}" Height="{height}"/></Image>\n'
)

Address = tuple[int, int, int]
"""Level, column and row of a tile."""


class Grid(NamedTuple):
    """The tiles of an image: its size in level-0 px, and the side of a tile in px of its level."""

    width: int
    height: int
    tile_px: int = TILE_PX

    @property
    def top(self) -> int:
        """The finest level."""
        return (max(self.width, self.height) - 1).bit_length()

    def step(self, level: int) -> int:
        """Return how many level-0 px a pixel of a level is wide."""
        return int(2 ** (self.top - level))

    def size(self, level: int) -> tuple[int, int]:
        """Return (width, height) of a level in its own px."""
        step = self.step(level)
        return -(-self.width // step), -(-self.height // step)

    def tile(self, level: int, col: int, row: int) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of a tile in px of its level.

        Raises:
            ResultNotFound: There is no such tile.
        """
        if 0 <= level <= self.top and col >= 0 and row >= 0:
            width, height = self.size(level)
            left, upper = col * self.tile_px, row * self.tile_px
            if left < width and upper < height:
                return left, upper, min(left + self.tile_px, width), min(upper + self.tile_px, height)
        raise ResultNotFound(
            "There is no such tile.",
            value=f"{level}/{col}_{row}",
            accepted=f"levels 0 to {self.top}, and tiles that begin within the level",
        )


def grid_of(geometry: SlideGeometry) -> Grid:
    """Return the grid of a slide and of everything that lies on it."""
    finest = geometry.levels[0]
    native = finest.tile_width or 0
    suits = native == finest.tile_height and native in NATIVE_PX
    return Grid(geometry.l0_width, geometry.l0_height, native if suits else TILE_PX)


def descriptor(grid: Grid, picture: str) -> bytes:
    """Return the DZI of a grid whose tiles are `picture` files."""
    return XML.format(format=picture, tile=grid.tile_px, width=grid.width, height=grid.height).encode()


def is_small(grid: Grid, level: int) -> bool:
    """Whether the tiles of a level are cut from the overview."""
    return max(grid.size(level)) <= OVERVIEW_PX


def overview_tile(overview: Pixels, grid: Grid, address: Address) -> Pixels:
    """Return a tile of a small level, uint8 (height, width, 3).

    Args:
        overview: The whole slide as `Slide.thumbnail` gives it, `OVERVIEW_PX` at most.
        grid: Of the slide.
        address: Level, column and row of the tile.

    Raises:
        ResultNotFound: There is no such tile.
    """
    left, upper, right, lower = grid.tile(*address)
    step = grid.step(address[0])
    height, width = overview.shape[:2]
    across, down = step * width / grid.width, step * height / grid.height
    box = (left * across, upper * down, min(right * across, width), min(lower * down, height))
    size = (right - left, lower - upper)
    return np.asarray(Image.fromarray(overview).resize(size, Image.Resampling.BOX, box))


def check_overview(geometry: SlideGeometry) -> None:
    """Refuse to make the overview of a slide whose smallest fitting level is a large one.

    Raises:
        SlideTooLarge: It would take minutes.
    """
    size = geometry.levels[level_for_side(geometry, OVERVIEW_PX)]
    _check_read(size.width * size.height)


def slide_tile(slide: Slide, grid: Grid, address: Address) -> Pixels:
    """Return a tile of a slide, read from the coarsest of its levels that is fine enough.

    Args:
        slide: The open slide.
        grid: Of the slide.
        address: Level, column and row of the tile.

    Returns:
        uint8 (height, width, 3), at most `grid.tile_px` a side.

    Raises:
        ResultNotFound: There is no such tile.
        SlideUnreadable: The file cannot be decoded there.
        SlideTooLarge: The slide has no level that is small enough for this.
    """
    left, upper, right, lower = grid.tile(*address)
    step = grid.step(address[0])
    level = _level_for(slide.geometry, step)
    ratio = step / slide.geometry.levels[level].downsample
    _check_read(round((right - left) * (lower - upper) * ratio**2))
    if abs(ratio - 1) < SAME_SCALE:
        return slide.read_level(level, round(left * ratio), round(upper * ratio), right - left, lower - upper)
    out = np.empty((lower - upper, right - left, 3), np.uint8)
    side = max(1, floor(READ_PX / ratio))
    for y in range(upper, lower, side):
        for x in range(left, right, side):
            box = (x, y, min(x + side, right), min(y + side, lower))
            out[y - upper : box[3] - upper, x - left : box[2] - left] = _shrunk(slide, level, ratio, box)
    return out


def jpeg(pixels: Pixels) -> bytes:
    """Return a picture of uint8 (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def palette_png(labels: Pixels, classes: tuple[ModelClass, ...]) -> bytes:
    """Return class indices, uint8 (height, width), in the classes' colours; index 0 is transparent."""
    count = max(each.index for each in classes) + 1
    image = Image.frombytes("P", (labels.shape[1], labels.shape[0]), labels.tobytes())
    image.putpalette(color_table(classes)[:count].tobytes())
    file = io.BytesIO()
    opaque = bytes([0] + [255] * (count - 1))
    image.save(file, "PNG", transparency=opaque, compress_level=PNG_COMPRESSION)
    return file.getvalue()


def shrunk_to(pixels: Pixels, max_px: int) -> Pixels:
    """Return a picture whose longer side is at most `max_px`."""
    height, width = pixels.shape[:2]
    scale = max_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _level_for(geometry: SlideGeometry, step: int) -> int:
    """Return the coarsest level that is not coarser than `step` level-0 px."""
    fine = [i for i, each in enumerate(geometry.levels) if each.downsample <= step * (1 + SAME_SCALE)]
    return max(fine, key=lambda i: geometry.levels[i].downsample, default=0)


def _check_read(pixels: int) -> None:
    if pixels > MAX_READ_PX:
        raise SlideTooLarge(
            "This slide has no level that is small enough for this view; closer views and jobs are fine.",
            value=f"{pixels} pixels to decode",
            accepted=f"at most {MAX_READ_PX}",
        )


def _shrunk(slide: Slide, level: int, ratio: float, box: tuple[int, int, int, int]) -> Pixels:
    """Return a box in px of a tile's level, averaged from the px of a finer level of the slide."""
    x0, y0, x1, y1 = (edge * ratio for edge in box)
    lv_x, lv_y = floor(x0), floor(y0)
    pixels = slide.read_level(level, lv_x, lv_y, ceil(x1) - lv_x, ceil(y1) - lv_y)
    inside = (x0 - lv_x, y0 - lv_y, x1 - lv_x, y1 - lv_y)
    size = (box[2] - box[0], box[3] - box[1])
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, inside))
