"""Size, resolution, bounds, levels and tiles of a slide, from what a reader says of it."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from workers.core.slide_schemas import MppOrigin, SlideGeometry, SlideLevel
from workers.core.slides.resolution import is_plausible

Mpp = tuple[float, float]
"""µm per level-0 px in x and in y."""


class Resolution(NamedTuple):
    """What a file says of the size of its pixels.

    Attributes:
        mpp: µm per level-0 px in x and y; None if the file does not say both.
        origin: Where that stands in the file.
        objective_power: Of the objective; it suggests a size, and is never taken for one.
    """

    mpp: Mpp | None = None
    origin: MppOrigin | None = None
    objective_power: float | None = None


def geometry_from(
    levels: Sequence[SlideLevel], resolution: Resolution, bounds: tuple[int, int, int, int] | None = None
) -> SlideGeometry:
    """Return the geometry of a slide; µm that no scanner makes are kept apart from those of use."""
    mpp = resolution.mpp
    is_usable = mpp is not None and all(is_plausible(each) for each in mpp)
    return SlideGeometry(
        l0_width=levels[0].width,
        l0_height=levels[0].height,
        mpp_x=mpp[0] if mpp and is_usable else None,
        mpp_y=mpp[1] if mpp and is_usable else None,
        mpp_origin=resolution.origin if mpp else None,
        implausible_mpp=None if mpp is None or is_usable else mpp,
        objective_power=resolution.objective_power,
        bounds=bounds,
        levels=tuple(levels),
    )


def mpp_of(raw_x: Any, raw_y: Any) -> Mpp | None:
    """Return both numbers, or None: half a resolution is none."""
    numbers = number_of(raw_x), number_of(raw_y)
    return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])


def number_of(raw: Any) -> float | None:
    """Return what a file says as a number above 0, None if it is none."""
    try:
        number = float(raw)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) and number > 0 else None


def level_for_side(geometry: SlideGeometry, min_px: int) -> int:
    """Return the coarsest level whose longer side has `min_px` px or more; the finest if none has."""
    fine = [i for i, size in enumerate(geometry.levels) if max(size.width, size.height) >= min_px]
    return max(fine, key=lambda i: geometry.levels[i].downsample, default=0)


def bounds_of(properties: Mapping[str, Any], prefix: str) -> tuple[int, int, int, int] | None:
    """Return (x, y, width, height) of what a reader says was scanned, level-0 px; None if it says nothing."""
    raw = [properties.get(f"{prefix}.bounds-{name}") for name in ("x", "y", "width", "height")]
    known = [int(number) for number in raw if number is not None]
    return (known[0], known[1], known[2], known[3]) if len(known) == len(raw) else None


def whole_of(raw: Any) -> int | None:
    """Return what a reader says as a whole number, None if it is none."""
    return int(raw) if str(raw).isdecimal() else None
