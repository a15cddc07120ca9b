"""PNG and JPEG: one picture without levels and without a resolution; a job has to say its µm per px."""

from pathlib import Path

import numpy as np
from PIL import Image

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slide_schemas import SlideContent, SlideLevel
from workers.core.slides.geometry import Resolution, geometry_from
from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.openslide_reader import only_image
from workers.core.slides.slide import PARSER_ERRORS, Pixels, Slide, over_white, undecodable
from workers.core.slides.tiff.codestream import jpeg_size, png_size

MAX_PX = 2**26
"""It is decoded as a whole: 200 MB of RGB."""

MIN_SIDE_PX = 32
"""A smaller picture is an icon or a spacer, and no section."""

HEADER_BYTES = 2**20
"""Before the size of a JPEG there may be a profile and a small picture of itself."""

PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Of Pillow: what is turned into RGB over white without a guess."""

ORIENTATION, UPRIGHT = 274, 1


class PictureSlide(Slide):
    """A PNG or JPEG, decoded when it is first read.

    Args:
        path: The file.

    Raises:
        SlideUnreadable: It is damaged, turned, or of pixels that are not understood.
        SlideTooLarge: It has too many px to be decoded as a whole.
    """

    backend = "pillow"
    vendor = "picture"

    def __init__(self, path: Path) -> None:
        width, height = _size(path)
        if width * height > MAX_PX:
            raise SlideTooLarge(
                "A PNG or JPEG is decoded as a whole, and this one is too large for that.",
                value=f"{width} x {height}",
                accepted=f"at most {MAX_PX} pixels, or a tiled TIFF",
            )
        if min(width, height) < MIN_SIDE_PX:
            raise SlideUnreadable(
                "This picture is too small to be a slide.",
                value=f"{width} x {height}",
                accepted=f"at least {MIN_SIDE_PX} px on each side",
            )
        self._file = path.open("rb")
        self._pixels: Pixels | None = None
        try:
            self._image = Image.open(self._file, formats=("PNG", "JPEG"))
            self._check()
        except SlideUnreadable:
            self._file.close()
            raise
        except PARSER_ERRORS as error:
            self._file.close()
            raise SlideUnreadable("This picture is damaged or cut off.", value=path.name) from error
        level = SlideLevel(width=width, height=height, downsample=1)
        self.geometry = geometry_from([level], Resolution())
        self.content = SlideContent(icc="icc_profile" in self._image.info)

    def _check(self) -> None:
        """Refuse pixels that would come out wrong."""
        if self._image.mode not in MODES:
            raise SlideUnreadable(
                "The pixels of this picture are not understood.",
                value=self._image.mode,
                accepted="grey, palette, RGB or RGBA of 8 bits",
            )
        turned = self._image.getexif().get(ORIENTATION, UPRIGHT)
        if turned != UPRIGHT:
            raise SlideUnreadable(
                "The orientation of this picture is not understood.", value=turned, accepted=f"{UPRIGHT}, upright"
            )

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        if self._pixels is None:
            try:
                self._pixels = over_white(np.asarray(self._image.convert("RGBA")))
            except PARSER_ERRORS as error:
                raise undecodable(level, lv_x, lv_y) from error
        return self._pixels[lv_y : lv_y + height, lv_x : lv_x + width]

    def close(self) -> None:
        """Release the file."""
        self._image.close()
        self._file.close()


def _size(path: Path) -> tuple[int, int]:
    """Return (width, height) by the header alone."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    size = png_size(head) or jpeg_size(head)
    if size is None or 0 in size:
        raise SlideUnreadable("The header of this picture says no size.", value=path.name)
    return size


def _is_picture(candidate: Candidate) -> bool:
    return candidate.head.startswith((PNG_MAGIC, JPEG_MAGIC))


def _open(path: Path, image: int | None) -> Slide:
    only_image(image)
    return PictureSlide(path)


FORMAT = Format(
    name="picture",
    title="PNG or JPEG",
    readers=("pillow",),
    tried_on="files made by script",
    detect=_is_picture,
    open=_open,
    note=f"8 bits, at most {MAX_PX // 10**6} million px; says no µm per pixel, so the job has to",
)
