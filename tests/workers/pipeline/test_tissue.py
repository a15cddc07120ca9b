"""The mask finds tissue on real slides, is right about the extremes, and depends on the slide alone."""

from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.core.slides.readers.registry import open_slide
from workers.pipeline.overview import MAX_PX, Overview, level_and_factor
from workers.pipeline.tiling import Box, WorkingPlane, level_downsample, regions
from workers.pipeline.tissue import (
    HOLE_PX,
    TissueMask,
    _without_holes,
    floor_all,
    otsu,
)
from workers.pipeline.tissue import find_tissue as find_tissue_in

GLASS = (243, 242, 244)
PINK = (214, 150, 190)
PALE_PINK = (232, 208, 222)


def find_tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return find_tissue_in(Overview.of(pixels))


def scene(colour: tuple[int, int, int], height: int = 120, width: int = 160, noise: int = 4) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return (np.array(colour) + rng.integers(-noise, noise + 1, (height, width, 3))).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [GLASS, (222, 221, 224), (255, 255, 255), (236, 228, 232), (205, 205, 205)])
def test_a_slide_of_glass_has_no_tissue(colour: tuple[int, int, int]) -> None:
    assert not find_tissue(scene(colour)).any()


@pytest.mark.parametrize("colour", [PINK, (120, 80, 150), (0, 0, 12), (0, 0, 0), (180, 180, 180)])
def test_a_slide_of_tissue_is_all_tissue(colour: tuple[int, int, int]) -> None:
    assert find_tissue(scene(colour)).all()


def test_a_gradient_over_the_glass_is_no_tissue() -> None:
    glass = scene(GLASS).astype(int) - np.linspace(0, 15, 160).astype(int)[np.newaxis, :, np.newaxis]
    assert not find_tissue(glass.astype(np.uint8)).any()


@pytest.mark.parametrize(
    ("glass", "colour"), [(GLASS, PINK), (GLASS, PALE_PINK), (GLASS, (60, 40, 90)), ((226, 226, 228), PINK)]
)
def test_an_island_is_found_with_a_narrow_rim(glass: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    pixels = scene(glass, noise=2)
    pixels[40:80, 50:110] = scene(colour, 40, 60, noise=2)
    found = find_tissue(pixels)
    assert found[40:80, 50:110].all()
    rim = 3
    found[40 - rim : 80 + rim, 50 - rim : 110 + rim] = False
    assert not found.any()


def test_white_padding_does_not_make_the_glass_tissue() -> None:
    pixels = scene((223, 222, 225), 200, 200)
    pixels[:, 60:] = 255
    pixels[10:30, 10:30] = scene(PINK, 20, 20)
    found = find_tissue(pixels)
    assert found[10:30, 10:30].all()
    assert found.mean() < 0.02


def test_small_holes_close_and_specks_go() -> None:
    pixels = scene(GLASS)
    pixels[40:80, 50:110] = PINK
    pixels[57:63, 80:86] = GLASS
    pixels[10, 10] = pixels[100, 20] = PINK
    found = find_tissue(pixels)
    assert found[57:63, 80:86].all()
    assert not found[5:15, 5:15].any()
    assert not found[95:105, 15:25].any()


def test_a_lumen_is_tissue_and_a_gap_is_not() -> None:
    pixels = scene(GLASS, 200, 260)
    pixels[20:180, 20:240] = PINK
    pixels[40:70, 40:70] = GLASS  # 30 px wide: a lumen
    pixels[80:160, 80:160] = GLASS  # 80 px wide: the section has a hole
    pixels[100:110, 200:] = GLASS  # narrow, but open to the slide's glass and to its edge
    found = find_tissue(pixels)
    assert found[40:70, 40:70].all()
    assert not found[90:150, 90:150].any()
    assert not found[104, 220:].any()


def test_enclosed_glass_is_filled_up_to_a_size_and_never_at_the_edge() -> None:
    rng = np.random.default_rng(3)
    for density in (0.4, 0.5, 0.7):
        mask = rng.random((60, 70)) < density
        mask[10:50, 10:60] |= rng.random((40, 50)) < 0.3
        mask[25:26, 15:55] = False
        np.testing.assert_array_equal(_without_holes(mask), filled_by_hand(mask))
    big = np.ones((60, 60), np.bool_)
    big[5:45, 5:45] = False
    np.testing.assert_array_equal(_without_holes(big), big)


def filled_by_hand(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Walk every hole px by px."""
    filled, seen = mask.copy(), mask.copy()
    for start in np.argwhere(~mask):
        hole, todo = [], [tuple(start)]
        while todo:
            y, x = todo.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and not seen[y, x]:
                seen[y, x] = True
                hole.append((y, x))
                todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        at_edge = any(y in (0, mask.shape[0] - 1) or x in (0, mask.shape[1] - 1) for y, x in hole)
        if hole and len(hole) <= HOLE_PX and not at_edge:
            filled[tuple(np.transpose(hole))] = True
    return filled


@given(st.lists(st.integers(0, 255), min_size=2, max_size=60))
def test_otsu_is_the_threshold_that_separates_best(values: list[int]) -> None:
    def between(threshold: int) -> float:
        low = [value for value in values if value <= threshold]
        high = [value for value in values if value > threshold]
        if not low or not high:
            return 0.0
        return len(low) * len(high) * (sum(low) / len(low) - sum(high) / len(high)) ** 2

    found = otsu(np.array(values, np.uint8))
    assert between(found) == pytest.approx(max(between(threshold) for threshold in range(256)))


def test_the_real_section_is_found_as_its_reference_says(crc_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9984 * 16384)
    with Image.open(crc_slide.with_name("crc_P2_0039_sec4_9984x16384_mask.png")) as image:
        reference = np.asarray(image.convert("1"))
    with open_slide(crc_slide) as slide:
        tissue = TissueMask.from_slide(slide)
    assert tissue.mask.shape == (1024, 624)
    true = reference.reshape(1024, 16, 624, 16).mean(axis=(1, 3)) >= 0.5
    hits = (tissue.mask & true).sum()
    assert hits / true.sum() > 0.95
    assert hits / tissue.mask.sum() > 0.93


def test_real_slides_keep_their_tissue_and_lose_their_glass(shared_data: Path) -> None:
    shares = {
        "CMU-1-Small-Region.svs": (0.42, 0.50),
        "tcga-cr-7395-01a-01-ts1.svs": (0.60, 0.72),
        "test3-DAPI-2-387.ndpi": (1, 1),  # fluorescence: dark, and kept whole
        "OS-1-detail.ome.tif": (1, 1),
        "camelyon_level_jpeg_1152x700.dcm": (0.2, 0.4),
    }
    for name, (least, most) in shares.items():
        with open_slide(shared_data / "wsi" / name) as slide:
            share = float(TissueMask.from_slide(slide).mask.mean())
        assert least <= share <= most, name


def test_the_mask_is_the_same_every_time(cmu_slide: Path) -> None:
    with open_slide(cmu_slide) as slide:
        first = TissueMask.from_slide(slide)
    with open_slide(cmu_slide) as slide:
        slide.read_level(0, 500, 500, 100, 100)
        second = TissueMask.from_slide(slide)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert (first.l0_per_px_x, first.l0_per_px_y) == (second.l0_per_px_x, second.l0_per_px_y)


def test_the_mask_lies_where_the_tissue_lies(made_slide: Callable[..., Path]) -> None:
    pixels = scene(GLASS, 1024, 1536)
    pixels[256:640, 768:1280] = PINK
    with open_slide(made_slide(pixels, levels=3, mpp=0.5)) as slide:
        tissue = TissueMask.from_slide(slide)
    assert tissue.l0_per_px_x == tissue.l0_per_px_y == 16
    expected = np.zeros((64, 96), np.bool_)
    expected[14:42, 46:82] = True  # two px of rim
    np.testing.assert_array_equal(tissue.mask, expected)


masks = st.builds(
    lambda seed, rows, columns, x, y: TissueMask(
        np.random.default_rng(seed).random((rows, columns)) < 0.2,
        np.zeros((rows, columns), np.bool_),
        Fraction(x),
        Fraction(y),
    ),
    st.integers(0, 1000),
    st.integers(4, 9),
    st.integers(4, 9),
    st.fractions(min_value=20, max_value=40, max_denominator=7),
    st.fractions(min_value=20, max_value=40, max_denominator=7),
)
planes = st.builds(
    WorkingPlane,
    st.integers(60, 160),
    st.integers(60, 160),
    st.fractions(min_value=Fraction(1, 2), max_value=5, max_denominator=500),
    st.fractions(min_value=Fraction(1, 2), max_value=5, max_denominator=500),
)


@given(masks, planes, st.integers(-9, 60), st.integers(-9, 60))
def test_a_crop_asks_the_mask_pixel_by_pixel(tissue: TissueMask, plane: WorkingPlane, w_x: int, w_y: int) -> None:
    crop = tissue.crop(Box(w_x, w_y, 30, 20), plane)
    assert crop.shape == (20, 30)
    rows, columns = tissue.mask.shape
    for y in range(w_y, w_y + 20):
        for x in range(w_x, w_x + 30):
            inside = 0 <= x < plane.w_width and 0 <= y < plane.w_height
            column = min(int(x * plane.scale_x / tissue.l0_per_px_x), columns - 1)
            row = min(int(y * plane.scale_y / tissue.l0_per_px_y), rows - 1)
            assert crop[y - w_y, x - w_x] == (inside and tissue.mask[row, column])


@given(
    st.one_of(st.fractions(min_value=Fraction(1, 999), max_value=999, max_denominator=2**70), st.floats(1e-3, 999)),
    st.integers(0, 2**40),
    st.integers(1, 2**45),
)
def test_floors_are_exact_whatever_the_ratio(ratio: float | Fraction, start: int, length: int) -> None:
    exact = Fraction(ratio)
    wanted = [min(floor(exact * i), length - 1) for i in range(start, start + 40)]
    assert floor_all(exact, start, 40, length).tolist() == wanted


@given(masks, planes, st.sampled_from([16, 48]))
def test_a_region_is_planned_exactly_when_it_holds_tissue(
    tissue: TissueMask, plane: WorkingPlane, region_px: int
) -> None:
    for region in regions(plane, region_px):
        box = Box(region.w_x0, region.w_y0, region.width, region.height)
        assert tissue.any(region, plane) == bool(tissue.crop(box, plane).any())


def test_a_job_that_skips_nothing() -> None:
    geometry = SlideGeometry(l0_width=900, l0_height=700, levels=(SlideLevel(width=900, height=700, downsample=1),))
    plane = WorkingPlane(900, 700, Fraction(7, 3), Fraction(2))
    tissue = TissueMask.everywhere(geometry)
    assert all(tissue.any(region, plane) for region in regions(plane, 64))
    assert tissue.crop(Box(0, 0, plane.w_width, plane.w_height), plane).all()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    mask, dark = np.random.default_rng(0).random((2, 37, 53)) < 0.5
    TissueMask(mask, dark, Fraction(50, 3), Fraction(16), 44).save(tmp_path / "tissue.png")
    loaded = TissueMask.load(tmp_path / "tissue.png")
    np.testing.assert_array_equal(loaded.mask, mask)
    np.testing.assert_array_equal(loaded.dark, dark)
    assert loaded.dark_most == 44
    assert (loaded.l0_per_px_x, loaded.l0_per_px_y) == (Fraction(50, 3), Fraction(16))
    assert [path.name for path in tmp_path.iterdir()] == ["tissue.png"]


@pytest.mark.parametrize("mpp", [None, 0.25, 40.0])
@pytest.mark.parametrize("downsamples", [(1,), (1, 4, 16), (1, 2, 4, 8, 16, 32, 64)])
def test_the_mask_of_a_huge_slide_is_small(mpp: float | None, downsamples: tuple[int, ...]) -> None:
    levels = tuple(SlideLevel(width=320_000 // d, height=300_000 // d, downsample=d) for d in downsamples)
    geometry = SlideGeometry(l0_width=320_000, l0_height=300_000, mpp_x=mpp, mpp_y=mpp, levels=levels)
    level, factor = level_and_factor(geometry)
    pixels = -(-levels[level].width // factor) * -(-levels[level].height // factor)
    assert MAX_PX / 8 < pixels <= MAX_PX * 1.01
    assert level_downsample(geometry, level)[0] * factor <= 100
