"""Boxes around the tissue of a tile, held against its pixels one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pipeline.cutting import CUT_PX, cut
from workers.pipeline.roi import Mask
from workers.pipeline.tiling import Region

HALO = 96


def tile_of(mask: Mask, w_x0: int = 2048, w_y0: int = 1024) -> Region:
    height, width = mask.shape
    return Region(3, 1, 2, w_x0, w_y0, w_x0 + width, w_y0 + height)


def computed_px(parts: list[Region], halo: int = HALO) -> int:
    return sum((part.width + 2 * halo) * (part.height + 2 * halo) for part in parts)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Blots of tissue on a tile that the plane may have cut off."""
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 700))
    mask = np.zeros((height, width), np.bool_)
    for _ in range(draw(st.integers(0, 6))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, 200)), left : left + draw(st.integers(1, 200))] = True
    return mask


@given(mask=masks(), halo=st.sampled_from([0, 48, HALO, 400]), stride=st.sampled_from([1, 16, 48, 96]))
def test_parts_hold_all_tissue_once_and_lie_on_the_stride(mask: Mask, halo: int, stride: int) -> None:
    tile = tile_of(mask, 96 * 20, 96 * 11)
    parts = cut(tile, mask, halo, stride)
    seen = np.zeros(mask.shape, np.int64)
    for part in parts:
        assert (part.index, part.row, part.col) == (tile.index, tile.row, tile.col)
        assert tile.w_x0 <= part.w_x0 < part.w_x1 <= tile.w_x1
        assert tile.w_y0 <= part.w_y0 < part.w_y1 <= tile.w_y1
        assert part.w_x0 % stride == part.w_y0 % stride == 0
        place = np.s_[part.w_y0 - tile.w_y0 : part.w_y1 - tile.w_y0, part.w_x0 - tile.w_x0 : part.w_x1 - tile.w_x0]
        assert mask[place].any()
        seen[place] += 1
    assert seen.max(initial=0) <= 1
    assert (seen[mask] == 1).all()
    if parts:
        assert computed_px(parts, halo) <= computed_px([tile], halo)


@given(mask=masks())
def test_parts_depend_on_the_tissue_and_not_on_where_the_tile_lies(mask: Mask) -> None:
    here, there = (cut(tile_of(mask, *at), mask, HALO, 16) for at in ((0, 0), (5120, 1024)))
    assert [(part.w_x0 + 5120, part.w_y0 + 1024, part.width, part.height) for part in here] == [
        (part.w_x0, part.w_y0, part.width, part.height) for part in there
    ]


def test_a_full_tile_is_one_part_and_an_empty_one_none() -> None:
    full = np.ones((1024, 1024), np.bool_)
    assert cut(tile_of(full), full, HALO, 16) == [tile_of(full)]
    assert cut(tile_of(full), ~full, HALO, 16) == []


@pytest.mark.parametrize(("apart", "parts"), [(64, 1), (640, 2)])
def test_two_islands_are_two_parts_where_that_is_less(apart: int, parts: int) -> None:
    mask = np.zeros((1024, 1024), np.bool_)
    mask[:CUT_PX, :CUT_PX] = mask[CUT_PX + apart : 2 * CUT_PX + apart, :CUT_PX] = True
    found = cut(tile_of(mask), mask, HALO, 16)
    assert len(found) == parts
    whole = computed_px([Region(0, 0, 0, 0, 0, CUT_PX, 2 * CUT_PX + apart)])
    assert (computed_px(found) < whole) == (parts == 2)
