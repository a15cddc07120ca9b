"""The overlay in a real browser: in its place on a slide with bounds, and without a colour that no class has."""

from pathlib import Path

import numpy as np
import pytest
from fiducials import remove_tiles
from made_slides import write_slide
from numpy.typing import NDArray
from viewer_fixtures import (
    BLUE,
    BLUE_INK,
    CLASSES,
    COLOUR_ERROR,
    GLASS,
    HEIGHT,
    RED,
    RED_INK,
    WIDTH,
    Walk,
    Walker,
    assert_lies_at,
    is_like,
)

from workers.core.slides.readers.registry import open_slide

LAST = (254, 232, 56)
"""Colour of the densest cell."""
WHOLE_TILE = (1536, 256, 256, 256)
"""Another red rectangle: its edges are those of a tile."""


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A slide without the tiles at its left and upper edge, which gives it bounds."""
    pixels = np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8)
    for (x, y, width, height), ink in ((RED, RED_INK), (BLUE, BLUE_INK), (WHOLE_TILE, RED_INK)):
        pixels[y : y + height, x : x + width] = ink
    path = write_slide(tmp_path / "bounded.tif", pixels, mpp=0.25, levels=2, compression="zlib")
    remove_tiles(path, cols=1, rows=1)
    with open_slide(path) as slide:
        assert slide.geometry.bounds == (256, 256, WIDTH - 256, HEIGHT - 256)
    return path


def assert_is_sharp(walk: Walk, name: str, *, is_left: bool) -> None:
    """Check that the red in the picture ends at its middle, in one step, though the browser smooths the slide below.

    Both are seen, half of each: the class has 0 of red, the slide below it 200 to 240, and glass 240.
    """
    pixels = walk.pixels(name)
    middle = pixels.shape[0] // 2
    reds = pixels[middle - 90 : middle + 90, pixels.shape[1] // 2 - 150 : pixels.shape[1] // 2 + 150, 0].astype(int)
    is_class = reds < 160
    assert reds[is_class].max() <= 130
    assert reds[~is_class].min() >= 190
    assert (is_class == is_class[0]).all()
    [edge] = np.flatnonzero(np.diff(is_class[0]))
    assert abs(edge - 149) <= 2
    assert is_class[0, -1] == is_left


def is_class(pixels: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    return np.asarray(np.abs(pixels.astype(int) - CLASSES[name]).max(axis=-1) <= COLOUR_ERROR)


def assert_is_one_line(walk: Walk, name: str, l0_x: float, l0_y: float) -> None:
    """Check that an upright edge is drawn one or two screen px wide, at most two px off."""
    column, row = walk.screen(name, l0_x, l0_y)
    found = np.flatnonzero(is_class(walk.pixels(name)[int(row), int(column) - 25 : int(column) + 26], "red"))
    assert 1 <= len(found) <= 2, name
    assert np.abs(found - 25).max() <= 2, name


def assert_has_no_gap(walk: Walk, name: str, box: tuple[int, int, int, int]) -> None:
    """Check that the outline of a rectangle is drawn along all of its edges, which are those of a tile."""
    x, y, width, height = box
    drawn = is_class(walk.pixels(name), "red")
    for at in np.linspace(0.01, 0.99, 200):
        edges = ((x, y + at * height), (x + width, y + at * height), (x + at * width, y), (x + at * width, y + height))
        for l0_x, l0_y in edges:
            column, row = (int(each) for each in walk.screen(name, l0_x, l0_y))
            assert drawn[row - 2 : row + 3, column - 2 : column + 3].any(), (l0_x, l0_y)


def test_on_a_slide_with_bounds_the_overlay_lies_where_it_should_and_is_sharp(walker: Walker, slide: Path) -> None:
    walk = walker("close", slide)
    for name in ("both", "near"):
        assert_lies_at(walk, name, RED, CLASSES["red"])
        assert_lies_at(walk, name, BLUE, CLASSES["blue"])
    for name in ("left", "left-shrunk"):
        assert_is_sharp(walk, name, is_left=True)
    for name in ("right", "right-shrunk"):
        assert_is_sharp(walk, name, is_left=False)
    half = tuple(round((ink + color) / 2) for ink, color in zip(BLUE_INK, CLASSES["blue"], strict=True))
    assert is_like(walk.at("faint", 1400, 900), half)  # type: ignore[arg-type]
    for name in ("line-far", "line-near", "line-close"):
        assert_is_one_line(walk, name, RED[0], 512)
    assert_has_no_gap(walk, "line-tile", WHOLE_TILE)


def test_what_is_expected_is_seen_until_the_job_is_done(walker: Walker, slide: Path) -> None:
    """A cell without a number is left as it is; the other has the last colour of the scale, half seen through."""
    walk = walker("coarse", slide, is_held=True)
    assert "Preview" in walk.said["note"]
    assert "1,234 objects per mm²" in walk.said["note"]
    left, right = (700.0, 1400.0), (1400.0, 1400.0)
    assert is_like(walk.at("expected", *left), GLASS)
    mixed = walk.at("expected", *right)
    assert mixed is not None
    np.testing.assert_allclose(mixed.astype(int), 0.55 * np.array(LAST) + 0.45 * np.array(GLASS), atol=12)
    assert is_like(walk.at("done", *right), GLASS)
