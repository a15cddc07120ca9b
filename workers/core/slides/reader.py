"""One way to read every slide: openslide first, tiffslide for what it refuses. Pixels are 8-bit RGB over white.

Frames: `l0_` level-0 px of the full plane, `lv_` px of one level.
"""

import struct
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import openslide
from PIL import Image

from workers.core.errors.base import SlideUnreadable
from workers.core.schemas import SlideGeometry
from workers.core.slides.geometry import geometry_of, level_for_side
from workers.core.slides.read_watchdog import reading

WHITE = 255
BAND_PX = 2**22
"""Level px that are in memory at once while an overview is made."""

Pixels = npt.NDArray[np.uint8]

PARSER_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    SyntaxError,  # xml.etree.ElementTree.ParseError is one
    RuntimeError,  # NotImplementedError, imagecodecs
    struct.error,
    zlib.error,
)
"""What the TIFF parsers in Python raise on a file that is not what it claims to be."""


class Slide(ABC):
    """An open slide. Not to be shared between threads; closes as a context manager.

    Attributes:
        geometry: Size, resolution, bounds and levels.
        vendor: Format as the reader names it.
        backend: The reader.
    """

    backend: ClassVar[Literal["openslide", "tiffslide"]]
    geometry: SlideGeometry
    vendor: str

    def read_level(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        """Read a rectangle of a level.

        Args:
            level: Index of the level, 0 is the finest.
            lv_x: Left edge in px of this level; may be negative.
            lv_y: Top edge in px of this level; may be negative.
            width: Width in px of this level.
            height: Height in px of this level.

        Returns:
            uint8 (height, width, 3), white where the slide is transparent or ends. At a downsample that is no whole
            number openslide places the rectangle to within half a level-0 px.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        size = self.geometry.levels[level]
        out = np.full((height, width, 3), WHITE, np.uint8)
        left, right = max(lv_x, 0), min(lv_x + width, size.width)
        top, bottom = max(lv_y, 0), min(lv_y + height, size.height)
        if left < right and top < bottom:
            with reading():
                inside = self._read(level, left, top, right - left, bottom - top)
            out[top - lv_y : bottom - lv_y, left - lv_x : right - lv_x] = inside
        return out

    def reduced(self, level: int, factor: int) -> Pixels:
        """Return a whole level with blocks of `factor` x `factor` px averaged; the level is never held as a whole.

        Returns:
            uint8 (ceil(height / factor), ceil(width / factor), 3); blocks at the edge average what there is.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        size = self.geometry.levels[level]
        out = np.empty((-(-size.height // factor), -(-size.width // factor), 3), np.uint8)
        step = max(1, int(BAND_PX**0.5) // factor)
        for row in range(0, out.shape[0], step):
            for col in range(0, out.shape[1], step):
                lv_x, lv_y = col * factor, row * factor
                width = min(step * factor, size.width - lv_x)
                height = min(step * factor, size.height - lv_y)
                block = block_mean(self.read_level(level, lv_x, lv_y, width, height), factor)
                out[row : row + block.shape[0], col : col + block.shape[1]] = block
        return out

    def thumbnail(self, max_px: int) -> Pixels:
        """Return the whole slide as uint8 RGB whose longer side is at most `max_px`; small slides keep their size."""
        level = level_for_side(self.geometry, max_px)
        size = self.geometry.levels[level]
        longer = max(size.width, size.height)
        factor = max(1, longer // max_px)
        small = self.reduced(level, factor)
        if longer <= max_px:
            return small
        target = (max(1, round(size.width * max_px / longer)), max(1, round(size.height * max_px / longer)))
        box = (0, 0, size.width / factor, size.height / factor)  # the last blocks may reach beyond the slide
        return np.asarray(Image.fromarray(small).resize(target, Image.Resampling.BOX, box))

    @abstractmethod
    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        """Read a rectangle that lies within the level."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _OpenSlide(Slide):
    backend = "openslide"

    def __init__(self, path: Path) -> None:
        self._slide = openslide.OpenSlide(path)
        properties: Mapping[str, Any] = self._slide.properties
        self.vendor = str(properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"))
        self._downsamples = self._slide.level_downsamples
        self.geometry = geometry_of(self._slide.level_dimensions, self._downsamples, properties, "openslide")

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        downsample = self._downsamples[level]
        l0_origin = (round(lv_x * downsample), round(lv_y * downsample))
        try:
            rgba = np.asarray(self._slide.read_region(l0_origin, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise _undecodable(level, lv_x, lv_y) from error
        return over_white(rgba)

    def close(self) -> None:
        self._slide.close()


class _TiffSlide(Slide):
    backend = "tiffslide"

    def __init__(self, path: Path) -> None:
        from tiffslide import TiffSlide  # noqa: PLC0415  it takes a second to import and few slides need it

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "metadata parsing only partially implemented"
            # one file alone: the OME-XML of a stranger may name any other file
            self._slide = TiffSlide(path, tifffile_options={"_multifile": False})
            try:
                self._describe()
            except (*PARSER_ERRORS, SlideUnreadable):
                self._slide.close()
                raise

    def _describe(self) -> None:
        properties = self._slide.properties
        file = self._slide.ts_tifffile
        self.vendor = properties["tiffslide.vendor"] or ("ome-tiff" if file.is_ome else "generic-tiff")
        self._downsamples = self._slide.level_downsamples
        axes = properties["tiffslide.series-axes"]
        series = file.series[properties["tiffslide.series-index"]]
        samples = {"YXS": series.shape[-1], "YX": 1, "CYX": series.shape[0]}[axes]
        if series.dtype != np.uint8 or samples not in (1, 3, 4):
            raise SlideUnreadable(
                "The slide is neither grey nor RGB with 8 bits per sample.",
                value=f"{samples} x {series.dtype}",
                accepted="1, 3 or 4 samples of 8 bits",
            )
        self.geometry = geometry_of(self._slide.level_dimensions, self._downsamples, properties, "tiffslide")

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        l0_origin = (self._l0_of(level, lv_x), self._l0_of(level, lv_y))
        try:
            region = self._slide.read_region(l0_origin, level, (width, height), as_array=True)
            pixels = region.astype(np.uint8, copy=False)
        except PARSER_ERRORS as error:
            raise _undecodable(level, lv_x, lv_y) from error
        if pixels.shape[:2] != (height, width):
            raise _undecodable(level, lv_x, lv_y)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else over_white(pixels)

    def _l0_of(self, level: int, lv_position: int) -> int:
        """Return a level-0 position that the reader's own truncation turns into `lv_position`."""
        downsample = self._downsamples[level]
        l0_position = ceil(lv_position * downsample)
        while int(l0_position / downsample) < lv_position:
            l0_position += 1
        return l0_position

    def close(self) -> None:
        self._slide.close()


def open_slide(path: Path) -> Slide:
    """Open a slide with the first reader that takes it.

    Raises:
        SlideUnreadable: No reader does; the message says why, without the path.
    """
    if not path.is_file():
        raise SlideUnreadable("The slide file is not there.", value=path.name)
    with reading():
        return _open_slide(path)


def _open_slide(path: Path) -> Slide:
    try:
        return _OpenSlide(path)
    except openslide.OpenSlideError as error:
        reason = _reason(error, path)
    try:
        return _TiffSlide(path)
    except PARSER_ERRORS as error:
        raise SlideUnreadable(
            f"No reader opens this file (openslide: {reason}; tiffslide: {_reason(error, path)}).",
            value=path.name,
            accepted="a slide that OpenSlide 4 reads, or an 8-bit RGB or grey TIFF",
        ) from error


def over_white(rgba: Pixels) -> Pixels:
    """Lay straight-alpha RGBA (height, width, 4) over white; RGB stays as it is."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=WHITE) == WHITE:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.uint32)
    return ((rgba[..., :3] * weight + WHITE * (WHITE - weight) + WHITE // 2) // WHITE).astype(np.uint8)


def block_mean(pixels: Pixels, factor: int) -> Pixels:
    """Average blocks of `factor` x `factor` px, rounding half up; blocks at the far edges average what there is."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    rows, cols = np.arange(0, height, factor), np.arange(0, width, factor)
    sums = np.add.reduceat(np.add.reduceat(pixels, rows, axis=0, dtype=np.int64), cols, axis=1)
    counts = np.outer(np.diff(np.append(rows, height)), np.diff(np.append(cols, width)))[..., np.newaxis]
    return np.asarray((2 * sums + counts) // (2 * counts), np.uint8)


def _reason(error: Exception, path: Path) -> str:
    return (str(error) or type(error).__name__).replace(str(path), path.name)[:200]


def _undecodable(level: int, lv_x: int, lv_y: int) -> SlideUnreadable:
    return SlideUnreadable(
        f"A tile of level {level} at ({lv_x}, {lv_y}) cannot be decoded; the file is damaged or cut off."
    )
