"""What is read off a slide: its scale, given by hand; magnifications, lengths and areas; and where it is turned."""

from pathlib import Path

import numpy as np
import pytest
from viewer_fixtures import BLUE, BLUE_INK, RED, RED_INK, Colour, Walk, Walker, drawn_slide, is_like

CENTRE = (1152, 768)
ZOOM = 0.4


def at_turned(walk: Walk, name: str, l0_x: float, l0_y: float, *, is_mirrored: bool) -> tuple[int, int]:
    """Return the place on the picture of a level-0 position, in a view that is turned by 90° clockwise."""
    height, width = walk.pixels(name).shape[:2]
    x, y = -(l0_y - CENTRE[1]) * ZOOM, (l0_x - CENTRE[0]) * ZOOM
    return int(width / 2 + (-x if is_mirrored else x)), int(height / 2 + y)


def assert_shows(walk: Walk, name: str, box: tuple[int, int, int, int], ink: Colour, *, is_mirrored: bool) -> None:
    """Check that a rectangle is where it should be: within its corners its ink, without them not."""
    x, y, width, height = box
    for at_x, at_y in ((x, y), (x + width, y), (x, y + height), (x + width, y + height)):
        for off, is_in in ((30, True), (-30, False)):
            inner = (at_x + (off if at_x == x else -off), at_y + (off if at_y == y else -off))
            column, row = at_turned(walk, name, *inner, is_mirrored=is_mirrored)
            assert is_like(walk.pixels(name)[row, column], ink) == is_in, (name, inner)


def test_scale_lengths_and_turns_are_those_of_the_slide(walker: Walker, tmp_path: Path) -> None:
    walk = walker("reading", drawn_slide(tmp_path / "without-mpp.tif", None))
    said = walk.said
    assert said["before"] == [True, False, True]
    assert said["kept"][0] == 0.5
    assert "Kept by a person. The file says nothing." in said["kept"][1]
    label, length = said["bar"]
    assert float(label.removesuffix(" µm")) / length == pytest.approx(0.5, rel=0.02)  # 20×: 0.5 µm a screen px
    assert said["magnification"] == ["20.0×", "true"]

    ruler, area = said["measured"]
    assert float(ruler.removesuffix(" µm")) == pytest.approx(1000 * 0.5, rel=0.01)
    assert float(area.removesuffix(" mm²")) == pytest.approx(500 * 340 * 0.25 / 1e6, rel=0.02)
    ruler, area = said["remeasured"]
    assert float(ruler.removesuffix(" µm")) == pytest.approx(1000 * 0.25, rel=0.01)
    assert float(area.removesuffix(" mm²")) == pytest.approx(500 * 340 * 0.0625 / 1e6, rel=0.02)
    assert said["cleared"] == 0
    middle = walk.pixels("measured").astype(int)
    row, column = (round(middle.shape[axis] / 2 + (at - CENTRE[1 - axis]) * ZOOM) for axis, at in ((0, 900), (1, 900)))
    near = middle[row - 4 : row + 5, column - 4 : column + 5]
    assert (np.abs(near - (27, 37, 40)).max(axis=-1) <= 40).any()  # the line of the ruler

    for name, is_mirrored in (("turned", False), ("mirrored", True), ("linked", True)):
        for box, ink in ((RED, RED_INK), (BLUE, BLUE_INK)):
            assert_shows(walk, name, box, ink, is_mirrored=is_mirrored)
    assert said["turned"] == "turned 90°, mirrored"
    pointed = [int(part) for part in said["pointer"].removeprefix("Pointer ").split(" px")[0].split(", ")]
    column, row = at_turned(walk, "mirrored", *pointed, is_mirrored=True)
    assert (column, row) == pytest.approx((200, 300), abs=2)
    framed = walk.pixels("framed").astype(int)
    is_red = np.abs(framed - (163, 22, 31)).max(axis=-1) <= 40
    rows, columns = np.nonzero(is_red)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((150, 350, 200, 300), abs=3)
