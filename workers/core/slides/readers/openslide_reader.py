"""Slides that OpenSlide reads: each vendor's format is one that it knows by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import Backend, MppOrigin, SlideContent, SlideLevel, TrustWarning
from workers.core.slides.geometry import Resolution, bounds_of, geometry_from, mpp_of, number_of, whole_of
from workers.core.slides.level_factor import level_factor, unusable
from workers.core.slides.readers.base import Candidate, Format, Strip, TriedOn
from workers.core.slides.slide import Pixels, Slide, over_white, undecodable

ICC_BYTES = "openslide.icc-size"
"""The property that is there with a colour profile. The profile itself is a stranger's, and is not parsed."""


class OpenSlideSlide(Slide):
    """A slide as OpenSlide shows it.

    Args:
        path: The file.
        mpp_origin: Where this format has its µm per px.

    Raises:
        SlideUnreadable: OpenSlide does not open it.
    """

    backend = "openslide"

    def __init__(self, path: Path, mpp_origin: MppOrigin = "vendor") -> None:
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideUnreadable(
                f"OpenSlide does not open this file: {reason_of(error, path)}.", value=path.name
            ) from error
        properties: Mapping[str, Any] = self._slide.properties
        self.vendor = str(properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"))
        warnings: list[TrustWarning] = []
        self._stored_levels: list[int] = []
        levels = self._levels(properties, warnings)
        resolution = Resolution(
            mpp_of(properties.get(openslide.PROPERTY_NAME_MPP_X), properties.get(openslide.PROPERTY_NAME_MPP_Y)),
            mpp_origin,
            number_of(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        )
        self.geometry = geometry_from(levels, resolution, bounds_of(properties, "openslide"))
        self.content = SlideContent(associated=tuple(self._slide.associated_images), icc=ICC_BYTES in properties)
        self.warnings = tuple(warnings)

    def _levels(self, properties: Mapping[str, Any], warnings: list[TrustWarning]) -> list[SlideLevel]:
        """Return the levels that fit level 0; `_stored_levels` says which of OpenSlide's each one is."""
        levels: list[SlideLevel] = []
        sizes = self._slide.level_dimensions
        for number, size in enumerate(sizes):
            tile = tuple(
                whole_of(properties.get(f"openslide.level[{number}].tile-{side}")) for side in ("width", "height")
            )
            factor = level_factor(sizes[0], size, None)
            if factor is None or (levels and factor.downsample == 1):
                warnings.append(unusable(number, size, sizes[0]))
                continue
            self._stored_levels.append(number)
            levels.append(
                SlideLevel(
                    width=size[0],
                    height=size[1],
                    downsample=max(1.0, self._slide.level_downsamples[number]),
                    tile_width=tile[0],
                    tile_height=tile[1],
                )
            )
        return levels

    def _read(self, level: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
        return read_level(self._slide, self._stored_levels[level], lv_x, lv_y, width, height)

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def openslide_format(
    vendor: str,
    title: str,
    tried_on: TriedOn,
    *,
    mpp_origin: MppOrigin = "vendor",
    strip: Strip | None = None,
    has_several_files: bool = False,
    stored_tiles: tuple[Backend, ...] = (),
) -> Format:
    """Return a format that OpenSlide knows as `vendor`."""

    def detect(candidate: Candidate) -> bool:
        return candidate.openslide_vendor == vendor

    def open_it(path: Path, image: int | None) -> Slide:
        only_image(image)
        return OpenSlideSlide(path, mpp_origin)

    return Format(
        name=vendor,
        title=title,
        readers=("openslide",),
        tried_on=tried_on,
        detect=detect,
        open=open_it,
        strip=strip,
        has_several_files=has_several_files,
        stored_tiles=stored_tiles,
    )


def read_level(slide: openslide.OpenSlide, stored: int, lv_x: int, lv_y: int, width: int, height: int) -> Pixels:
    """Return a rectangle of one of OpenSlide's levels, uint8 (height, width, 3) over white.

    Raises:
        SlideUnreadable: A tile cannot be decoded.
    """
    downsample = slide.level_downsamples[stored]
    l0_origin = (round(lv_x * downsample), round(lv_y * downsample))
    try:
        return over_white(np.asarray(slide.read_region(l0_origin, stored, (width, height))))
    except openslide.OpenSlideError as error:
        raise undecodable(stored, lv_x, lv_y) from error


def only_image(image: int | None) -> None:
    """Refuse to read another image than the one there is.

    Raises:
        SlideUnreadable: Another is asked for.
    """
    if image not in (None, 0):
        raise SlideUnreadable("The slide has one image alone.", value=image, accepted="image 0, or none named")


def reason_of(error: Exception, path: Path) -> str:
    """Return what a library says of a file, without its path."""
    return (str(error) or type(error).__name__).replace(str(path), path.name)[:200]
