"""What lies over the slide beside the classes, in a real browser: its place, its colours, and the link to it."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from colour_sight import VISIONS, lab
from viewer_fixtures import (
    BLUE,
    BLUE_INK,
    COLOUR_ERROR,
    GLASS,
    RED,
    RED_INK,
    SHOWN,
    Colour,
    Walk,
    Walker,
    assert_lies_at,
    is_like,
)
from viewer_worker import CONFIDENCE

SEQUENTIAL = Path(__file__).resolve().parents[2] / "viewer" / "src" / "sequential.ts"
WHITE, YELLOW, MARKED = (255, 255, 255), (240, 228, 66), (213, 94, 0)


def steps() -> list[tuple[int, int, int]]:
    [line] = re.findall(r"STEPS = \[(.*?)\]", SEQUENTIAL.read_text())
    return [(int(h[:2], 16), int(h[2:4], 16), int(h[4:], 16)) for h in re.findall(r"#([0-9a-f]{6})", line)]


def colour_of(share: float) -> Colour:
    """The colour of a share of 0 to 1: between those of the two steps that it lies between."""
    colors = np.array(steps())
    red, green, blue = (np.interp(share * (len(colors) - 1), np.arange(len(colors)), colors[:, i]) for i in range(3))
    return round(red), round(green), round(blue)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_maps_grow_lighter_for_every_kind_of_sight(vision: str) -> None:
    lightness = [lab(color, vision)[0] for color in steps()]
    assert min(after - before for before, after in pairwise(lightness)) > 4


def test_confidence_is_a_map_and_a_bound_that_the_link_keeps(walker: Walker, slide: Path) -> None:
    walk = walker("confidence", slide)
    _, red, blue = (colour_of(each / 255) for each in CONFIDENCE)
    assert not is_like(np.array(red), blue)
    assert_lies_at(walk, "classes", BLUE, SHOWN["blue"])
    for box, color in ((RED, red), (BLUE, blue)):
        x, y, width, height = box
        for share in (0.02, 0.5, 0.98):
            assert is_like(walk.at("confidence", x + share * width, y + share * height), color)
    assert is_like(walk.at("confidence", 1150, 400), colour_of(CONFIDENCE[0] / 255))
    # 70 %: of the red (78 %) all is left, of the blue (59 %) nothing
    assert is_like(walk.at("sure-map", 650, 500), red)
    assert is_like(walk.at("sure-map", 1550, 1000), BLUE_INK)
    for name in ("sure", "linked"):
        assert_lies_at(walk, name, RED, SHOWN["red"])
        assert is_like(walk.at(name, 1550, 1000), BLUE_INK)
    assert (walk.said["link"]["sure"], walk.said["kept"]) == ("70", "70")
    assert "map" not in walk.said["link"]
    assert has_colour(walk, "outlines", RED, SHOWN["red"])
    assert not has_colour(walk, "outlines", BLUE, SHOWN["blue"])
    assert_lies_at(walk, "all", BLUE, SHOWN["blue"])


def has_colour(walk: Walk, name: str, box: tuple[int, int, int, int], color: Colour) -> bool:
    """Whether a colour is found along the left edge of a rectangle."""
    x, y, _, height = box
    column, row = (int(each) for each in walk.screen(name, x, y + height / 2))
    near = walk.pixels(name)[row - 6 : row + 7, column - 6 : column + 7].astype(int)
    return bool((np.abs(near - color).max(axis=-1) <= COLOUR_ERROR).any())


def test_objects_are_told_under_the_pointer_and_one_after_another(walker: Walker, slide: Path) -> None:
    walk = walker("objects", slide)
    red, blue = "red · 0.0219 mm² · 78 % sure", "blue · 0.0106 mm² · 59 % sure"  # 0.0625 µm² a px
    assert walk.said["under"] == red
    assert has_colour(walk, "hovered", RED, MARKED)
    assert not has_colour(walk, "hovered", BLUE, MARKED)
    assert walk.said["clicked"] == blue
    assert walk.said["told"] == [f"{blue} · 1 of 2", f"{red} · 2 of 2", f"{blue} · 1 of 2"]
    for place, (x, y, width, height) in zip(walk.said["places"], (BLUE, RED, BLUE), strict=True):
        assert (float(place["x"]), float(place["y"])) == pytest.approx((x + width / 2, y + height / 2), abs=1)
    assert has_colour(walk, "next", BLUE, MARKED)
    assert walk.said["largest"] == f"{red} · 1 of 2"
    assert walk.said["sure"] == f"{red} · 1 of 1"


def test_the_density_lies_on_the_cells_of_the_slide(walker: Walker, slide: Path) -> None:
    walk = walker("density", slide)
    assert "Cells of 50 µm" in walk.said["legend"]
    assert "400 per mm²" in walk.said["legend"]
    most = colour_of(1)
    for x, y, width, height in (RED, BLUE):
        left, top = (int((at + side / 2) // 200) * 200 for at, side in ((x, width), (y, height)))
        for l0_x in (left + 10, left + 190):
            for l0_y in (top + 10, top + 190):
                assert is_like(walk.at("density", l0_x, l0_y), most), (l0_x, l0_y)
        for l0_x, l0_y in (
            (left - 10, top + 100),
            (left + 210, top + 100),
            (left + 100, top - 10),
            (left + 100, top + 210),
        ):
            assert not is_like(walk.at("density", l0_x, l0_y), most), (l0_x, l0_y)
    pixels = walk.pixels("turned").astype(int)
    rows, columns = np.nonzero(np.abs(pixels - most).max(axis=-1) <= 4)
    zoom, (height, width) = walk.zoom("turned"), pixels.shape[:2]
    corners = [(600, 400), (1400, 800)]  # of the two cells, the one's upper left and the other's
    found = {(-(y + 200 - 768) * zoom + width / 2, (x - 1152) * zoom + height / 2) for x, y in corners}
    assert (columns.min(), rows.min()) == pytest.approx((min(x for x, _ in found), min(y for _, y in found)), abs=2)


def test_two_jobs_are_seen_beside_each_other_below_a_line_and_as_a_difference(walker: Walker, slide: Path) -> None:
    walk = walker("compare", slide)
    # The other job has the part of (500, 400) to (1500, 1000).
    outside, inside, blue = (400, 320), (700, 500), (1400, 900)
    for name, other in (("side-this", "side-other"), ("dragged-this", "dragged-other")):
        assert is_like(walk.at(name, *outside), SHOWN["red"])
        assert is_like(walk.at(other, *outside), RED_INK)
        for part in (name, other):
            assert is_like(walk.at(part, *inside), SHOWN["red"])
            assert is_like(walk.at(part, *blue), SHOWN["blue"])
            assert is_like(walk.at(part, 1150, 700), GLASS)
    moved = walk.said["shots"][2]["hash"]
    assert moved != walk.said["shots"][0]["hash"]
    one, two = (walk.pixels(f"turned-{part}").astype(int) for part in ("this", "other"))
    assert (np.abs(one - two).max(axis=-1) > COLOUR_ERROR).mean() < 0.2  # but for what one job has alone
    middle = [0.5, 0.3, 0.3]
    for name, at in zip(("swiped", "swiped-left", "linked"), middle, strict=True):
        width = walk.pixels(name).shape[1]
        for l0_x in range(320, 1000, 40):
            column = walk.screen(name, l0_x, 320)[0]
            if abs(column - at * width) > 20:
                wanted = SHOWN["red"] if column < at * width else RED_INK
                assert is_like(walk.at(name, l0_x, 320), wanted), (name, l0_x)
    assert is_like(walk.at("linked", *blue), SHOWN["blue"])  # right of the line, as in both jobs
    assert is_like(walk.at("sure-both", *blue), BLUE_INK)
    assert is_like(walk.at("sure-both", *inside), SHOWN["red"])
    assert walk.said["swiped"] == "30"
    assert (walk.said["link"]["by"], walk.said["link"]["at"]) == ("swipe", "30")
    assert walk.said["dragged"][0] == pytest.approx(walk.said["dragged"][1], abs=2)
    assert is_like(walk.at("difference", *outside), YELLOW)
    for place in (inside, blue):
        assert is_like(walk.at("difference", *place), WHITE)
    assert is_like(walk.at("difference", 1150, 700), GLASS)
    shares = [float(row.split("\t")[1].removesuffix(" %")) for row in walk.said["legend"]]
    both = (1000 - 500) * (760 - 400) + (1500 - 1300) * (1000 - 820)
    whole = RED[2] * RED[3] + BLUE[2] * BLUE[3]
    assert shares == pytest.approx([100 * both / whole, 100 - 100 * both / whole, 0, 0], abs=1.5)
    assert is_like(walk.at("bare-this", *inside), SHOWN["red"])
    assert is_like(walk.at("bare-other", *inside), RED_INK)
    assert walk.said["maps"] == "none"
    assert is_like(walk.at("alone", 650, 500), SHOWN["red"])
