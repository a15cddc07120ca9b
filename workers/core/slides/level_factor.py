"""How many level-0 px a px of a level measures: from what the file declares, never the ratio of padded sizes."""

from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from workers.core.slide_schemas import TrustWarning

Size = tuple[int, int]
"""(width, height) in px."""


class Factor(NamedTuple):
    """The downsample of a level.

    Attributes:
        downsample: Level-0 px per px of the level.
        size: (width, height) of what the level shows of the slide; padding lies beyond.
        is_padded: The level as stored is larger than that.
    """

    downsample: Fraction
    size: Size
    is_padded: bool


def level_factor(l0: Size, level: Size, tile: Size | None, declared: Fraction | None = None) -> Factor | None:
    """Return the downsample of a level, the same in x and y; None if no number explains its size.

    Args:
        l0: Size of level 0.
        level: Size of the level as stored.
        tile: Of the level's tiles; a padded level is a whole number of them.
        declared: What the file says the downsample is, by the resolution of both levels, if it does.
    """
    near = _by_ratio(l0, level)
    by_size = None if near is None else Factor(near, level, is_padded=False)
    is_tiles = tile is not None and not any(length % side for length, side in zip(level, tile, strict=True))
    if tile is None or not is_tiles or (near is not None and near.denominator == 1):
        return by_size
    if declared is not None:  # sizes that are padded alike both ways have a ratio as well
        return _padded(l0, level, tile, declared) or by_size
    if by_size is not None:
        return by_size
    found = [factor for k in range(1, 17) if (factor := _padded(l0, level, tile, Fraction(2**k)))]
    return found[0] if len(found) == 1 else None


def unusable(number: int, stored: Size, l0: Size) -> TrustWarning:
    """Return the warning of a level that no number explains: it is not read."""
    return TrustWarning(
        code="level_unusable",
        message="A level of the pyramid does not fit the others and is not read.",
        value=f"level {number}: {stored[0]} x {stored[1]} of {l0[0]} x {l0[1]}",
    )


def _by_ratio(l0: Size, level: Size) -> Fraction | None:
    """Return the downsample if both sides fit it to less than a px; a whole number where one does."""
    sides = list(zip(l0, level, strict=True))
    lows = [Fraction(full, lv + 2) for full, lv in sides]
    highs = [Fraction(full, max(1, lv - 2)) for full, lv in sides]
    if max(lows) > min(highs):  # vendors that halve repeatedly drop or add more than one px on the way
        return None
    whole = [
        k for k in range(max(1, floor(min(lows))), ceil(max(highs)) + 1) if all(_is_whole(k, *side) for side in sides)
    ]
    if whole:
        return Fraction(min(whole, key=lambda k: (k & (k - 1) != 0, k)))  # powers of two first
    longer = 0 if l0[0] >= l0[1] else 1
    return max(Fraction(1), Fraction(l0[longer], level[longer]))


def _is_whole(k: int, full: int, lv: int) -> bool:
    return lv in (full // k, -(-full // k))


def _padded(l0: Size, level: Size, tile: Size, downsample: Fraction) -> Factor | None:
    if downsample < 1:
        return None
    true = ceil(l0[0] / downsample), ceil(l0[1] / downsample)
    fits = all(lv == -(-length // side) * side for length, lv, side in zip(true, level, tile, strict=True))
    return Factor(downsample, true, is_padded=true != level) if fits else None
