"""Which pictures, levels and planes a TIFF holds, as tifffile lists its directories. No pixel is decoded.

Where there is OME-XML it says what belongs together; elsewhere the largest directory is the slide, smaller ones behind
it that show the same are its levels, and all others are associated images.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from tifffile import TiffFile, TiffFrame, TiffPage

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import ImageEntry, SlideContent, TrustWarning
from workers.core.slides.level_factor import Factor, level_factor
from workers.core.slides.readers.tiff.ome_xml import OmeImage, ome_images

ASSOCIATED = ("label", "macro", "thumbnail", "overview", "barcode", "map")
"""Words in the names of images that are no slide."""

MASK = 4
"""The bit of NewSubfileType for a transparency mask."""

_RESOLUTION, _UNIT = 282, 296


class Level(NamedTuple):
    """A level with its downsample, and the directories that its pixels are in: one, or red, green and blue."""

    factor: Factor
    pages: tuple[TiffPage, ...]


class Picture(NamedTuple):
    """One picture of a file, before it is known which one is read.

    Attributes:
        name: As the file calls it.
        levels: For each level the directories of all its planes.
        axes: Letter and length of the axes of those planes, the slowest first; `C`, `Z` and `T` of OME.
        ome: What the OME-XML says of it.
        is_associated: It is no slide.
    """

    name: str
    levels: tuple[tuple[TiffPage, ...], ...]
    axes: tuple[tuple[str, int], ...]
    ome: OmeImage | None
    is_associated: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its finest level, px."""
        page = self.levels[0][0]
        return page.imagewidth, page.imagelength

    @property
    def area(self) -> int:
        """Px of its finest level."""
        return self.size[0] * self.size[1]


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
    pictures = _ome_pictures(file) if file.is_ome and file.ome_metadata else _plain_pictures(file)
    chosen = _choose(pictures, image)
    picture = pictures[chosen]
    warnings = list(_unread_images(pictures, chosen, image))
    planes, z_read = _planes_read(picture, warnings)
    levels = _levels(picture, planes, warnings)
    content = SlideContent(
        images=tuple(
            ImageEntry(
                index=index,
                name=each.name,
                width=each.size[0],
                height=each.size[1],
                mpp=(float(each.ome.mpp[0]), float(each.ome.mpp[1])) if each.ome and each.ome.mpp else None,
                kind="associated" if each.is_associated else "slide",
            )
            for index, each in enumerate(pictures)
        ),
        image=chosen,
        channels=_channels(picture),
        z_planes=picture.ome.z_planes if picture.ome else 1,
        z_read=z_read,
        times=picture.ome.times if picture.ome else 1,
        associated=tuple(each.name or f"image {i}" for i, each in enumerate(pictures) if each.is_associated),
        icc=34675 in picture.levels[0][0].tags,
    )
    return Layout(levels, content, picture.ome, tuple(warnings))


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
        pictures.append(Picture(ome.name or each.name, levels, axes, ome, _is_associated_name(ome.name)))
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
    return pictures + [Picture(_name(page), ((page,),), (), None, is_associated=True) for page in others]


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


def _is_associated_name(name: str) -> bool:
    return any(word in name.lower() for word in ASSOCIATED)


def _choose(pictures: list[Picture], image: int | None) -> int:
    if image is None:
        slides = [index for index, picture in enumerate(pictures) if not picture.is_associated]
        return max(slides, key=lambda index: pictures[index].area)
    if not 0 <= image < len(pictures):
        raise SlideUnreadable(
            "The file has no image of this number.", value=image, accepted=f"0 to {len(pictures) - 1}"
        )
    return image


def _unread_images(pictures: list[Picture], chosen: int, image: int | None) -> Iterator[TrustWarning]:
    others = [f"{i}: {p.name or 'unnamed'}" for i, p in enumerate(pictures) if i != chosen and not p.is_associated]
    if others and image is None:
        yield TrustWarning(
            code="images_unread",
            message=f"The file holds {len(others) + 1} images and one is read: number {chosen}.",
            value=", ".join(others)[:200],
        )


def _planes_read(picture: Picture, warnings: list[TrustWarning]) -> tuple[tuple[int, ...], int]:
    """Return the numbers of the directories of a level that are read, and the focal plane they are of.

    Of focal planes the middle one, of moments the first, of channels the first three.
    """
    lengths = dict(picture.axes)
    z_planes, times = lengths.get("Z", 1), lengths.get("T", 1)
    z_read = z_planes // 2
    if z_planes * times > 1:
        warnings.append(
            TrustWarning(
                code="planes_unread",
                message="The file holds several focal planes or moments; the middle one of the first is read.",
                value=f"plane {z_read + 1} of {z_planes}, moment 1 of {times}",
            )
        )
    channels = range(min(lengths.get("C", 1), 3))
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
    if ome is None or ome.samples > 1 or ome.are_colours or len(ome.channels) < 2:
        return ()
    return tuple(name or f"channel {index + 1}" for index, name in enumerate(ome.channels))


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
        if factor is None or len(pages) != len(picture.levels[0]):
            warnings.append(
                TrustWarning(
                    code="level_unusable",
                    message="A level of the pyramid does not fit the others and is not read.",
                    value=f"level {number}: {stored[0]} x {stored[1]} of {size[0]} x {size[1]}",
                )
            )
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
