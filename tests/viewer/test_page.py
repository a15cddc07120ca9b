"""The page in a real browser, against a real gateway and a real worker whose model knows colours."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from spoiled_tiles import spoil_tile
from viewer_fixtures import (
    BLUE,
    BLUE_INK,
    COLOUR_ERROR,
    HEIGHT,
    RED,
    RED_INK,
    SHOWN,
    WIDTH,
    Colour,
    Walk,
    Walker,
    assert_lies_at,
    drawn_slide,
    is_like,
)

from server.access.keys import Keys
from workers.core.settings import Settings

CHOSEN = (255, 0, 255)
"""What the walk chooses for the red class; it stays so after a reload."""
LANDED_UP_TO = 1024
"""Level-0 px: the first row of regions, of 512 working px."""


def damaged_slide(path: Path) -> Path:
    """A slide with a tile that cannot be decoded, where no check at the door looks."""
    return spoil_tile(drawn_slide(path, 0.25), 1, 1)


def assert_is_outlined(walk: Walk, name: str, box: tuple[int, int, int, int], color: Colour, ink: Colour) -> None:
    """Check that a rectangle shows the slide within, and the colour of its class along its edges alone."""
    x, y, width, height = box
    assert is_like(walk.at(name, x + width / 2, y + height / 2), ink)
    drawn = (np.abs(walk.pixels(name).astype(int) - color).max(axis=-1) <= COLOUR_ERROR).sum()
    edges = 2 * (width + height) * walk.zoom(name)
    assert 0.9 <= drawn / edges <= 2.1  # screen px


def test_a_slide_goes_up_and_its_overlay_lies_where_it_should(walker: Walker, slide: Path) -> None:
    walk = walker("whole", slide)
    said = walk.said
    for name in ("both", "near", "reloaded", "linked"):
        assert_lies_at(walk, name, RED, SHOWN["red"] if name in ("both", "near") else CHOSEN)
        assert_lies_at(walk, name, BLUE, SHOWN["blue"])
    assert_lies_at(walk, "toggled", RED, RED_INK)  # switched off: the slide is seen
    assert_lies_at(walk, "toggled", BLUE, SHOWN["blue"])
    near, linked = (next(shot["hash"] for shot in said["shots"] if shot["name"] == name) for name in ("near", "linked"))
    assert parse_qs(near)["x"] == parse_qs(linked)["x"] == ["1150.0"]
    assert near == linked
    assert said["moved"] != linked  # by an arrow key
    assert re.fullmatch(r"Slides and results: [1-9][\d.,]* [kMG]?i?B", said["usage"])
    _background, red, blue = ([cell.strip() for cell in row.split("\t")] for row in said["legend"])
    mm2 = {"red": 700 * 500 * 0.25**2 / 1e6, "blue": 500 * 340 * 0.25**2 / 1e6}
    assert red[:2] == ["red", f"{mm2['red']:.3f} mm²"]
    assert blue[:2] == ["blue", f"{mm2['blue']:.3f} mm²"]
    share = 100 * 700 * 500 / (WIDTH * HEIGHT)
    assert red[2:] == [f"{share:.1f} %", "1"]
    table = (walk.folder / "statistics.csv").read_text()
    assert "red" in table
    assert said["script"].endswith(".groovy")
    assert "readObjectsFromGeoJSON" in (walk.folder / "script").read_text()


def test_scale_bar_and_position_are_in_the_units_of_the_slide(walker: Walker, slide: Path) -> None:
    said = walker("measure", slide).said
    (text, length), place = said["scale"], parse_qs(said["hash"])
    um = float(text.split()[0]) * (1000 if text.endswith("mm") else 1)
    assert um / length == pytest.approx(0.25 / float(place["z"][0]), rel=0.02)
    box = said["box"]
    x, y = 1000 + (100 - box["width"] / 2), 700 + (120 - box["height"] / 2)
    assert said["pointer"].startswith("Pointer ")
    px, um_text = said["pointer"].removeprefix("Pointer ").split(" · ")
    assert [int(each) for each in px.removesuffix(" px").split(", ")] == pytest.approx([x, y], abs=1.5)
    assert [float(each) for each in um_text.removesuffix(" µm").split(", ")] == pytest.approx([x / 4, y / 4], abs=0.5)


def test_what_is_no_slide_is_told_in_words_also_after_a_reload(walker: Walker, tmp_path: Path) -> None:
    said = walker("refused", drawn_slide(tmp_path / "without-mpp.tif", None)).said
    assert said["refusal"].startswith("bad.tif")
    assert "Not taken as a slide: " in said["refusal"]
    assert said["needsMpp"] is True
    assert said["scaleIsHidden"] is True


def test_a_server_with_keys_is_usable_with_one(walker: Walker, slide: Path, gateway_settings: Settings) -> None:
    gateway_settings.data_dir.mkdir()
    _, key = Keys(gateway_settings.data_dir).create("made", "lab-a", ("read", "submit"))
    walk = walker("key", slide, key)
    assert is_like(walk.at("with-key", 600, 500), RED_INK)  # tiles came, with the key
    assert walk.said["stored"]["session"] == 1
    assert "ldk_" not in walk.said["stored"]["local"]
    assert "red" in (walk.folder / "statistics.csv").read_text()  # by a signed link
    assert not any(key in line for line in walk.said["requests"])


@pytest.mark.parametrize("has_key", [False, pytest.param(True, marks=pytest.mark.huge)], ids=["open", "key"])
def test_below_a_path_the_page_asks_for_nothing_beside_it(
    walker: Walker, slide: Path, gateway_settings: Settings, has_key: bool
) -> None:
    gateway_settings.data_dir.mkdir()
    key = Keys(gateway_settings.data_dir).create("made", "lab-a", ("read", "submit"))[1] if has_key else ""
    walk = walker("key" if has_key else "whole", slide, key, below="/lab/wsi")
    asked = [path for line in walk.said["requests"] if (path := line.split(" ")[1]).startswith("/")]  # no blob:
    assert any(path.endswith(".jpeg") for path in asked)
    assert [path for path in asked if not path.startswith("/lab/wsi/")] == []
    assert "red" in (walk.folder / "statistics.csv").read_text()


def test_the_overlay_grows_while_the_job_runs(walker: Walker, slide: Path) -> None:
    walk = walker("live", slide, is_held=True)
    said = walk.said
    assert said["state"] == "running"
    assert said["downloads"] is False
    assert_lies_at(walk, "running", RED, SHOWN["red"])
    x, y, width, height = BLUE
    landed, missing = (x + width / 2, (y + LANDED_UP_TO) / 2), (x + width / 2, (LANDED_UP_TO + y + height) / 2)
    assert is_like(walk.at("running", *landed), SHOWN["blue"])
    assert is_like(walk.at("running", *missing), BLUE_INK)  # its region is held back
    assert_lies_at(walk, "toggled", RED, RED_INK)
    assert is_like(walk.at("toggled", *landed), SHOWN["blue"])
    for shot in ("finished", "filled"):
        assert_lies_at(walk, shot, BLUE, SHOWN["blue"])
    assert_lies_at(walk, "finished", RED, RED_INK)  # what was switched off stays so
    assert_lies_at(walk, "filled", RED, SHOWN["red"])
    for box, color, ink in ((RED, SHOWN["red"], RED_INK), (BLUE, SHOWN["blue"], BLUE_INK)):
        assert_is_outlined(walk, "outlined", box, color, ink)
    assert any(line.endswith("/overlay.dzi 200") for line in said["requests"])


def test_what_went_wrong_with_a_job_is_told_in_words(walker: Walker, tmp_path: Path) -> None:
    said = walker("failed", damaged_slide(tmp_path / "damaged.tif")).said
    assert "µm" in said["refusal"] or "mpp" in said["refusal"]
    assert "Failed: " in said["failure"]
    assert "a part of the slide cannot be read" in said["failure"]
    assert "cannot be decoded" in said["sentence"]
    assert said["sentence"].endswith("(slide_unreadable)")
    assert said["result"] is False
    assert "cannot be shown" in said["unshown"]


def test_a_tablet_shows_all_and_fingers_move_the_slide(walker: Walker, slide: Path) -> None:
    said = walker("tablet", slide).said
    assert said["overflow"] <= 0
    assert said["isOn"] is False
    start, dragged, pinched = (
        {name: float(value[0]) for name, value in parse_qs(said[step].lstrip("#")).items() if name in "xyz"}
        for step in ("start", "dragged", "pinched")
    )
    assert dragged["z"] == pytest.approx(start["z"], rel=0.01)
    assert dragged["x"] < start["x"] - 50
    assert dragged["y"] < start["y"] - 30
    assert pinched["z"] > 1.5 * dragged["z"]
