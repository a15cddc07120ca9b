"""The page in a real browser, against a real gateway and a real worker whose model knows colours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import numpy as np
import pytest
import tifffile
from conftest import write_slide
from gateway_fixtures import running_gateway
from numpy.typing import NDArray
from PIL import Image

from server.access.keys import Keys
from server.routes.page import STATIC
from workers.core.settings import Settings

TOOLS = Path(__file__).with_name("viewer")
WIDTH, HEIGHT = 2304, 1536
RED, BLUE = (300, 260, 700, 500), (1300, 820, 500, 340)
"""Fiducials on the slide: x, y, width, height in level-0 px. The model finds them in these colours:"""
CLASSES = {"red": (0, 160, 60), "blue": (250, 200, 0)}
GLASS, RED_INK, BLUE_INK = (240, 240, 240), (200, 60, 80), (60, 60, 190)
EDGE_PX = 8
"""Screen px on both sides of an edge that are looked at: a level-0 px is one at most, a working px two."""
LANDED_UP_TO = 1024
"""Level-0 px: the first row of regions, of 512 working px."""
COLOUR_ERROR = 24
"""JPEG, and what the browser scales."""


class Walk(NamedTuple):
    """What a walk through the page said, and its pictures."""

    said: dict[str, Any]
    folder: Path

    def pixels(self, name: str) -> NDArray[np.uint8]:
        return np.asarray(Image.open(self.folder / f"{name}.png").convert("RGB"))

    def at(self, name: str, l0_x: float, l0_y: float) -> NDArray[np.uint8] | None:
        """Return the colour on the screen where the address puts a level-0 position; None outside the picture."""
        pixels = self.pixels(name)
        shot = next(shot for shot in self.said["shots"] if shot["name"] == name)
        fields = {key: float(value[0]) for key, value in parse_qs(shot["hash"][1:]).items() if key in "xyz"}
        x = (l0_x - fields["x"]) * fields["z"] + pixels.shape[1] / 2
        y = (l0_y - fields["y"]) * fields["z"] + pixels.shape[0] / 2
        if not (0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]):
            return None
        return np.asarray(pixels[int(y), int(x)])

    def zoom(self, name: str) -> float:
        shot = next(shot for shot in self.said["shots"] if shot["name"] == name)
        return float(parse_qs(shot["hash"])["z"][0])


Colour = tuple[int, int, int]
Walker = Callable[..., Walk]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A slide with a red and a blue rectangle."""
    return drawn_slide(tmp_path / "marked slide.tif", 0.25)


def drawn_slide(path: Path, mpp: float | None) -> Path:
    pixels = np.full((HEIGHT, WIDTH, 3), GLASS, np.uint8)
    for (x, y, width, height), ink in ((RED, RED_INK), (BLUE, BLUE_INK)):
        pixels[y : y + height, x : x + width] = ink
    return write_slide(path, pixels, mpp=mpp, levels=2, compression="zlib")


def damaged_slide(path: Path) -> Path:
    """A slide with a tile that cannot be decoded, where no check at the door looks."""
    drawn_slide(path, 0.25)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[1]
        assert isinstance(page, tifffile.TiffPage)
        offset, length = page.dataoffsets[1], page.databytecounts[1]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    return path


@pytest.fixture
def walker(gateway_settings: Settings, model_folder: Path, tmp_path: Path) -> Iterator[Walker]:
    """Return a function that starts gateway and worker and walks through the page."""
    node, browser = shutil.which("node"), shutil.which("chromium")
    if node is None or browser is None:
        pytest.skip("no node or no chromium on the path")
    if not (TOOLS / "node_modules" / "playwright-core").is_dir() or not (STATIC / "index.html").is_file():
        pytest.skip("the page was not built: `make viewer` does it")
    config = json.loads((model_folder / "config.json").read_text())
    config["classes"][1:] = [{"index": i, "name": n, "color": c} for i, (n, c) in enumerate(CLASSES.items(), 1)]
    (model_folder / "config.json").write_text(json.dumps(config))
    names = ("data_dir", "models_dir", "redis_url")
    settings = {f"LDIFFUSION_{name.upper()}": str(getattr(gateway_settings, name)) for name in names}
    root = Path(__file__).resolve().parents[1]
    folder = tmp_path / "walk"
    workers: list[subprocess.Popen[bytes]] = []

    def walk(way: str, path: Path, key: str = "", *, is_held: bool = False) -> Walk:
        folder.mkdir()
        hold = [str(folder / "go")] if is_held else []
        command = [sys.executable, str(root / "tests" / "viewer_worker.py"), *hold]
        environment = os.environ | settings | {"PYTHONPATH": str(root)}
        workers.append(subprocess.Popen(command, env=environment, cwd=tmp_path))
        with running_gateway(gateway_settings) as url:
            command = [node, str(TOOLS / "walk.mjs"), way, url, str(path), str(folder), key]
            environment = os.environ | {"CHROMIUM": browser}
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=280, env=environment, cwd=tmp_path
            )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert "failed" not in said, said["failed"]
        assert "\n".join(said["complaints"]) == ""  # of the page's policy too
        assert said["axe"] == []
        return Walk(said, folder)

    yield walk
    for worker in workers:
        worker.kill()
        worker.wait()


def is_like(found: NDArray[np.uint8] | None, wanted: Colour) -> bool:
    return found is None or int(np.abs(found.astype(int) - wanted).max()) <= COLOUR_ERROR


def assert_lies_at(walk: Walk, name: str, box: tuple[int, int, int, int], color: Colour) -> None:
    """Check that a rectangle of this colour has its edges where they are on the slide, to a few screen px."""
    x, y, width, height = box
    off = EDGE_PX / walk.zoom(name)
    seen = 0
    for share in (0.25, 0.5, 0.75):
        across, down = x + share * width, y + share * height
        edges = [
            ((across, y), (0, 1)),
            ((across, y + height), (0, -1)),
            ((x, down), (1, 0)),
            ((x + width, down), (-1, 0)),
        ]
        for (l0_x, l0_y), (in_x, in_y) in edges:
            inside = walk.at(name, l0_x + off * in_x, l0_y + off * in_y)
            outside = walk.at(name, l0_x - off * in_x, l0_y - off * in_y)
            assert is_like(inside, color), (name, l0_x, l0_y, inside)
            assert is_like(outside, GLASS), (name, l0_x, l0_y, outside)
            seen += inside is not None
    assert seen >= 3, "the picture holds too little of the rectangle to say where it lies"


def assert_is_outlined(walk: Walk, name: str, box: tuple[int, int, int, int], color: Colour, ink: Colour) -> None:
    """Check that a rectangle shows the slide within, and the colour of its class along its edges alone."""
    x, y, width, height = box
    assert is_like(walk.at(name, x + width / 2, y + height / 2), ink)
    drawn = (np.abs(walk.pixels(name).astype(int) - color).max(axis=-1) <= COLOUR_ERROR).sum()
    edges = 2 * (width + height) * walk.zoom(name)
    assert 0.5 <= drawn / edges <= 4  # screen px


def test_a_slide_goes_up_and_its_overlay_lies_where_it_should(walker: Walker, slide: Path) -> None:
    walk = walker("whole", slide)
    said = walk.said
    for name in ("both", "near", "reloaded", "linked"):
        assert_lies_at(walk, name, RED, CLASSES["red"])
        assert_lies_at(walk, name, BLUE, CLASSES["blue"])
    assert_lies_at(walk, "toggled", RED, RED_INK)  # switched off: the slide is seen
    assert_lies_at(walk, "toggled", BLUE, CLASSES["blue"])
    near, linked = (next(shot["hash"] for shot in said["shots"] if shot["name"] == name) for name in ("near", "linked"))
    assert parse_qs(near)["x"] == parse_qs(linked)["x"] == ["1150.0"]
    assert near == linked
    assert said["moved"] != linked  # by an arrow key
    _background, red, blue = ([cell.strip() for cell in row.split("\t")] for row in said["legend"])
    mm2 = {"red": 700 * 500 * 0.25**2 / 1e6, "blue": 500 * 340 * 0.25**2 / 1e6}
    assert red[:2] == ["red", f"{mm2['red']:.3f} mm²"]
    assert blue[:2] == ["blue", f"{mm2['blue']:.3f} mm²"]
    share = 100 * 700 * 500 / (WIDTH * HEIGHT)
    assert red[2] == f"{share:.1f} %"
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


def test_an_upload_goes_on_after_a_reload(walker: Walker, slide: Path) -> None:
    said = walker("resume", slide).said
    assert [line for line in said["requests"] if line.startswith("POST /v1/uploads ")] == ["POST /v1/uploads 201"]
    assert any(line.startswith("HEAD /v1/uploads/") for line in said["requests"])
    assert said["left"] == 0


def test_a_server_with_keys_is_usable_with_one(walker: Walker, slide: Path, gateway_settings: Settings) -> None:
    gateway_settings.data_dir.mkdir()
    _, key = Keys(gateway_settings.data_dir).create("made", "lab-a", ("read", "submit"))
    walk = walker("key", slide, key)
    assert is_like(walk.at("with-key", 600, 500), RED_INK)  # tiles came, with the key
    assert walk.said["stored"]["session"] == 1
    assert "ldk_" not in walk.said["stored"]["local"]
    assert "red" in (walk.folder / "statistics.csv").read_text()  # by a signed link
    assert not any(key in line for line in walk.said["requests"])


def test_the_overlay_grows_while_the_job_runs(walker: Walker, slide: Path) -> None:
    walk = walker("live", slide, is_held=True)
    said = walk.said
    assert said["state"] == "running"
    assert said["downloads"] is False
    assert_lies_at(walk, "running", RED, CLASSES["red"])
    x, y, width, height = BLUE
    landed, missing = (x + width / 2, (y + LANDED_UP_TO) / 2), (x + width / 2, (LANDED_UP_TO + y + height) / 2)
    assert is_like(walk.at("running", *landed), CLASSES["blue"])
    assert is_like(walk.at("running", *missing), BLUE_INK)  # its region is held back
    assert_lies_at(walk, "toggled", RED, RED_INK)
    assert is_like(walk.at("toggled", *landed), CLASSES["blue"])
    for shot in ("finished", "filled"):
        assert_lies_at(walk, shot, BLUE, CLASSES["blue"])
    assert_lies_at(walk, "finished", RED, RED_INK)  # what was switched off stays so
    assert_lies_at(walk, "filled", RED, CLASSES["red"])
    for box, color, ink in ((RED, CLASSES["red"], RED_INK), (BLUE, CLASSES["blue"], BLUE_INK)):
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
