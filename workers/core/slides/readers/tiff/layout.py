"""Which picture, levels and planes of a TIFF are read, and what of it is not. No pixel is decoded."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from tifffile import TiffFile, TiffPage

from workers.core.slide_schemas import ImageEntry, SlideContent, TrustWarning
from workers.core.slides.level_factor import Factor, level_factor, unusable
from workers.core.slides.readers.tiff.ome_xml import OmeImage
from workers.core.slides.readers.tiff.pictures import MASK, Picture, pictures_of
from workers.core.slides.unread import (
    SHOWN,
    channel_names,
    channels_unread,
    chosen_image,
    images_unread,
    planes_unread,
)

_RESOLUTION, _UNIT = 282, 296


class Level(NamedTuple):
    """A level with its downsample, and the directories that its pixels are in: one, or red, green and blue."""

    factor: Factor
    pages: tuple[TiffPage, ...]


class Layout(NamedTuple):
    """What is read of a file, and what is not.

    Attributes:
        levels: Of the picture that is read, the finest first.
        content: What there is.
        ome: What the OME-XML says of the picture.
        warnings: What of it cannot be trusted.
    """

    levels: tuple[Level, ...]
    content: SlideContent
    ome: OmeImage | None
    warnings: tuple[TrustWarning, ...]


def layout_of(file: TiffFile, image: int | None = None) -> Layout:
    """Return what is read of a TIFF: the largest picture that is a slide, or the one that is asked for.

    Raises:
        SlideUnreadable: There is no picture, or not this one, or its directories and its OME-XML do not agree.
    """
    pictures = pictures_of(file)
    images = tuple(_entry(index, each) for index, each in enumerate(pictures))
    chosen = chosen_image(images, image)
    picture = pictures[chosen]
    warnings = [*images_unread(images, chosen, image), *_undescribed(file, pictures, picture)]
    planes, z_read = _planes_read(picture, warnings)
    levels = _levels(picture, planes, warnings)
    content = SlideContent(
        images=images,
        image=chosen,
        channels=_channels(picture),
        z_planes=picture.ome.z_planes if picture.ome else 1,
        z_read=z_read,
        times=picture.ome.times if picture.ome else 1,
        associated=tuple(each.name or f"image {i}" for i, each in enumerate(pictures) if each.is_associated),
        icc=34675 in picture.levels[0][0].tags,
    )
    return Layout(levels, content, picture.ome, tuple(warnings))


def _entry(index: int, picture: Picture) -> ImageEntry:
    ome = picture.ome
    return ImageEntry(
        index=index,
        name=picture.name,
        width=picture.size[0],
        height=picture.size[1],
        mpp=(float(ome.mpp[0]), float(ome.mpp[1])) if ome and ome.mpp else None,
        kind="associated" if picture.is_associated else "slide",
    )


def _undescribed(file: TiffFile, pictures: list[Picture], picture: Picture) -> Iterator[TrustWarning]:
    """Look for directories that are as large as what is read, and that the OME-XML passes over."""
    if picture.ome is None:
        return
    known = {page.offset for each in pictures for level in each.levels for page in level}
    pages = [page.aspage() for page in file.pages]
    passed = [page for page in pages if page.offset not in known and not page.subfiletype & MASK]
    found = sum(page.imagewidth * page.imagelength >= picture.area for page in passed)
    if found:
        yield TrustWarning(
            code="directories_unread",
            message="The file holds pictures as large as the one that is read, of which its OME-XML does not speak.",
            value=f"{found} directories",
        )


def _planes_read(picture: Picture, warnings: list[TrustWarning]) -> tuple[tuple[int, ...], int]:
    """Return the numbers of the directories of a level that are read, and the focal plane they are of.

    Of focal planes the middle one, of moments the first, of channels the first three.
    """
    lengths = dict(picture.axes)
    z_planes, times = lengths.get("Z", 1), lengths.get("T", 1)
    z_read = z_planes // 2
    warnings += planes_unread(z_planes, times)
    count = lengths.get("C", 1)
    warnings += channels_unread(count, picture.ome.channels if picture.ome else ())
    channels = range(min(count, SHOWN))
    return tuple(_plane_index(picture.axes, {"C": channel, "Z": z_read}) for channel in channels), z_read


def _plane_index(axes: tuple[tuple[str, int], ...], place: dict[str, int]) -> int:
    """Return where a plane lies among the directories of a level: the last axis varies fastest."""
    index = 0
    for axis, length in axes:
        index = index * length + place.get(axis, 0)
    return index


def _channels(picture: Picture) -> tuple[str, ...]:
    """Return the names of channels that are no colours."""
    ome = picture.ome
    if ome is None:
        return tuple(name or f"channel {index + 1}" for index, name in enumerate(picture.channels))
    return () if ome.samples > 1 else channel_names(ome.channels)


def _levels(picture: Picture, planes: tuple[int, ...], warnings: list[TrustWarning]) -> tuple[Level, ...]:
    size = picture.size
    first = tuple(picture.levels[0][plane] for plane in planes)
    levels = [Level(Factor(Fraction(1), size, is_padded=False), first)]
    for number, pages in enumerate(picture.levels[1:], start=1):
        page = pages[0]
        stored = page.imagewidth, page.imagelength
        tile = (page.tilewidth, page.tilelength) if page.is_tiled else None
        declared = _declared(picture.levels[0][0], page)
        factor = level_factor(size, stored, tile, declared)
        if factor is None or factor.downsample <= levels[-1].factor.downsample or len(pages) != len(picture.levels[0]):
            warnings.append(unusable(number, stored, size))
            continue
        if factor.is_padded:
            warnings.append(
                TrustWarning(
                    code="level_padded",
                    message="A level of the pyramid is larger than what it shows; its true downsample is used.",
                    value=f"level {number}: {stored[0]} x {stored[1]}, downsample {float(factor.downsample):g}",
                )
            )
        levels.append(Level(factor, tuple(pages[plane] for plane in planes)))
    return tuple(levels)


def _declared(first: TiffPage, page: TiffPage) -> Fraction | None:
    """Return the downsample by the resolutions of two directories, if both state theirs and they differ."""
    numbers = []
    for each in (first, page):
        tag = each.tags.get(_RESOLUTION)
        unit = each.tags.get(_UNIT)
        if tag is None or unit is None or not tag.value[0] or not tag.value[1]:
            return None
        numbers.append((Fraction(tag.value[0], tag.value[1]), int(unit.value)))
    if numbers[0][1] != numbers[1][1] or numbers[0][0] == numbers[1][0]:
        return None
    ratio = numbers[0][0] / numbers[1][0]
    whole = Fraction(round(ratio))
    return whole if whole >= 1 and abs(ratio - whole) < Fraction(1, 100) else ratio
