"""Walks through the page in a real browser, against a real gateway and a real worker. A plugin of `conftest.py`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import numpy as np
import pytest
from conftest import write_slide
from gateway_fixtures import running_gateway
from numpy.typing import NDArray
from PIL import Image
from wanted import program

from server.routes.page import STATIC
from workers.core.settings import Settings

TOOLS = Path(__file__).with_name("viewer")
LDIFFUSION = Path(sys.executable).with_name("ldiffusion")
WIDTH, HEIGHT = 2304, 1536
RED, BLUE = (300, 260, 700, 500), (1300, 820, 500, 340)
"""Fiducials on the slide: x, y, width, height in level-0 px. The model finds them in these colours:"""
CLASSES = {"red": (0, 160, 60), "blue": (250, 200, 0)}
GLASS, RED_INK, BLUE_INK = (240, 240, 240), (200, 60, 80), (60, 60, 190)
EDGE_PX = 8
"""Screen px on both sides of an edge that are looked at: a level-0 px is one at most, a working px two."""
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


@pytest.fixture
def walker(gateway_settings: Settings, model_folder: Path, tmp_path: Path) -> Iterator[Walker]:
    """Return a function that starts gateway and worker and walks through the page."""
    node, browser = program("node"), program("chromium")
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
            environment = os.environ | settings | {"CHROMIUM": browser, "LDIFFUSION": str(LDIFFUSION)}
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
