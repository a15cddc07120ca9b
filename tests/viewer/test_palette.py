"""The colours that classes have on the page unless somebody chooses others: seen on stained tissue, and told apart."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

PALETTE = Path(__file__).resolve().parents[2] / "viewer" / "src" / "palette.ts"
Floats = NDArray[np.float64]
VISIONS: dict[str, list[list[float]]] = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes 2009, severity 1."""
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
"""Optical densities of red, green, blue; `docs/outputs.md` measures with the same."""
DIFFERENT = 25
"""CIE76; 2.3 is just noticed."""


def palette() -> list[tuple[int, int, int]]:
    [line] = re.findall(r"COLORS = \[(.*?)\]", PALETTE.read_text())
    return [(int(h[:2], 16), int(h[2:4], 16), int(h[4:], 16)) for h in re.findall(r"#([0-9a-f]{6})", line)]


def lab(color: tuple[float, float, float], vision: str) -> Floats:
    """Return CIE L*a*b* of an sRGB colour of 0 to 255, as somebody sees it."""
    share = np.array(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = np.array(TO_XYZ) @ seen / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def stained(vector: tuple[float, float, float], density: float) -> tuple[float, float, float]:
    red, green, blue = (255 * 10 ** (-density * part) for part in vector)
    return red, green, blue


def difference(one: tuple[float, float, float], other: tuple[float, float, float], vision: str) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


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
