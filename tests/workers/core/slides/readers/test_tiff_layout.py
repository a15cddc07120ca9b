"""What a TIFF holds beside what is read of it is said; what its descriptions say twice has to agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.registry import open_slide

UInt8 = NDArray[np.uint8]


@pytest.fixture
def picture() -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (512, 640, 3), np.uint8)


def codes(path: Path) -> list[str]:
    with open_slide(path) as slide:
        return [each.code for each in slide.warnings]


def write_ome(path: Path, pixels: UInt8, axes: str = "YXS", **options: Any) -> Path:
    metadata = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    tifffile.imwrite(path, pixels, ome=True, photometric=photometric, metadata=metadata, tile=(128, 128), **options)
    return path


def change_xml(path: Path, old: str, new: str) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        text = str(file.ome_metadata)
        assert old in text
        file.pages.first.tags["ImageDescription"].overwrite(text.replace(old, new).encode())


@pytest.mark.parametrize(("per_cm", "found"), [(2e4, []), (2.04e4, []), (4e3, ["mpp_contradicted"]), (28.3, [])])
def test_two_resolutions_that_differ_are_said_unless_one_is_no_scanners(
    picture: UInt8, tmp_path: Path, per_cm: float, found: list[str]
) -> None:
    path = write_ome(tmp_path / "a.ome.tif", picture, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    assert codes(path) == found
    with open_slide(path) as slide:
        assert slide.geometry.mpp_x == 0.5


@pytest.mark.parametrize("axis", ["C", "Z", "T"])
def test_planes_that_the_xml_passes_over_are_said(picture: UInt8, tmp_path: Path, axis: str) -> None:
    planes = np.ascontiguousarray(np.moveaxis(picture, 2, 0))
    path = write_ome(tmp_path / "a.ome.tif", planes, f"{axis}YX")
    assert "directories_unread" not in codes(path)
    change_xml(path, f'Size{axis}="3"', f'Size{axis}="1"')
    assert "directories_unread" in codes(path)


def test_a_stack_of_imagej_is_said_to_be_more_than_what_is_read(picture: UInt8, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stack = np.stack([picture, picture[::-1]])
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYXS", "unit": "um"}, resolution=(2, 2))
    assert codes(path) == ["images_unread"]
    tifffile.imwrite(path, picture, imagej=True, metadata={"axes": "YXS", "unit": "um"}, resolution=(2, 2))
    assert codes(path) == []


@pytest.mark.parametrize("size", [(512, 640), (400, 600)])
def test_another_picture_as_large_is_another_slide_and_no_macro(
    picture: UInt8, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for pixels in (picture[: size[0], : size[1]], picture):
            file.write(np.ascontiguousarray(pixels), photometric="rgb", metadata=None, tile=(128, 128))
        file.write(picture[:100, :300].copy(), photometric="rgb", metadata=None)
    assert codes(path) == ["images_unread"]
    with open_slide(path) as slide:
        assert [each.kind for each in slide.content.images] == ["slide", "slide", "associated"]
        assert slide.geometry.l0_width == 640


def test_a_level_as_large_as_the_slide_is_none(picture: UInt8, tmp_path: Path) -> None:
    path, options = tmp_path / "a.ome.tif", {"photometric": "rgb", "tile": (128, 128)}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(picture, subifds=2, metadata={"axes": "YXS"}, **options)  # type: ignore[arg-type]
        for level in (picture[::-1], picture[::2, ::2]):
            file.write(np.ascontiguousarray(level), subfiletype=1, **options)  # type: ignore[arg-type]
    with open_slide(path) as slide:
        assert [level.width for level in slide.geometry.levels] == [640, 320]
        assert [each.code for each in slide.warnings] == ["level_unusable"]


def test_a_colour_profile_that_makes_no_sense_is_noted_and_not_parsed(picture: UInt8, tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    text = "Aperio Image Library v11\n640x512 JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    options: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), "description": text, "metadata": None}
    tifffile.imwrite(path, picture, extratags=[(34675, 7, 128, b"\0" * 128, True)], compression="jpeg", **options)
    with open_slide(path) as slide:
        assert (slide.vendor, slide.content.icc) == ("aperio", True)


def test_a_jpeg_that_a_directory_calls_rgb_is_shown_in_its_own_colours(tmp_path: Path) -> None:
    path, red = tmp_path / "a.tif", np.full((256, 256, 3), (200, 40, 60), np.uint8)
    tifffile.imwrite(path, red, photometric="rgb", compression="jpeg", tile=(128, 128), metadata=None)
    for photometric, backend in ((6, "openslide"), (2, "tifffile")):
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags["PhotometricInterpretation"].overwrite(photometric)
        with open_slide(path) as slide:
            assert slide.backend == backend
            assert np.abs(slide.read_level(0, 0, 0, 256, 256).astype(int) - red).max() < 6


def test_a_palette_that_is_too_short_is_refused(picture: UInt8, tmp_path: Path) -> None:
    path, table = tmp_path / "a.tif", np.zeros((3, 256), np.uint16)
    tifffile.imwrite(path, picture[..., 0], photometric="palette", colormap=table, tile=(128, 128), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ColorMap"].overwrite([0] * 384)
    with pytest.raises(SlideUnreadable, match="palette"):
        open_slide(path)
