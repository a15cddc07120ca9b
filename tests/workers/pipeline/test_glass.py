"""Glass of every shade and tint, canvas and dark surroundings are no tissue, and what is pale or dark is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from workers.core.slides.readers.registry import open_slide
from workers.pipeline.glass import brightest_of, dark_surroundings, darkest_of, find_glass, mean_of
from workers.pipeline.overview import Overview
from workers.pipeline.tiling import Box, WorkingPlane
from workers.pipeline.tissue import TissueMask
from workers.pipeline.tissue import find_tissue as find_tissue_in

GLASS = (243, 242, 244)
PINK = (214, 150, 190)


def find_tissue(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return find_tissue_in(Overview.of(pixels))


def scene(colour: tuple[int, int, int], height: int = 120, width: int = 160, noise: int = 4) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return (np.array(colour) + rng.integers(-noise, noise + 1, (height, width, 3))).clip(0, 255).astype(np.uint8)


@given(
    st.integers(200, 252),
    st.sampled_from([(0, 0, 0), (0, 4, 14), (0, 10, 32), (10, 4, 0), (8, 0, 6)]),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_the_shade_and_the_tint_of_the_glass_do_not_matter(
    light: int, tint: tuple[int, int, int], noise: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    through, truth = np.ones((120, 160, 3)), np.zeros((120, 160), np.bool_)
    truth[30:60, 20:90] = truth[70:110, 100:140] = True
    through[truth] = rng.uniform((0.7, 0.5, 0.7), (0.95, 0.85, 0.95), (int(truth.sum()), 3))
    seen = through * (light - np.array(tint)) + rng.integers(-noise, noise + 1, through.shape)
    found = find_tissue(seen.clip(0, 255).astype(np.uint8))
    assert found[truth].all()
    rim = ndimage.binary_dilation(truth, np.ones((7, 7)))
    assert not (found & ~rim).any()


def test_glass_is_measured_where_it_can_be() -> None:
    nothing = np.zeros((40, 40), np.bool_)
    assert find_glass(np.full((40, 40, 3), 30, np.uint8), nothing) is None
    assert find_glass(scene(PINK, 40, 40), nothing) is None
    for colour in ((255, 255, 255), (248, 238, 216)):
        glass = find_glass(np.full((40, 40, 3), colour, np.uint8), nothing)
        assert glass is not None
        np.testing.assert_allclose(glass.rows(0, 40, (40, 40)), np.broadcast_to(colour, (40, 40, 3)), atol=0.5)


@given(st.integers(252, 255), st.integers(200, 255), st.sampled_from([(0, 0, 0), (0, 4, 14), (0, 10, 32)]))
def test_glass_on_a_white_canvas_is_no_tissue(canvas: int, light: int, tint: tuple[int, int, int]) -> None:
    pixels = scene((canvas, canvas, canvas), 200, 200, noise=1)
    pixels[20:180, 30:120] = scene((light - tint[0], light - tint[1], light - tint[2]), 160, 90, noise=2)
    pixels[60:80, 50:90] = scene(PINK, 20, 40)
    found = find_tissue(pixels)
    assert found[60:80, 50:90].all()
    found[57:83, 47:93] = False
    assert not found.any()


def test_a_pale_patch_on_white_glass_is_tissue_though_it_is_flat() -> None:
    pixels = scene((250, 250, 250), 200, 200, noise=1)
    y, x = np.indices((200, 200))
    patch = np.hypot(y - 100, x - 100) < 60
    pixels[patch] = scene((233, 230, 240), 200, 200, noise=1)[patch]
    found = find_tissue(pixels)
    assert found[patch].mean() > 0.97
    assert not found[~ndimage.binary_dilation(patch, np.ones((9, 9)))].any()


@given(st.integers(0, 60), st.integers(0, 6), st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_dark_surroundings_add_no_tissue_and_take_none(shade: int, noise: int, top: int, left: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = scene(GLASS, 100, 120, noise=2)
    inner[30:70, 20:60] = scene(PINK, 40, 40)
    inner[80:100, 90:120] = scene((120, 80, 150), 20, 30)  # up to the edge of what was scanned
    around = (shade + rng.integers(-noise, noise + 1, (150, 170, 3))).clip(0, 255).astype(np.uint8)
    around[top + 10 : top + 110, left + 10 : left + 130] = inner
    found = find_tissue(around)
    expected = np.zeros((150, 170), np.bool_)
    expected[top + 10 : top + 110, left + 10 : left + 130] = find_tissue(inner)
    assert not (found & ~ndimage.binary_dilation(expected, np.ones((5, 5)))).any()
    assert found[expected].all()


def test_a_dark_slide_has_no_dark_surroundings() -> None:
    rng = np.random.default_rng(0)
    fluorescence = np.zeros((100, 100, 3), np.uint8)
    fluorescence[40:60, 30:80, 2] = rng.integers(90, 255, (20, 50))
    assert not dark_surroundings(fluorescence).any()
    assert find_tissue(fluorescence).all()


def test_walls_of_fat_and_what_lies_between_them_are_tissue_and_a_coverslip_is_none() -> None:
    pixels = scene(GLASS, 200, 200, noise=2)
    y, x = np.indices((200, 200))
    patch = np.hypot(y - 100, x - 100) < 60
    walls = patch & ((y % 8 == 0) | (x % 9 == 0))
    walls &= np.random.default_rng(0).random((200, 200)) < 0.95  # few cells are closed
    pixels[walls] = scene((235, 228, 238), 200, 200, noise=2)[walls]
    pixels[4] = scene((200, 200, 201), 1, 200)[0]
    found = find_tissue(pixels)
    assert found[patch].mean() > 0.85
    assert not found[~ndimage.binary_dilation(patch, np.ones((9, 9)))].any()


def test_dark_tissue_is_no_surroundings() -> None:
    pixels = scene(GLASS, 150, 150)
    y, x = np.indices((150, 150))
    patch = np.hypot(y - 75, x - 75) < 40
    pixels[patch] = scene((36, 14, 36), 150, 150, noise=1)[patch]  # dark and stained: black is ink
    assert not dark_surroundings(pixels).any()
    assert find_tissue(pixels)[patch].all()


def test_a_model_sees_white_where_nothing_was_scanned(made_slide: Callable[..., Path]) -> None:
    pixels = np.full((1024, 1024, 3), 20, np.uint8)
    pixels[201:803, 307:901] = scene(GLASS, 602, 594)
    pixels[500:803, 600:901] = scene(PINK, 303, 301)
    pixels[600:604, 700:704] = 10  # a pigment amid the tissue
    pixels[640:650, 890:901] = (66, 60, 78)  # a nucleus beside the dark
    with open_slide(made_slide(pixels, levels=1, mpp=0.5)) as slide:
        tissue = TissueMask.from_slide(slide)
        plane = WorkingPlane.from_geometry(slide.geometry, 0.5, None)
    for w_x, w_y in ((-40, -30), (250, 180), (777, 633)):
        box = Box(w_x, w_y, 400, 400)
        seen, expected = np.zeros((400, 400, 3), np.uint8), np.full((400, 400, 3), 255, np.uint8)
        top, left = max(-w_y, 0), max(-w_x, 0)
        part = pixels[w_y + top : w_y + 400, w_x + left : w_x + 400]
        scanned = np.where(part == 20, np.uint8(255), part)
        bottom, right = top + part.shape[0], left + part.shape[1]
        seen[top:bottom, left:right], expected[top:bottom, left:right] = part, scanned
        tissue.whiten(seen, box, plane)
        np.testing.assert_array_equal(seen[top:bottom, left:right], expected[top:bottom, left:right])


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_channels_are_put_together_as_numpy_does_it_along_an_axis(kind: type[np.uint8] | type[np.float32]) -> None:
    pixels: NDArray[Any] = (np.random.default_rng(6).random((83, 129, 3)) * 255).astype(kind)
    np.testing.assert_array_equal(darkest_of(pixels), pixels.min(axis=2))
    np.testing.assert_array_equal(brightest_of(pixels), pixels.max(axis=2))
    density = pixels.astype(np.float32) / np.float32(7)
    np.testing.assert_array_equal(mean_of(density), density.mean(axis=2))
    assert mean_of(density).dtype == np.float32
