"""Folds are told from dense tissue and blur from sharp fields, on real sections and on made ones."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from workers.core.slides.readers.registry import open_slide
from workers.pipeline import quality
from workers.pipeline.overview import Overview
from workers.pipeline.quality import find_folds, is_blurred, tells_folds
from workers.pipeline.tissue import find_tissue

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def section(seed: int = 0, side: int = 200) -> tuple[Pixels, Mask]:
    """Return stained tissue of two kinds on glass, at 8 µm per px, and where it is."""
    rng = np.random.default_rng(seed)
    tissue = np.zeros((side, side), np.bool_)
    tissue[20:-20, 20:-20] = True
    nuclei = ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), 4) > 0.1
    blue = np.where(nuclei, 0.45, 0.08)[..., np.newaxis] * np.array((0.9, 1, 0.45))
    pink = 0.2 * np.array((0.18, 1, 0.35))
    density = tissue[..., np.newaxis] * (blue + pink) * rng.normal(1, 0.1, (side, side, 1))
    return (243 * 10**-density).clip(1, 255).astype(np.uint8), tissue


def folds_of(pixels: Pixels) -> Mask:
    seen = Overview.of(pixels)
    return find_folds(pixels, seen.glass, find_tissue(seen))


def doubled(pixels: Pixels, strip: Mask) -> Pixels:
    out = pixels.copy()
    out[strip] = (pixels[strip].astype(float) ** 2 / 243).astype(np.uint8)
    return out


def test_a_strip_that_lies_double_is_a_fold_and_dense_nuclei_are_none() -> None:
    pixels, _ = section()
    assert not folds_of(pixels).any()
    y, x = np.indices(pixels.shape[:2])
    strip = (np.abs(y - 60 - x / 3) < 5) & (x > 40) & (x < 150)
    found = folds_of(doubled(pixels, strip))
    assert found[strip].mean() > 0.7
    assert not found[~ndimage.binary_dilation(strip, iterations=6)].any()


def test_the_bands_in_which_lines_are_looked_for_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, _ = section(1)
    strip = np.zeros(pixels.shape[:2], np.bool_)
    strip[40:170, 95:104] = True
    expected = folds_of(doubled(pixels, strip))
    assert expected.any()
    for rows in (7, 33):
        monkeypatch.setattr(quality, "BAND_PX", 200 * rows)
        monkeypatch.setattr(quality, "LINE_PX", 200 * (rows // 3))
        np.testing.assert_array_equal(folds_of(doubled(pixels, strip)), expected)


def test_a_speck_of_tissue_has_no_folds_to_tell() -> None:
    pixels, tissue = section(side=90)
    assert not tells_folds(tissue)
    strip = np.zeros(pixels.shape[:2], np.bool_)
    strip[30:60, 40:48] = True
    assert not folds_of(doubled(pixels, strip)).any()


def fields(shared_data: Path) -> list[Pixels]:
    """Return fields of real sections at 1 µm per px."""
    found = []
    for folder, mpp in (("glas/train/images", 0.62), ("tnbc/train/images", 0.25), ("monuseg_external/images", 0.25)):
        for path in sorted((shared_data / folder).iterdir())[:12]:
            with Image.open(path) as image:
                size = round(image.width * mpp), round(image.height * mpp)
                found.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3)))
    return found


def test_real_fields_are_sharp_until_they_are_blurred(shared_data: Path) -> None:
    every = [field[:128, :128] for field in fields(shared_data)]
    assert [index for index, field in enumerate(every) if is_blurred(field)] == []
    for um in (2, 3, 5):
        blurred = [ndimage.gaussian_filter(field.astype(float), (um, um, 0)).astype(np.uint8) for field in every]
        told = [is_blurred(field) for field in blurred]
        assert told.count(False) <= 1, um
        assert told.count(True) > 0.8 * len(told), um  # a pale field that is far out of focus shows nothing


def test_what_shows_nothing_tells_nothing_of_focus() -> None:
    rng = np.random.default_rng(0)
    assert is_blurred(np.full((128, 128, 3), 240, np.uint8)) is None
    assert is_blurred(rng.integers(0, 255, (20, 128, 3), np.uint8)) is None
    assert is_blurred(rng.integers(0, 255, (128, 128, 3), np.uint8)) is False


def test_real_slides_have_the_folds_that_they_have(shared_data: Path) -> None:
    """The third lies double at its left and lower edges, the fourth has torn lymph nodes that folded over."""
    expected = {
        "CMU-1-Small-Region.svs": (0, 0.002),
        "crc_P2_0039_sec4_9984x16384.tif": (0, 0.003),
        "tcga-cr-7395-01a-01-ts1.svs": (0.01, 0.04),
        "camelyon_level_j2k_1696x812.dcm": (0.005, 0.02),
    }
    for name, (least, most) in expected.items():
        with open_slide(shared_data / "wsi" / name) as slide:
            seen = Overview.from_slide(slide)
        tissue = find_tissue(seen)
        share = find_folds(seen.pixels, seen.glass, tissue & ~seen.ink).sum() / tissue.sum()
        assert least <= share <= most, (name, share)
