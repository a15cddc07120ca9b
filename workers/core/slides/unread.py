"""Which picture of a file is read, and what is said of those that are not: the same words for every format."""

from collections.abc import Iterator, Sequence

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import ImageEntry, TrustWarning

ASSOCIATED = ("label", "macro", "thumbnail", "overview", "barcode", "map")
"""Words in the names of images that are no slide."""

COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("channel red", "channel green", "channel blue"))
SHOWN = 3
"""As many channels make one picture."""


def is_associated_name(name: str) -> bool:
    """Whether an image of this name is no slide."""
    return any(word in name.lower() for word in ASSOCIATED)


def are_colours(names: Sequence[str]) -> bool:
    """Whether three grey channels are red, green and blue by their names."""
    return tuple(name.strip().lower() for name in names) in COLOURS


def channel_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of channels that are no colours; none if they are, or if there is one channel alone."""
    if are_colours(names) or len(names) < 2:
        return ()
    return tuple(name or f"channel {index + 1}" for index, name in enumerate(names))


def chosen_image(images: Sequence[ImageEntry], image: int | None) -> int:
    """Return the number of the image that is read: the largest slide, or the one that is asked for.

    Raises:
        SlideUnreadable: There is no such image.
    """
    if image is None:
        slides = [each for each in images if each.kind == "slide"]
        return max(slides, key=lambda each: each.width * each.height).index
    if not 0 <= image < len(images):
        raise SlideUnreadable("The file has no image of this number.", value=image, accepted=f"0 to {len(images) - 1}")
    return image


def images_unread(images: Sequence[ImageEntry], chosen: int, image: int | None) -> Iterator[TrustWarning]:
    """Say which slides of the file are not read, unless one was asked for."""
    others = [
        f"{each.index}: {each.name or 'unnamed'}" for each in images if each.index != chosen and each.kind == "slide"
    ]
    if others and image is None:
        yield TrustWarning(
            code="images_unread",
            message=f"The file holds {len(others) + 1} images and one is read: number {chosen}.",
            value=", ".join(others)[:200],
        )


def planes_unread(z_planes: int, times: int) -> Iterator[TrustWarning]:
    """Say that of several focal planes the middle one is read, and of several moments the first."""
    if z_planes * times > 1:
        yield TrustWarning(
            code="planes_unread",
            message="The file holds several focal planes or moments; the middle one of the first is read.",
            value=f"plane {z_planes // 2 + 1} of {z_planes}, moment 1 of {times}",
        )


def channels_unread(count: int, names: Sequence[str]) -> Iterator[TrustWarning]:
    """Say that channels beyond the third are not shown."""
    if count > SHOWN:
        yield TrustWarning(
            code="channels_unread",
            message=f"The file holds {count} channels, and the first three are shown as red, green and blue.",
            value=", ".join(names[SHOWN:])[:200] or None,
        )
