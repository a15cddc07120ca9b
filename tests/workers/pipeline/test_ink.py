"""Pen marks are found on glass and on tissue, stains are none, and the tissue mask leaves them out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from workers.core.slides.readers.registry import open_slide
from workers.pipeline.overview import Overview
from workers.pipeline.tissue import find_tissue

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
GLASS = (243, 242, 244)
PINK = (214, 150, 190)
PENS = {"blue": (20, 60, 170), "green": (0, 120, 90), "red": (205, 25, 50), "black": (25, 22, 24)}


def scene(colour: tuple[int, ...] = GLASS, height: int = 160, width: int = 240, noise: int = 3) -> Pixels:
    rng = np.random.default_rng(0)
    return (np.array(colour) + rng.integers(-noise, noise + 1, (height, width, 3))).clip(0, 255).astype(np.uint8)


def section() -> tuple[Pixels, Mask]:
    """Return glass with a piece of tissue, and where that is: columns 60 to 180."""
    pixels, tissue = scene(), np.zeros((160, 240), np.bool_)
    tissue[30:130, 60:180] = True
    pixels[tissue] = scene(PINK, noise=12)[tissue]
    return pixels, tissue


def slanted(start: int, stop: int) -> Mask:
    """Return a stroke of 14 px from one column to another. A black one along a row would be dark surroundings."""
    y, x = np.indices((160, 240))
    stroke: Mask = (np.abs(y - 77 - (x - 120) / 4) < 7) & (x >= start) & (x < stop)
    return stroke


def drawn(pixels: Pixels, stroke: Mask, pen: tuple[int, ...], opacity: float = 1) -> Pixels:
    """Return the pixels behind ink, which takes its share of the light that comes through them."""
    through = (np.array(pen) / np.array(GLASS)) ** (opacity * ndimage.gaussian_filter(stroke * 1.0, 1))[..., np.newaxis]
    inked: Pixels = (pixels * through).astype(np.uint8)
    return inked


@pytest.mark.parametrize("opacity", [1, 0.6])
@pytest.mark.parametrize("pen", PENS)
def test_a_stroke_is_ink_on_glass_and_on_tissue_and_hides_no_tissue(pen: str, opacity: float) -> None:
    pixels, tissue = section()
    stroke = slanted(10, 230)  # from glass across the tissue to glass
    seen = Overview.of(drawn(pixels, stroke, PENS[pen], opacity))
    assert seen.ink[stroke].mean() > 0.75
    assert not seen.ink[~ndimage.binary_dilation(stroke, np.ones((3, 3)), iterations=5)].any()
    found = find_tissue(seen)
    assert found[tissue].mean() > 0.97
    assert not found[~ndimage.binary_dilation(tissue, np.ones((3, 3)), iterations=8)].any()


def test_a_slide_of_ink_alone_has_no_tissue() -> None:
    assert not find_tissue(Overview.of(drawn(scene(), slanted(20, 200), PENS["blue"]))).any()


def test_a_ring_of_ink_around_tissue_takes_nothing_of_it() -> None:
    pixels, tissue = section()
    ring = ndimage.binary_dilation(tissue, iterations=24) & ~ndimage.binary_dilation(tissue, iterations=12)
    found, bare = (find_tissue(Overview.of(each)) for each in (drawn(pixels, ring, PENS["green"]), pixels))
    assert (found & tissue).sum() == tissue.sum()
    assert (found ^ bare).mean() < 0.01  # half of what lies between them


def test_what_has_no_glass_has_no_ink() -> None:
    dark = np.zeros((100, 100, 3), np.uint8)
    dark[30:70, 30:70] = (0, 0, 200)  # a stain that glows blue
    for pixels in (dark, scene(PENS["black"]), scene(PENS["blue"])):
        assert not Overview.of(pixels).ink.any()


@given(st.floats(0, 1.6), st.floats(0, 1.2), st.floats(0.25, 0.62), st.floats(0.75, 1.02))
def test_no_amount_of_haematoxylin_and_eosin_is_ink(blue: float, pink: float, yellow: float, red: float) -> None:
    """Over what cameras and laboratories make of the two stains."""
    density = blue * np.array((red, 1, 0.45)) + pink * np.array((0.18, 1, yellow))
    pixels = scene(GLASS, 60, 60)
    pixels[20:40, 20:40] = (np.array(GLASS) * 10**-density).clip(1, 255)
    assert not Overview.of(pixels).ink.any()


def test_the_blue_of_another_stain_is_no_ink() -> None:
    pixels, tissue = section()
    pixels[tissue] = scene((60, 105, 175))[tissue]
    pixels[60:100, 80:150] = (120, 80, 40)
    assert not Overview.of(pixels).ink.any()


def test_stained_slides_have_no_ink_but_where_dye_marks_a_margin(shared_data: Path) -> None:
    dyed = {"crc_P2_0039_sec4_9984x16384.tif": (0.0002, 0.005), "camelyon_level_j2k_1696x812.dcm": (0, 0.005)}
    for name in (*dyed, "CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs", "camelyon_level_jpeg_1152x700.dcm"):
        with open_slide(shared_data / "wsi" / name) as slide:
            overview = Overview.from_slide(slide)
        tissue = find_tissue(overview)
        share = (overview.ink & tissue).sum() / tissue.sum()
        least, most = dyed.get(name, (0, 0))
        assert least <= share <= most, (name, share)


def test_images_of_sections_show_no_ink(shared_data: Path) -> None:
    paths = [
        *(shared_data / "glas" / "train" / "images").iterdir(),
        *(shared_data / "tnbc" / "train" / "images").iterdir(),
    ]
    assert len(paths) > 100
    for path in paths:
        with Image.open(path) as image:
            scale = 8 / (0.62 if "glas" in str(path) else 0.25)
            size = round(image.width / scale), round(image.height / scale)
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        assert not Overview.of(pixels).ink.any(), path
