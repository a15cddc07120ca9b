"""Regions that are drawn on the slide: jobs are asked for them, and their frames lie where they were drawn."""

from pathlib import Path

import numpy as np
import pytest
from viewer_fixtures import RED_INK, SHOWN, Walk, Walker, is_like

FRAME = (27, 37, 40)
"""Colour of the line around the region of a job."""
NEAR_PX = 4
"""Level-0 px: a pointer stands on whole screen px, of which one is 2.5."""


def ring(region: dict[str, list[list[list[float]]]]) -> list[list[float]]:
    [corners] = region["coordinates"]
    assert corners[0] == corners[-1]
    return corners[:-1]


def is_on_line(walk: Walk, name: str, l0_x: float, l0_y: float) -> bool:
    """Whether the line of a frame passes within a few screen px."""
    zoom = walk.zoom(name)
    found = [walk.at(name, l0_x + d / zoom, l0_y + e / zoom) for d in range(-3, 4) for e in range(-3, 4)]
    return any(pixel is not None and is_like(pixel, FRAME) for pixel in found)


def test_what_is_drawn_is_segmented_and_framed_and_jobs_can_be_told_apart(walker: Walker, slide: Path) -> None:
    walk = walker("regions", slide)
    said, asked = walk.said, walk.said["asked"]
    corners = ring(asked["rectangle"])
    assert np.allclose(corners, [[500, 400], [1500, 400], [1500, 1000], [500, 1000]], atol=NEAR_PX)
    assert np.allclose(ring(asked["polygon"]), [[350, 200], [750, 200], [750, 900]], atol=NEAR_PX)
    assert max(y for _, y in ring(asked["freehand"])) == 1536  # cut at the end of the slide
    half = [said["box"][side] / 2 / 1.5 for side in ("width", "height")]
    seen = np.array(ring(asked["view"]))
    assert np.allclose(seen.min(axis=0), [1400 - half[0], 900 - half[1]], atol=1)
    assert np.allclose(seen.max(axis=0), [1400 + half[0], min(900 + half[1], 1536)], atol=1)
    assert asked["all"] is None

    assert is_like(walk.at("rectangle", 700, 500), SHOWN["red"])
    assert is_like(walk.at("rectangle", 400, 320), RED_INK)  # of the red without the region
    assert is_like(walk.at("rectangle", 1400, 900), SHOWN["blue"])
    for x, y in ((500, 700), (1500, 700), (1000, 400), (1000, 1000)):
        assert is_on_line(walk, "rectangle", x, y)
    for x, y in ((550, 550), (750, 200)):  # the middle of a slope of the polygon, and a corner
        assert is_on_line(walk, "polygon", x, y)
    assert not is_on_line(walk, "polygon", 1500, 700)  # the frame of the job before
    row = walk.pixels("edge")[walk.pixels("edge").shape[0] // 2].astype(int)
    is_line = (np.abs(row - FRAME).max(axis=-1) <= 40).sum()
    assert 1 <= is_line <= 3  # screen px

    assert said["hints"][0] == "All of the slide."
    areas = [float(hint.split()[3]) / (1e6 if "µm²" in hint else 1) for hint in said["hints"][1:]]
    assert areas == pytest.approx([0.0375, 0.00875, 0.0322, 0.0322, 0.0375], rel=0.02)
    whole, *_, rectangle = said["rows"]
    assert "0.25 µm/px · whole slide" in whole
    assert "region of 0.037" in rectangle
    assert len({row.splitlines()[-1] for row in said["rows"]}) == len(said["rows"])
    assert "Model\nmade-model" in said["parameters"]
    assert "0.25, of the slide" in said["parameters"]
    for word in ("Seed\n0", "Glass\nsegmented too", "Warnings\n"):
        assert word in said["parameters"]
