"""The geometry every result rests on: the plane is cut without gap or overlap, and boxes hold what they must."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import MppImplausible, MppMissing, MppOutOfRange
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.pipeline.tiling import (
    Box,
    Region,
    WorkingPlane,
    best_level,
    ceil_to,
    exact,
    grid_shape,
    level_downsample,
    read_box,
    region_at,
    regions,
    tiles,
)

scales = st.fractions(min_value=Fraction(1, 2), max_value=20, max_denominator=5000)
planes = st.builds(WorkingPlane, st.integers(20, 700), st.integers(20, 700), scales, scales)


def geometry(width: int, height: int, *downsamples: float, mpp: float | None = 0.25) -> SlideGeometry:
    levels = tuple(
        SlideLevel(width=width // round(downsample), height=height // round(downsample), downsample=downsample)
        for downsample in (1.0, *downsamples)
    )
    return SlideGeometry(l0_width=width, l0_height=height, mpp_x=mpp, mpp_y=mpp, levels=levels)


@given(planes, st.sampled_from([16, 32, 48, 256]))
def test_cores_cover_the_plane_exactly_once(plane: WorkingPlane, region_px: int) -> None:
    painted = np.zeros((plane.w_height, plane.w_width), np.int64)
    for region in regions(plane, region_px):
        assert 0 < region.width <= region_px
        assert 0 < region.height <= region_px
        painted[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1] += 1
    assert (painted == 1).all()


@given(planes, st.sampled_from([16, 32, 48, 256]))
def test_an_index_names_its_cell(plane: WorkingPlane, region_px: int) -> None:
    rows, cols = grid_shape(plane, region_px)
    listed = list(regions(plane, region_px))
    assert len(listed) == rows * cols
    for index, region in enumerate(listed):
        assert region == region_at(plane, region_px, index)
        assert (region.index, region.row, region.col) == (index, index // cols, index % cols)
        assert (region.w_x0, region.w_y0) == (region.col * region_px, region.row * region_px)
    for outside in (-1, rows * cols):
        with pytest.raises(ValueError, match="outside the grid"):
            region_at(plane, region_px, outside)


@given(planes, st.sampled_from([64, 96]), st.integers(0, 70), st.sampled_from([1, 4, 8, 16, 32]))
def test_a_box_holds_core_and_halo_on_the_stride(plane: WorkingPlane, region_px: int, halo: int, stride: int) -> None:
    for core in regions(plane, region_px):
        box = read_box(core, halo, stride)
        assert all(number % stride == 0 for number in (box.w_x, box.w_y, box.width, box.height))
        assert box.w_x <= core.w_x0 - halo
        assert box.w_y <= core.w_y0 - halo
        assert box.w_x + box.width >= core.w_x1 + halo
        assert box.w_y + box.height >= core.w_y1 + halo
        assert box.width <= ceil_to(core.width, stride) + 2 * ceil_to(halo, stride)
        assert box.height <= ceil_to(core.height, stride) + 2 * ceil_to(halo, stride)


@given(planes, st.sampled_from([64, 96]), st.integers(0, 70), st.sampled_from([1, 8, 32]))
def test_a_crop_gives_the_core_back(plane: WorkingPlane, region_px: int, halo: int, stride: int) -> None:
    for core in regions(plane, region_px):
        box = read_box(core, halo, stride)
        w_y, w_x = np.mgrid[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width]
        rows, columns = box.crop(core)
        assert (w_y[rows, columns] == np.arange(core.w_y0, core.w_y1)[:, np.newaxis]).all()
        assert (w_x[rows, columns] == np.arange(core.w_x0, core.w_x1)).all()
        assert w_x[rows, columns].shape == (core.height, core.width)


def test_the_numbers_of_one_box() -> None:
    core = Region(0, 1, 2, 1024, 512, 1300, 1024)
    assert read_box(core, 60, 16) == Box(960, 448, 288 + 128, 512 + 128)


def test_a_core_off_the_stride_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not aligned"):
        read_box(Region(0, 0, 0, 24, 0, 100, 100), 32, 16)


@given(planes, st.sampled_from([64, 96, 128]), st.sampled_from([32, 48, 64]))
def test_tiles_cover_a_core_exactly_once(plane: WorkingPlane, region_px: int, tile_px: int) -> None:
    painted = np.zeros((plane.w_height, plane.w_width), np.int64)
    for core in regions(plane, region_px):
        for index, tile in enumerate(tiles(core, tile_px)):
            assert tile.index == index
            assert core.w_x0 <= tile.w_x0 < tile.w_x1 <= core.w_x1
            assert core.w_y0 <= tile.w_y0 < tile.w_y1 <= core.w_y1
            assert (tile.w_x0 // tile_px, (tile.w_x1 - 1) // tile_px) == (tile.col, tile.col)
            assert (tile.w_y0 // tile_px, (tile.w_y1 - 1) // tile_px) == (tile.row, tile.row)
            painted[tile.w_y0 : tile.w_y1, tile.w_x0 : tile.w_x1] += 1
    assert (painted == 1).all()


@given(planes)
def test_tiles_do_not_depend_on_the_size_of_the_region(plane: WorkingPlane) -> None:
    def places(region_px: int) -> set[tuple[int, int, int, int]]:
        cut = [tile for core in regions(plane, region_px) for tile in tiles(core, 64)]
        return {(tile.w_x0, tile.w_y0, tile.w_x1, tile.w_y1) for tile in cut}

    assert places(64) == places(128) == places(256)


@given(planes)
def test_only_whole_working_pixels(plane: WorkingPlane) -> None:
    assert plane.w_width * plane.scale_x <= plane.l0_width < (plane.w_width + 1) * plane.scale_x
    assert plane.w_height * plane.scale_y <= plane.l0_height < (plane.w_height + 1) * plane.scale_y


@given(planes, st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_working_to_level_0_and_back_is_exact(plane: WorkingPlane, w_x: int, w_y: int) -> None:
    assert plane.from_l0(*plane.to_l0(w_x, w_y)) == (Fraction(w_x), Fraction(w_y))


def test_the_scale_is_a_ratio_of_decimals() -> None:
    plane = WorkingPlane.from_geometry(geometry(2220, 2967, mpp=0.499), 0.5, None)
    assert (plane.scale_x, plane.scale_y) == (Fraction(500, 499), Fraction(500, 499))
    assert (plane.w_width, plane.w_height, plane.mpp_source) == (2215, 2961, "metadata")
    assert exact(0.1) * 3 == exact(0.3)


def test_working_pixels_are_counted_as_in_whole_numbers() -> None:
    # In hundredths of µm the sums are whole numbers. Floats lose some: 35 / (0.7 / 0.3) is less than 15.
    for width in range(10, 40, 5):
        for slide in range(20, 60, 2):
            for model in range(30, 120, 5):
                plane = WorkingPlane.from_geometry(geometry(width, width, mpp=slide / 100), model / 100, None)
                assert plane.w_width == plane.w_height == width * slide // model


def test_axes_may_differ() -> None:
    slide = SlideGeometry(
        l0_width=1000,
        l0_height=1000,
        mpp_x=0.25,
        mpp_y=0.2,
        levels=(SlideLevel(width=1000, height=1000, downsample=1),),
    )
    plane = WorkingPlane.from_geometry(slide, 0.5, None)
    assert (plane.w_width, plane.w_height) == (500, 400)


def test_the_request_wins_over_the_slide() -> None:
    plane = WorkingPlane.from_geometry(geometry(1000, 1000, mpp=0.25), 0.5, 0.5)
    assert plane.scale_x == 1
    assert plane.mpp_source == "request"


@pytest.mark.parametrize(("slide_mpp", "override"), [(0.25, 100.0), (0.25, 0.001), (1.01, None), (0.25, 1.01)])
def test_an_mpp_that_does_not_suit_is_refused(slide_mpp: float, override: float | None) -> None:
    with pytest.raises(MppImplausible if override == 0.001 else MppOutOfRange) as refused:
        WorkingPlane.from_geometry(geometry(1000, 1000, mpp=slide_mpp), 0.5, override)
    assert refused.value.accepted


def test_twice_as_coarse_is_still_taken() -> None:
    assert WorkingPlane.from_geometry(geometry(1000, 1000, mpp=1.0), 0.5, None).scale_x == Fraction(1, 2)


def test_a_slide_smaller_than_a_pixel_is_refused() -> None:
    with pytest.raises(MppOutOfRange):
        WorkingPlane.from_geometry(geometry(1, 100, mpp=0.25), 0.5, None)


def test_without_any_mpp_there_is_no_plane() -> None:
    with pytest.raises(MppMissing) as refused:
        WorkingPlane.from_geometry(geometry(1000, 1000, mpp=None), 0.5, None)
    assert "mpp in the request" in str(refused.value.accepted)


def test_a_plan_lays_the_same_plane() -> None:
    slide = geometry(2220, 2967, mpp=0.2281750559028887)
    plane = WorkingPlane.from_geometry(slide, 0.5, None)
    plan = Plan(
        job_id="0" * 32,
        slide_id="1" * 32,
        slide_sha256="",
        model="m",
        model_digest="",
        geometry=slide,
        mpp_x=slide.mpp_x or 0,
        mpp_y=slide.mpp_y or 0,
        mpp_source="metadata",
        model_mpp=0.5,
        level=0,
        w_width=plane.w_width,
        w_height=plane.w_height,
        region_px=1024,
        tile_px=512,
        halo_px=64,
        stride_px=16,
        seed=0,
        regions=(),
        tissue=True,
        classes=(),
        estimated_peak_bytes=1,
    )
    assert WorkingPlane.from_plan(Plan.model_validate_json(plan.model_dump_json())) == plane


@given(st.integers(10**4, 10**6), st.integers(10**4, 10**6), st.integers(0, 6), st.booleans())
def test_repeated_halving_is_a_whole_downsample(width: int, height: int, halvings: int, up: bool) -> None:
    lv_width, lv_height = width, height
    for _ in range(halvings):
        lv_width, lv_height = ((lv_width + up) // 2, (lv_height + up) // 2)
    mean = (width / lv_width + height / lv_height) / 2
    level = SlideLevel(width=lv_width, height=lv_height, downsample=mean)
    slide = SlideGeometry(l0_width=width, l0_height=height, levels=(level,))
    assert level_downsample(slide, 0) == (Fraction(2**halvings), Fraction(2**halvings))


def test_a_downsample_that_is_no_whole_number_is_the_ratio_of_sizes() -> None:
    levels = (SlideLevel(width=1000, height=1000, downsample=1), SlideLevel(width=270, height=271, downsample=3.6969))
    slide = SlideGeometry(l0_width=1000, l0_height=1000, levels=levels)
    assert level_downsample(slide, 1) == (Fraction(1000, 270), Fraction(1000, 271))


@pytest.mark.parametrize(
    ("scale", "level"), [("1/2", 0), ("1", 0), ("3999999/1000000", 1), ("4", 1), ("15.9", 1), ("16", 2), ("100", 2)]
)
def test_the_best_level_is_the_coarsest_that_is_fine_enough(scale: str, level: int) -> None:
    plane = WorkingPlane(46_920, 33_014, Fraction(scale), Fraction(scale))
    slide = geometry(46_920, 33_014, 4.00006, 16.0001)
    assert best_level(slide, plane) == level


def test_both_axes_must_be_fine_enough() -> None:
    assert best_level(geometry(4000, 4000, 4.0), WorkingPlane(4000, 4000, Fraction(4), Fraction(3))) == 0


@given(st.integers(0, 10**9), st.integers(1, 10**4))
def test_ceil_to(length: int, step: int) -> None:
    assert ceil_to(length, step) == ceil(Fraction(length, step)) * step
