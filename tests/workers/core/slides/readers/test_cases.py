"""Small slides that went wrong elsewhere, each for a kind: what is read is what is there, or it is refused by name.

Readers alone, pixel by pixel; `tests/server/test_cases.py` goes through the whole product.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.core.errors.base import LDiffusionError, MppImplausible, SlideUnreadable
from workers.core.slides.modality import modality_of
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.resolution import resolve_mpp
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.structure import check_tiff


def opened(path: Path, image: int | None = None) -> Slide:
    """Open a slide as every door does: its structure is checked first."""
    check_tiff(path)
    return open_slide(path, image)


def whole(slide: Slide) -> NDArray[np.uint8]:
    return slide.read_level(0, 0, 0, slide.geometry.l0_width, slide.geometry.l0_height)


def codes(slide: Slide) -> list[str]:
    return [each.code for each in slide.warnings]


def test_levels_in_subifds_that_are_also_chained_are_no_loop(cases: Path) -> None:
    with opened(cases / "ome_subifd_pyramid" / "slide.ome.tif") as slide:
        assert [(level.width, level.downsample) for level in slide.geometry.levels] == [(1024, 1), (512, 2), (256, 4)]
        assert (slide.geometry.mpp_x, slide.geometry.mpp_origin) == (0.5, "ome")


def test_a_physical_size_in_ome_xml_is_taken(cases: Path) -> None:
    with opened(cases / "ome_physical_size" / "slide.ome.tif") as slide:
        assert (slide.geometry.mpp_x, slide.geometry.mpp_y, slide.geometry.mpp_origin) == (0.5, 0.5, "ome")


def test_red_green_and_blue_in_planes_of_their_own_are_one_picture(cases: Path) -> None:
    with (
        opened(cases / "ome_planes" / "he_3planes.ome.tif") as planes,
        opened(cases / "ome_physical_size" / "slide.ome.tif") as rgb,
    ):
        assert np.array_equal(whole(planes), whole(rgb))
        assert planes.content.channels == ()
        assert modality_of(planes).name == "brightfield_he"


def test_channels_of_fluorescence_are_named(cases: Path) -> None:
    with opened(cases / "ome_planes" / "fluo3_tiled.ome.tif") as slide:
        assert slide.content.channels == ("DAPI", "FITC", "Cy5")
        found = modality_of(slide)
        assert found.name == "fluorescence"
        assert "DAPI, FITC, Cy5" in found.evidence[0]


def test_of_focal_planes_the_middle_one_is_read_and_that_is_said(cases: Path) -> None:
    with opened(cases / "ome_planes" / "zstack_tiled.ome.tif") as slide:
        assert (slide.content.z_planes, slide.content.z_read) == (3, 1)
        assert codes(slide) == ["planes_unread"]


def test_of_two_images_one_is_read_or_the_one_that_is_named(cases: Path) -> None:
    path = cases / "ome_planes" / "two_series.ome.tif"
    with opened(path) as first, opened(path, 1) as second:
        assert [(each.name, each.kind) for each in first.content.images] == [("A", "slide"), ("B", "slide")]
        assert codes(first) == ["images_unread"]
        assert (second.content.image, codes(second)) == (1, [])
        assert not np.array_equal(whole(first), whole(second))
    with pytest.raises(SlideUnreadable, match="no image of this number"):
        opened(path, 2)


@pytest.mark.parametrize("name", ["macro_first.ome.tif", "thumb_first.tif"])
def test_the_largest_image_is_the_slide_wherever_it_stands(cases: Path, name: str) -> None:
    with opened(cases / "ome_macro_first" / name) as slide:
        assert (slide.geometry.l0_width, slide.geometry.l0_height, slide.geometry.mpp_x) == (1024, 1024, 0.5)
        assert len(slide.content.associated) == 1
        assert codes(slide) == []


@pytest.mark.parametrize("name", ["rgbx.tif", "palette.tif", "miniswhite.tif", "cmyk.tif", "lab.tif"])
def test_a_photometric_interpretation_is_right_or_refused_by_name(cases: Path, name: str) -> None:
    with opened(cases / "photometric" / "rgb.tif") as slide:
        truth = whole(slide).astype(int)
    if name in ("cmyk.tif", "lab.tif"):
        with pytest.raises(SlideUnreadable, match="photometric interpretation") as refused:
            opened(cases / "photometric" / name)
        assert str(refused.value.value) in ("CMYK", "CIELab")
        return
    with opened(cases / "photometric" / name) as slide:
        found = whole(slide).astype(int)
    if name == "miniswhite.tif":  # grey: the brightness of the same picture
        found, truth = found.mean(axis=2), truth @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found - truth).mean() < (0.01 if name == "rgbx.tif" else 4)


def test_a_padded_level_is_read_at_its_true_downsample(cases: Path) -> None:
    with opened(cases / "padded_pyramid" / "padded.tif") as slide:
        sizes = [(level.width, level.height, level.downsample) for level in slide.geometry.levels]
        assert sizes == [(1500, 1100, 1), (750, 550, 2), (375, 275, 4)]
        assert codes(slide) == ["level_padded", "level_padded"]
        fine = slide.reduced(0, 4).astype(int)
        assert np.abs(fine[:275, :375] - slide.read_level(2, 0, 0, 375, 275)).mean() < 4


def test_a_resolution_that_no_scanner_makes_is_refused_with_its_value(cases: Path) -> None:
    with opened(cases / "mpp_implausible" / "mpp0025.tif") as slide, pytest.raises(MppImplausible) as refused:
        resolve_mpp(slide.geometry, None, 0.5)
    assert refused.value.value == "0.025 x 0.025"


@pytest.mark.parametrize("name", ["tile_j2k_8000.tif", "tile_png_20000.tif", "too_few_offsets.ome.tif"])
def test_a_bomb_is_refused_before_it_is_decoded(cases: Path, name: str) -> None:
    with pytest.raises(LDiffusionError), opened(cases / "decoding_bombs" / name) as slide:
        whole(slide)
