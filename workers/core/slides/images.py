"""A file may hold several images. Which one a job is about, and what is known of it before it is opened."""

from workers.core.errors.base import RequestInvalid
from workers.core.slide_schemas import SlideGeometry, SlideInfo, SlideLevel
from workers.core.slides.geometry import Resolution, geometry_from


def is_of_record(info: SlideInfo, image: int | None) -> bool:
    """Whether the image that a job asks for is the one that a stored record is about."""
    return image is None or image == info.content.image


def geometry_of_image(info: SlideInfo, image: int | None) -> SlideGeometry:
    """Return the geometry of the image that a job asks for; of another than the stored record is about, level 0 alone.

    Raises:
        RequestInvalid: The file has no image of this number.
    """
    if is_of_record(info, image):
        return info.geometry
    entry = next((each for each in info.content.images if each.index == image), None)
    if entry is None:
        count = max(1, len(info.content.images))
        raise RequestInvalid("image: the file has no image of this number.", value=image, accepted=f"0 to {count - 1}")
    level = SlideLevel(width=entry.width, height=entry.height, downsample=1)
    return geometry_from([level], Resolution(entry.mpp, "ome"))
