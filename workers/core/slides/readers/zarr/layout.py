"""Which image, levels and planes of an OME-Zarr are read, and what of it is not. No chunk is read."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import ImageEntry, SlideContent, TrustWarning
from workers.core.slides.geometry import Resolution
from workers.core.slides.level_factor import Factor, Size, level_factor, unusable
from workers.core.slides.readers.tiff.ome_xml import MAX_BYTES, OmeImage, ome_images
from workers.core.slides.readers.zarr.entries import Entries
from workers.core.slides.readers.zarr.ngff import ZarrImage, ZarrLevel, images_of
from workers.core.slides.resolution import is_plausible
from workers.core.slides.unread import (
    channel_names,
    channels_unread,
    chosen_image,
    images_unread,
    is_associated_name,
    planes_unread,
)

OME_XML = "OME/METADATA.ome.xml"
"""Where bioformats2raw keeps what it was told of the images."""

MPP_AGREE = 0.05
"""Two statements of µm per px that differ by no more than this say the same."""


class Layout(NamedTuple):
    """What is read of an OME-Zarr, and what is not.

    Attributes:
        axes: Letters of the axes of all levels, the slowest first.
        levels: Of the image that is read, the finest first, with their downsamples.
        content: What there is.
        resolution: µm per level-0 px.
        warnings: What of it cannot be trusted.
        listed: Paths of all arrays that any image speaks of.
    """

    axes: str
    levels: tuple[tuple[Factor, ZarrLevel], ...]
    content: SlideContent
    resolution: Resolution
    warnings: tuple[TrustWarning, ...]
    listed: frozenset[str]


def layout_of(entries: Entries, image: int | None = None) -> Layout:
    """Return what is read: the largest image that is a slide, or the one that is asked for.

    Raises:
        SlideUnreadable: There is no image, or not this one, or what is said of it makes no sense.
    """
    found = images_of(entries)
    described = _described(entries, found)
    names = [(described[number].name if described else "") or each.name for number, each in enumerate(found)]
    listed = _entries(found, names)
    chosen = chosen_image(listed, image)
    picture, first = found[chosen], _finest(found[chosen])
    warnings = list(images_unread(listed, chosen, image))
    z_planes, times = first.length(picture.axes, "z"), first.length(picture.axes, "t")
    warnings += planes_unread(z_planes, times)
    warnings += channels_unread(len(picture.channels), picture.channels)
    levels = _levels(picture, first, warnings)
    ome = described[chosen] if described else None
    if described is None and entries.size(OME_XML) is not None:
        warnings.append(_xml_of_another())
    warnings += _contradicted(first, ome)
    content = SlideContent(
        images=listed,
        image=chosen,
        channels=channel_names(picture.channels),
        z_planes=z_planes,
        z_read=z_planes // 2,
        times=times,
        associated=tuple(each.name for each in listed if each.kind == "associated"),
    )
    arrays = frozenset(level.said.path for each in found for level in each.levels)
    return Layout(picture.axes, levels, content, _resolution(first, ome), tuple(warnings), arrays)


def size_of(level: ZarrLevel, axes: str) -> Size:
    """Return (width, height) of a level, px."""
    return level.length(axes, "x"), level.length(axes, "y")


def _area(level: ZarrLevel, axes: str) -> int:
    return level.length(axes, "x") * level.length(axes, "y")


def _finest(image: ZarrImage) -> ZarrLevel:
    return max(image.levels, key=lambda level: _area(level, image.axes))


def _entries(images: list[ZarrImage], names: list[str]) -> tuple[ImageEntry, ...]:
    is_all = all(map(is_associated_name, names))
    return tuple(
        ImageEntry(
            index=index,
            name=name,
            width=_finest(each).length(each.axes, "x"),
            height=_finest(each).length(each.axes, "y"),
            mpp=_floats(_finest(each).um),
            kind="associated" if is_associated_name(name) and not is_all else "slide",
        )
        for index, (each, name) in enumerate(zip(images, names, strict=True))
    )


def _floats(pair: tuple[Fraction, Fraction] | None) -> tuple[float, float] | None:
    return None if pair is None else (float(pair[0]), float(pair[1]))


def _levels(picture: ZarrImage, first: ZarrLevel, warnings: list[TrustWarning]) -> tuple[tuple[Factor, ZarrLevel], ...]:
    """Return the levels that show the first one smaller, as their sizes say, and say what their scales say else."""
    axes, whole = picture.axes, size_of(first, picture.axes)
    levels = [(Factor(Fraction(1), whole, is_padded=False), first)]
    warnings += [_not_there(path) for path in picture.missing]
    others = [level for level in picture.levels if level is not first]
    for level in sorted(others, key=lambda each: -_area(each, axes)):
        stored, declared = size_of(level, axes), _declared(first, level)
        tile = level.said.chunk[axes.index("x")], level.said.chunk[axes.index("y")]
        factor = level_factor(whole, stored, tile, declared)
        if factor is None or factor.downsample <= levels[-1][0].downsample or not _is_same(first, level, axes):
            warnings.append(unusable(picture.levels.index(level), stored, whole))
            continue
        warnings += _of_level(picture.levels.index(level), factor, stored, declared, whole)
        levels.append((factor, level))
    return tuple(levels)


def _is_same(first: ZarrLevel, level: ZarrLevel, axes: str) -> bool:
    """Whether a level has the channels and moments of the first one, and begins where that begins."""
    if any(level.length(axes, axis) != first.length(axes, axis) for axis in "ct"):
        return False
    if first.scale is None or level.scale is None:
        return True
    pairs = zip(level.origin, first.origin, level.scale, strict=True)
    return all(abs(start - begin) <= size for start, begin, size in pairs)  # half a px, where centres are told


def _declared(first: ZarrLevel, level: ZarrLevel) -> Fraction | None:
    """Return the downsample by the scales of two levels, as it stands there for x."""
    if first.scale is None or level.scale is None:
        return None
    return level.scale[0] / first.scale[0]


def _of_level(
    number: int, factor: Factor, stored: Size, declared: Fraction | None, whole: Size
) -> Iterator[TrustWarning]:
    value = f"level {number}: {stored[0]} x {stored[1]}, downsample {float(factor.downsample):g}"
    if factor.is_padded:
        yield TrustWarning(
            code="level_padded",
            message="A level of the pyramid is larger than what it shows; its true downsample is used.",
            value=value,
        )
    if declared is None or all(
        abs(length - full / declared) < 2 for length, full in zip(factor.size, whole, strict=True)
    ):
        return
    yield TrustWarning(
        code="level_contradicted",
        message="The size of a level and the scale that the file gives it differ; the size is taken.",
        value=f"{value}, {float(declared):g} by its scale",
    )


def _not_there(path: str) -> TrustWarning:
    return TrustWarning(
        code="level_unusable", message="A level of the pyramid is not there, or not of the same axes.", value=path[:200]
    )


def _described(entries: Entries, images: list[ZarrImage]) -> list[OmeImage] | None:
    """Return what an OME-XML beside the images says of each, None if there is none that speaks of these."""
    try:
        content = entries.read(OME_XML, MAX_BYTES)
        described = [] if content is None else ome_images(content.decode())
    except (ValueError, OSError, SlideUnreadable):
        return None
    sizes = [(each.width, each.height) for each in described]
    return described if sizes == [size_of(_finest(each), each.axes) for each in images] else None


def _xml_of_another() -> TrustWarning:
    return TrustWarning(
        code="xml_contradicted",
        message="The OME-XML in this OME-Zarr speaks of other images than its arrays, and is not used.",
        value=OME_XML,
    )


def _resolution(first: ZarrLevel, ome: OmeImage | None) -> Resolution:
    if first.um is not None:
        return Resolution(_floats(first.um), "zarr")
    return Resolution(_floats(ome.mpp), "ome") if ome and ome.mpp else Resolution()


def _contradicted(first: ZarrLevel, ome: OmeImage | None) -> Iterator[TrustWarning]:
    """Compare the scale with the OME-XML, where both can be a scanner's."""
    scale, stated = _floats(first.um), _floats(ome.mpp) if ome else None
    if scale is None or stated is None or not all(map(is_plausible, (*scale, *stated))):
        return
    if any(abs(one / other - 1) > MPP_AGREE for one, other in zip(scale, stated, strict=True)):
        yield TrustWarning(
            code="mpp_contradicted",
            message="The scale of this OME-Zarr and its OME-XML differ; the scale is taken.",
            value=f"{scale[0]:g} and {stated[0]:g}",
        )
