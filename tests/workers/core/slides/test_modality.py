"""Bright field or fluorescence: told from a small picture and from what the file says of its channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.slide_schemas import PLAIN, SlideContent
from workers.core.slides.modality import judge

Colour = tuple[int, int, int]
EOSIN, HAEMATOXYLIN, BROWN = (225, 150, 190), (110, 75, 150), (150, 105, 70)


def section(stain: Colour, glass: int = 240, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture of a stained disc on glass, uint8 (200, 200, 3)."""
    rng = np.random.default_rng(seed)
    picture = np.full((200, 200, 3), glass, np.int64)
    rows, columns = np.ogrid[:200, :200]
    picture[(rows - 100) ** 2 + (columns - 90) ** 2 < 60**2] = np.array(stain) * glass // 240
    noisy: NDArray[np.uint8] = np.clip(picture + rng.integers(-6, 7, picture.shape), 0, 255).astype(np.uint8)
    return noisy


def glow(colour: Colour, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture of glowing nuclei on a dark ground."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 9, (200, 200, 3))
    nuclei = rng.random((200, 200)) < 0.2
    picture[nuclei] = colour
    return picture.astype(np.uint8)


@given(glass=st.integers(190, 250), seed=st.integers(0, 50))
def test_stained_sections_are_bright_field(glass: int, seed: int) -> None:
    assert judge(section(EOSIN, glass, seed), PLAIN).name == "brightfield_he"
    assert judge(section(HAEMATOXYLIN, glass, seed), PLAIN).name == "brightfield_he"
    assert judge(section(BROWN, glass, seed), PLAIN).name == "brightfield_other"


@pytest.mark.parametrize("colour", [(0, 0, 220), (10, 200, 15), (230, 20, 90)])
def test_what_glows_on_a_dark_ground_is_fluorescence(colour: Colour) -> None:
    assert judge(glow(colour), PLAIN).name == "fluorescence"


def test_grey_nuclei_on_a_dark_ground_are_fluorescence_too() -> None:
    rng = np.random.default_rng(3)
    grey = np.clip(rng.gamma(1.2, 30, (200, 200)), 0, 255).astype(np.uint8)
    assert judge(np.repeat(grey[..., np.newaxis], 3, axis=2), PLAIN).name == "fluorescence"


@given(fill=st.integers(0, 20), share=st.floats(0.1, 0.9))
def test_black_surroundings_change_nothing(fill: int, share: float) -> None:
    picture = section(EOSIN)
    around = np.full((200, round(200 * share / (1 - share)), 3), fill, np.uint8)
    assert judge(np.hstack([picture, around]), PLAIN).name == "brightfield_he"


def test_channels_with_names_are_fluorescence_whatever_they_look_like() -> None:
    content = SlideContent(channels=("DAPI", "FITC", "Cy5"))
    found = judge(section(EOSIN), content)
    assert found.name == "fluorescence"
    assert "DAPI, FITC, Cy5" in found.evidence[0]


def test_three_unnamed_channels_on_bright_ground_are_colours() -> None:
    content = SlideContent(channels=("channel 1", "channel 2", "channel 3"))
    assert judge(section(EOSIN), content).name == "brightfield_he"
    assert judge(glow((0, 0, 220)), content).name == "fluorescence"


def test_what_tells_nothing_is_unknown() -> None:
    for value in (0, 100, 245):
        assert judge(np.full((50, 50, 3), value, np.uint8), PLAIN).name == "unknown"
