"""QPTIFF: what a directory is stands in its XML; channels have names, and of a level each has its own directory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.modality import modality_of
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.tiff.structure import check_tiff

XML = (
    '<?xml version="1.0" encoding="utf-16"?>\r\n<PerkinElmer-QPI-ImageDescription><DescriptionVersion>2'
    "</DescriptionVersion><ImageType>{kind}</ImageType><Name>{name}</Name></PerkinElmer-QPI-ImageDescription>"
)


def write(path: Path, channels: list[NDArray[Any]], names: list[str]) -> Path:
    """Write levels of 1 and 1/2, a thumbnail between them, then the macro, as the scanner does."""
    photometric = "rgb" if channels[0].ndim == 3 else "minisblack"
    options: dict[str, Any] = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER", "metadata": None}
    options |= {"software": "PerkinElmer-QPI", "compression": "lzw"}
    with tifffile.TiffWriter(path) as file:

        def add(pixels: NDArray[Any], kind: str, name: str = "", **more: Any) -> None:
            text = XML.format(kind=kind, name=name)
            file.write(np.ascontiguousarray(pixels), description=text, **options, **more)

        for step in (1, 2):
            kind = "FullResolution" if step == 1 else "ReducedResolution"
            for pixels, name in zip(channels, names, strict=True):
                add(pixels[::step, ::step], kind, name, photometric=photometric, tile=(128, 128))
            if step == 1:
                add(np.zeros((70, 100, 3), np.uint8), "Thumbnail", photometric="rgb")
        add(np.full((300, 200, 3), 9, np.uint8), "Overview", photometric="rgb")
    return path


def test_bright_field_is_a_pyramid_with_associated_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 640, 3), np.uint8)
    path = write(tmp_path / "a.qptiff", [pixels], [""])
    check_tiff(path)
    with open_slide(path) as slide:
        assert (slide.vendor, slide.warnings, slide.content.channels) == ("qptiff", (), ())
        assert [(level.width, level.downsample) for level in slide.geometry.levels] == [(640, 1), (320, 2)]
        assert (slide.geometry.mpp_x, slide.content.associated) == (0.5, ("Thumbnail", "Overview"))
        assert np.array_equal(slide.read_level(0, 0, 0, 640, 512), pixels)
        assert np.array_equal(slide.read_level(1, 10, 20, 300, 200), pixels[::2, ::2][20:220, 10:310])


def test_channels_are_named_and_the_first_three_are_shown(tmp_path: Path) -> None:
    names = ["DAPI", "Opal 520", "Opal 570", "Autofluorescence"]
    planes = list(np.random.default_rng(0).integers(0, 60, (4, 512, 640), np.uint8))
    with open_slide(write(tmp_path / "a.qptiff", planes, names)) as slide:
        assert slide.content.channels == tuple(names)
        assert [level.width for level in slide.geometry.levels] == [640, 320]
        assert np.array_equal(slide.read_level(0, 0, 0, 640, 512), np.stack(planes[:3], axis=2))
        assert modality_of(slide).name == "fluorescence"


def test_channels_of_16_bits_are_refused_by_name(tmp_path: Path) -> None:
    planes = [np.zeros((256, 256), np.uint16)] * 2
    with pytest.raises(SlideUnreadable, match="bit depth"):
        open_slide(write(tmp_path / "a.qptiff", planes, ["DAPI", "FITC"]))
