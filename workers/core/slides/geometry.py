"""Size, resolution, bounds, levels and tiles of a slide, from what a reader says of it."""

from collections.abc import Mapping
from typing import Any

from workers.core.schemas import SlideGeometry, SlideLevel
from workers.core.slides.resolution import is_plausible


def geometry_of(
    sizes: tuple[tuple[int, int], ...], downsamples: tuple[float, ...], properties: Mapping[str, Any], prefix: str
) -> SlideGeometry:
    """Return the geometry of a slide.

    Args:
        sizes: (width, height) of each level in its own px, the finest first.
        downsamples: Level-0 px per px of each level.
        properties: All that the reader says of the slide.
        prefix: That of the reader's own properties.
    """
    mpp_x, mpp_y = _plausible_mpp(properties.get(f"{prefix}.mpp-x"), properties.get(f"{prefix}.mpp-y"))
    return SlideGeometry(
        l0_width=sizes[0][0],
        l0_height=sizes[0][1],
        mpp_x=mpp_x,
        mpp_y=mpp_y,
        bounds=_bounds(properties, prefix),
        levels=tuple(
            SlideLevel(
                width=width,
                height=height,
                downsample=max(1.0, downsample),
                tile_width=_whole(properties.get(f"{prefix}.level[{level}].tile-width")),
                tile_height=_whole(properties.get(f"{prefix}.level[{level}].tile-height")),
            )
            for level, ((width, height), downsample) in enumerate(zip(sizes, downsamples, strict=True))
        ),
    )


def level_for_side(geometry: SlideGeometry, min_px: int) -> int:
    """Return the coarsest level whose longer side has `min_px` px or more; the finest if none has."""
    fine = [i for i, size in enumerate(geometry.levels) if max(size.width, size.height) >= min_px]
    return max(fine, key=lambda i: geometry.levels[i].downsample, default=0)


def _bounds(properties: Mapping[str, Any], prefix: str) -> tuple[int, int, int, int] | None:
    raw = [properties.get(f"{prefix}.bounds-{name}") for name in ("x", "y", "width", "height")]
    known = [int(number) for number in raw if number is not None]
    return (known[0], known[1], known[2], known[3]) if len(known) == len(raw) else None


def _whole(raw: Any) -> int | None:
    return int(raw) if str(raw).isdecimal() else None


def _plausible_mpp(raw_x: Any, raw_y: Any) -> tuple[float | None, float | None]:
    """Return both numbers, or neither: half a resolution is none."""
    try:
        mpp_x, mpp_y = float(raw_x), float(raw_y)
    except (TypeError, ValueError):
        return None, None
    return (mpp_x, mpp_y) if is_plausible(mpp_x) and is_plausible(mpp_y) else (None, None)
