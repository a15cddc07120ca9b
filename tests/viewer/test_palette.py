"""The colours that classes have on the page unless somebody chooses others: seen on stained tissue, and told apart."""

import itertools
import re
from pathlib import Path

import pytest
from colour_sight import VISIONS, difference

PALETTE = Path(__file__).resolve().parents[2] / "viewer" / "src" / "palette.ts"
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
"""Optical densities of red, green, blue; `docs/outputs.md` measures with the same."""
DIFFERENT = 25
"""CIE76; 2.3 is just noticed."""


def palette() -> list[tuple[int, int, int]]:
    [line] = re.findall(r"COLORS = \[(.*?)\]", PALETTE.read_text())
    return [(int(h[:2], 16), int(h[2:4], 16), int(h[4:], 16)) for h in re.findall(r"#([0-9a-f]{6})", line)]


def stained(vector: tuple[float, float, float], density: float) -> tuple[float, float, float]:
    red, green, blue = (255 * 10 ** (-density * part) for part in vector)
    return red, green, blue


@pytest.mark.parametrize("vision", VISIONS)
def test_usual_colours_stand_out_on_tissue_and_are_told_apart(vision: str) -> None:
    colors = palette()
    assert len(set(colors)) == 6
    for color, vector, density in itertools.product(colors, (HAEMATOXYLIN, EOSIN), (0.4, 0.7, 1.0)):
        assert difference(color, stained(vector, density), vision) >= DIFFERENT, (color, vector, density)
    for one, other in itertools.combinations(colors[:4], 2):
        assert difference(one, other, vision) >= DIFFERENT, (one, other)


def test_a_blue_is_found_not_to_stand_out() -> None:
    assert difference((86, 180, 233), stained(EOSIN, 0.7), "deuteranopia") < DIFFERENT
