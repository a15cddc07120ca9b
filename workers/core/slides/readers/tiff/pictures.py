"""The pictures of a TIFF, as tifffile lists its directories. No pixel is decoded.

Where there is OME-XML it says what belongs together; elsewhere the largest directory is the slide, smaller ones behind
it that show the same are its levels, another one as large is another slide, and all others are associated images.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tifffile import TiffFile, TiffFrame, TiffPage

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.tiff.ome_xml import OmeImage, ome_images
from workers.core.slides.unread import is_associated_name

QPI = "<PerkinElmer-QPI-ImageDescription"
"""What the description of a QPTIFF's directories begins with, behind the declaration of XML."""

LARGE = 2
"""A picture that is no level, and no smaller than the slide by more than this, is no macro."""

MASK = 4
"""The bit of NewSubfileType for a transparency mask."""


class Picture(NamedTuple):
    """One picture of a file, before it is known which one is read.

    Attributes:
        name: As the file calls it.
        levels: For each level the directories of all its planes.
        axes: Letter and length of the axes of those planes, the slowest first; `C`, `Z` and `T` of OME.
        ome: What the OME-XML says of it.
        is_associated: It is no slide.
        channels: Names of channels, where no OME-XML has them.
    """

    name: str
    levels: tuple[tuple[TiffPage, ...], ...]
    axes: tuple[tuple[str, int], ...]
    ome: OmeImage | None
    is_associated: bool
    channels: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its finest level, px."""
        page = self.levels[0][0]
        return page.imagewidth, page.imagelength

    @property
    def area(self) -> int:
        """Px of its finest level."""
        return self.size[0] * self.size[1]


def pictures_of(file: TiffFile) -> list[Picture]:
    """Return all pictures of a TIFF, in its order.

    Raises:
        SlideUnreadable: There is none, or its directories and its OME-XML do not agree.
    """
    if file.is_ome and file.ome_metadata:
        return _ome_pictures(file)
    is_qpi = QPI in (file.pages.first.aspage().description or "")
    return _qpi_pictures(file) if is_qpi else _plain_pictures(file)


def _qpi_pictures(file: TiffFile) -> list[Picture]:
    """Return the slide of a QPTIFF, whose directories say what they are: a channel of a level, or something else."""
    sizes: dict[tuple[int, int], list[TiffPage]] = {}
    others = []
    for page in (each.aspage() for each in file.pages):
        kind = _element("ImageType", page)
        if kind in ("FullResolution", "ReducedResolution"):
            sizes.setdefault((page.imagewidth, page.imagelength), []).append(page)
        else:
            others.append(Picture(kind, ((page,),), (), None, is_associated=True))
    levels = tuple(tuple(sizes[size]) for size in sorted(sizes, reverse=True))
    if not levels:
        raise SlideUnreadable("This QPTIFF holds no image of full resolution.")
    names = tuple(_element("Name", page) for page in levels[0])
    axes = (("C", len(names)),)
    return [Picture("", levels, axes, None, is_associated=False, channels=names if len(names) > 1 else ()), *others]


def _element(name: str, page: TiffPage) -> str:
    """Return the text of the first element of this name in a directory's XML; it is not parsed, only looked through."""
    found = re.search(rf"<{name}>([^<]{{0,200}})</{name}>", page.description or "")
    return found[1].strip() if found else ""


def _ome_pictures(file: TiffFile) -> list[Picture]:
    described = ome_images(str(file.ome_metadata))
    series = [each for each in file.series if each.kind == "ome"]
    if len(series) != len(described) or any(
        (ome.width, ome.height) != (each.keyframe.imagewidth, each.keyframe.imagelength)
        for each, ome in zip(series, described, strict=True)
    ):
        found = [f"{each.keyframe.imagewidth} x {each.keyframe.imagelength}" for each in series]
        raise SlideUnreadable(
            "The OME-XML of this file and its directories do not agree on the images and their sizes.",
            value=f"{', '.join(found) or 'none'}",
            accepted=", ".join(f"{ome.width} x {ome.height}" for ome in described) or "at least one image",
        )
    pictures = []
    for each, ome in zip(series, described, strict=True):
        levels = tuple(tuple(_pages(level.pages)) for level in each.levels)
        axes = tuple((axis, n) for axis, n in zip(each.axes, each.shape, strict=True) if axis not in "YXS")
        pictures.append(Picture(ome.name or each.name, levels, axes, ome, is_associated_name(ome.name)))
    if all(picture.is_associated for picture in pictures):
        pictures = [picture._replace(is_associated=False) for picture in pictures]
    return pictures


def _pages(pages: Sequence[TiffPage | TiffFrame | None]) -> Iterator[TiffPage]:
    for page in pages:
        if page is None:
            raise SlideUnreadable("A plane of an image is missing in this file.")
        yield page.aspage()


def _plain_pictures(file: TiffFile) -> list[Picture]:
    pages = [page for page in _all_pages(file) if not page.subfiletype & MASK]
    if not pages:
        raise SlideUnreadable("This TIFF holds no picture.")
    main = max(range(len(pages)), key=lambda index: pages[index].imagewidth * pages[index].imagelength)
    levels, others = [pages[main]], []
    for index, page in enumerate(pages):
        if index > main and _is_level(pages[main], levels[-1], page):
            levels.append(page)
        elif index != main:
            others.append(page)
    pictures = [Picture("", tuple((page,) for page in levels), (), None, is_associated=False)]
    return pictures + [_other(page, pages[main]) for page in others]


def _other(page: TiffPage, main: TiffPage) -> Picture:
    """Return a picture that is no level: a small one is a macro or label, one about as large is another slide."""
    name = _name(page)
    is_large = LARGE * page.imagewidth * page.imagelength >= main.imagewidth * main.imagelength
    return Picture(name, ((page,),), (), None, is_associated=is_associated_name(name) or not is_large)


def _all_pages(file: TiffFile) -> Iterator[TiffPage]:
    """Yield every directory once, in the order of the file; those below a directory follow it."""
    seen = set()
    for page in file.pages:
        full = page.aspage()
        for each in (full, *(sub.aspage() for sub in full.pages or ())):
            if each.offset not in seen:
                seen.add(each.offset)
                yield each


def _is_level(main: TiffPage, finer: TiffPage, page: TiffPage) -> bool:
    """Whether a directory can be a level of the picture: of the same kind of pixels, smaller than the last, tiled."""
    same = ("photometric", "samplesperpixel", "bitspersample", "planarconfig")
    is_kind = all(getattr(main, name) == getattr(page, name) for name in same)
    is_smaller = page.imagewidth < finer.imagewidth and page.imagelength < finer.imagelength
    return is_kind and is_smaller and (page.is_tiled or not main.is_tiled)


def _name(page: TiffPage) -> str:
    first = (page.description or "").strip().splitlines()[:1]
    return first[0][:80] if first else ""
