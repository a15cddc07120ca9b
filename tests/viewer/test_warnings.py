"""Where the warnings of a job have their causes, in a real browser: flown to, framed, and told of."""

from pathlib import Path

import numpy as np
import pytest
from made_slides import write_slide
from viewer_fixtures import GLASS, HEIGHT, RED_INK, WIDTH, Walk, Walker, drawn_slide

PEN, FRAME = (30, 70, 180), (138, 90, 0)
LARGE, SMALL = (640, 320, 640, 320), (1600, 960, 320, 320)
"""Strokes of a pen: x, y, width, height in level-0 px, whole px of the overview on which they are told."""
COLOUR_ERROR = 24


def test_places_of_warnings_are_gone_through_and_framed(walker: Walker, tmp_path: Path) -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8)
    pixels[200:-200, 200:-200] = RED_INK
    for x, y, width, height in (LARGE, SMALL):
        pixels[y : y + height, x : x + width] = PEN
    drawn_slide(tmp_path / "plain.tif", None)
    walk = walker("warnings", write_slide(tmp_path / "inked.tif", pixels, mpp=0.25, levels=2, compression="zlib"))
    assert walk.said["nowhere"] == "None of the warnings is about a place."
    assert walk.said["hint"] == "w and W go from place to place."
    assert walk.said["entries"][0].endswith("2 places")
    first, second = "Place 1 of 2.", "Place 2 of 2."
    assert [each.partition("tissue. ")[2] for each in walk.said["told"]] == [first, second, first, second, first]
    for place, (x, y, width, height) in zip(walk.said["places"], (LARGE, SMALL, LARGE, SMALL, LARGE), strict=True):
        assert (float(place["x"]), float(place["y"])) == pytest.approx((x + width / 2, y + height / 2), abs=33)
    assert_is_framed(walk, "framed", LARGE)
    assert walk.said["typed"] == second
    assert walk.said["below"] == 0  # the panel scrolls, and not the page
    top, bottom, height = walk.said["phone"]  # the slide is seen beside what was pressed
    assert 0 <= top < bottom < height


def assert_is_framed(walk: Walk, name: str, box: tuple[int, int, int, int]) -> None:
    """Check that the frame lies around a box, to a px of the overview, and that it is seen whole."""
    pixels = walk.pixels(name).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - FRAME).max(axis=-1) <= COLOUR_ERROR)
    x, y, width, height = box
    (left, top), (right, bottom) = walk.screen(name, x, y), walk.screen(name, x + width, y + height)
    off = 33 * walk.zoom(name)
    found = columns.min(), columns.max(), rows.min(), rows.max()
    assert found == pytest.approx((left, right, top, bottom), abs=off)
