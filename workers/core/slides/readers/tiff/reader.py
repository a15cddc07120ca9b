"""TIFFs that are no vendor's own: OpenSlide where it sees all that is there, tiffslide next, their directories last.

What is there is known before, from the directories themselves, so that a reader that shows one level of three or one
channel of five is not believed.
"""

import warnings
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import openslide
from tifffile import TiffFile, TiffPage

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import SlideLevel, TrustWarning
from workers.core.slides.geometry import Resolution, bounds_of, geometry_from
from workers.core.slides.readers.openslide_reader import read_level
from workers.core.slides.readers.tiff.layout import Layout, layout_of
from workers.core.slides.readers.tiff.pixels import BLACK_IS_ZERO, RGB, YCBCR, TiffPagesSlide, check_pixels_understood
from workers.core.slides.resolution import is_plausible
from workers.core.slides.slide import PARSER_ERRORS, Pixels, Slide, over_white, undecodable
from workers.core.slides.tiff.codestream import HEADER_BYTES, jpeg_is_ycbcr

PLAIN_CODECS = frozenset({1, 5, 8, 32773, 32946})
"""None, LZW, deflate, PackBits: their output is bounded by the tile, so tiffslide may decode them."""

JPEG = 7
MPP_AGREE = 0.05
"""Two statements of µm per px that differ by no more than this say the same."""

_UM_PER_TIFF_UNIT = {2: Fraction(25400), 3: Fraction(10**4)}
_UM_PER_IMAGEJ_UNIT = {
    "micron": Fraction(1),
    "um": Fraction(1),
    "µm": Fraction(1),
    "\\u00b5m": Fraction(1),  # as ImageJ writes it into a TIFF
    "nm": Fraction(1, 1000),
    "mm": Fraction(1000),
    "cm": Fraction(10**4),
    "inch": Fraction(25400),
}


def open_tiff(path: Path, image: int | None = None) -> Slide:
    """Open a TIFF with the first reader that shows all of it that is a slide.

    Raises:
        SlideUnreadable: It holds pixels that are not understood, or makes no sense.
    """
    try:
        file = TiffFile(path, _multifile=False)  # one file alone: the OME-XML of a stranger may name any other
    except PARSER_ERRORS as error:
        raise SlideUnreadable("The directories of this TIFF make no sense.", value=path.name) from error
    try:
        slide = _open(path, file, image)
    except PARSER_ERRORS as error:
        file.close()
        raise SlideUnreadable("The directories of this TIFF make no sense.", value=str(error)[:100]) from error
    except SlideUnreadable:
        file.close()
        raise
    if not isinstance(slide, TiffPagesSlide):
        file.close()
    return slide


def _open(path: Path, file: TiffFile, image: int | None) -> Slide:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tifffile thinks of a stranger's tags
        layout = layout_of(file, image)
    for level in layout.levels:
        check_pixels_understood(level)
    slide = _by_openslide(path, layout) or _by_tiffslide(path, layout) or TiffPagesSlide(path, file, layout)
    bounds = slide.bounds if isinstance(slide, OpenSlideLevels) else None  # QuPath crops to what OpenSlide says
    slide.geometry = geometry_from(slide_levels(layout), resolution_of(layout, file), bounds)
    slide.vendor = "ome-tiff" if layout.ome else "generic-tiff"
    slide.content = layout.content
    slide.warnings = (*layout.warnings, *_contradiction(layout, file))
    return slide


def slide_levels(layout: Layout) -> list[SlideLevel]:
    """Return the levels of a layout as a slide has them; of padded ones what they show."""
    levels = []
    for factor, pages in layout.levels:
        page = pages[0]
        levels.append(
            SlideLevel(
                width=factor.size[0],
                height=factor.size[1],
                downsample=float(factor.downsample),
                tile_width=page.tilewidth or None,
                tile_height=page.tilelength or None,
            )
        )
    return levels


def resolution_of(layout: Layout, file: TiffFile) -> Resolution:
    """Return what a TIFF says of its pixels' size: the OME-XML, else ImageJ's unit, else the TIFF's own tags."""
    if layout.ome is not None and layout.ome.mpp is not None:
        mpp_x, mpp_y = layout.ome.mpp
        return Resolution((float(mpp_x), float(mpp_y)), "ome")
    return _stated_by_tags(layout, file)


def _contradiction(layout: Layout, file: TiffFile) -> tuple[TrustWarning, ...]:
    """Compare the OME-XML with the resolution of the TIFF beside it, where that can be a scanner's."""
    stated, tags = resolution_of(layout, file).mpp, _stated_by_tags(layout, file).mpp
    if layout.ome is None or stated is None or tags is None or not all(map(is_plausible, (*stated, *tags))):
        return ()
    if all(abs(tag / ome - 1) <= MPP_AGREE for ome, tag in zip(stated, tags, strict=True)):
        return ()
    return (
        TrustWarning(
            code="mpp_contradicted",
            message="The OME-XML of this file and its resolution as a TIFF differ; the OME-XML is taken.",
            value=f"{stated[0]:g} and {tags[0]:g}",
        ),
    )


def _stated_by_tags(layout: Layout, file: TiffFile) -> Resolution:
    page = layout.levels[0].pages[0]
    raw = _tiff_resolution(page)
    if raw is None:
        return Resolution()
    unit = (file.imagej_metadata or {}).get("unit") if file.is_imagej else None
    per_unit = _UM_PER_IMAGEJ_UNIT.get(str(unit).lower()) if unit else None
    if per_unit is not None:
        return Resolution((float(per_unit / raw[0]), float(per_unit / raw[1])), "imagej")
    unit_tag = page.tags.get("ResolutionUnit")
    um = _UM_PER_TIFF_UNIT.get(int(unit_tag.value) if unit_tag else 2)
    return Resolution((float(um / raw[0]), float(um / raw[1])), "tiff") if um and unit_tag else Resolution()


def _tiff_resolution(page: TiffPage) -> tuple[Fraction, Fraction] | None:
    """Return px per unit in x and y; None where a number is missing or 0."""
    found = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        if tag is None or not isinstance(tag.value, tuple) or not all(tag.value):
            return None
        found.append(Fraction(*tag.value))
    return found[0], found[1]


def _is_plain(layout: Layout) -> bool:
    """Whether the pixels of all levels lie in one directory each, as RGB or grey of 8 bits without another sample."""
    for _, pages in layout.levels:
        page = pages[0]
        kind = int(page.photometric), page.samplesperpixel
        if len(pages) > 1 or page.planarconfig != 1 or kind not in ((RGB, 3), (YCBCR, 3), (BLACK_IS_ZERO, 1)):
            return False
        if int(page.compression) == JPEG and jpeg_is_ycbcr(_head_of(page)) is (kind[0] == RGB):
            return False  # OpenSlide believes the directory, tifffile the JPEG
    return True


def _head_of(page: TiffPage) -> bytes:
    """Return the beginning of the first tile that is stored, empty if none is."""
    stored = ((at, size) for at, size in zip(page.dataoffsets, page.databytecounts, strict=False) if size)
    at, size = next(stored, (0, 0))
    page.parent.filehandle.seek(at)
    return bytes(page.parent.filehandle.read(min(size, HEADER_BYTES)))


def _stored_sizes(layout: Layout) -> list[tuple[int, int]]:
    return [(pages[0].imagewidth, pages[0].imagelength) for _, pages in layout.levels]


class OpenSlideLevels(Slide):
    """The levels of a plain TIFF, read by OpenSlide.

    Args:
        slide: Open; closed with this.
        levels: Which of its levels they are.
    """

    backend = "openslide"

    def __init__(self, slide: openslide.OpenSlide, levels: list[int]) -> None:
        self._slide = slide
        self._levels = levels
        self.bounds = bounds_of(slide.properties, "openslide")

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        return read_level(self._slide, self._levels[level], lv_x, lv_y, width, height)

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def _by_openslide(path: Path, layout: Layout) -> Slide | None:
    """Return the slide as OpenSlide shows it, if it shows every level, in tiles, and nothing else as one."""
    if not _is_plain(layout) or layout.levels[0].pages[0].index != 0:
        return None
    try:
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        return None
    known = {size: number for number, size in enumerate(slide.level_dimensions)}
    wanted = _stored_sizes(layout)
    if slide.level_dimensions[0] != wanted[0] or not set(wanted) <= set(known):
        slide.close()
        return None
    return OpenSlideLevels(slide, [known[size] for size in wanted])


class TiffSlideLevels(Slide):
    """The levels of a plain TIFF, read by tiffslide.

    Args:
        path: The file.
    """

    backend = "tiffslide"

    def __init__(self, path: Path) -> None:
        from tiffslide import TiffSlide  # noqa: PLC0415  it takes a second to import and few slides need it

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "metadata parsing only partially implemented"
            self.slide = TiffSlide(path, tifffile_options={"_multifile": False})
            try:
                self.sizes = self.slide.level_dimensions
                self._downsamples = self.slide.level_downsamples
            except PARSER_ERRORS:
                self.slide.close()
                raise

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        l0_origin = (self._l0_of(level, lv_x), self._l0_of(level, lv_y))
        try:
            region = self.slide.read_region(l0_origin, level, (width, height), as_array=True)
            pixels = region.astype(np.uint8, copy=False)
        except PARSER_ERRORS as error:
            raise undecodable(level, lv_x, lv_y) from error
        if pixels.shape[:2] != (height, width):
            raise undecodable(level, lv_x, lv_y)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else over_white(pixels)

    def _l0_of(self, level: int, lv_position: int) -> int:
        """Return a level-0 position that the reader's own truncation turns into `lv_position`."""
        downsample = self._downsamples[level]
        l0_position = ceil(lv_position * downsample)
        while int(l0_position / downsample) < lv_position:
            l0_position += 1
        return l0_position

    def close(self) -> None:
        """Release the file."""
        self.slide.close()


def _by_tiffslide(path: Path, layout: Layout) -> Slide | None:
    """Return the slide as tiffslide shows it, if it shows just these levels, and no tile says its own size."""
    is_bounded = all(int(pages[0].compression) in PLAIN_CODECS for _, pages in layout.levels)
    if not _is_plain(layout) or not is_bounded:
        return None
    try:
        slide = TiffSlideLevels(path)
    except PARSER_ERRORS:
        return None
    shown = slide.slide.properties.get("tiffslide.series-index")
    is_same_picture = layout.content.image == (shown if layout.ome else 0)
    if list(slide.sizes) == _stored_sizes(layout) and is_same_picture:
        return slide
    slide.close()
    return None
