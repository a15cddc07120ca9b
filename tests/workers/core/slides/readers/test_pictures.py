"""PNG and JPEG are slides without levels and resolution; Zeiss CZI is refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.core.errors.base import MppMissing, SlideTooLarge, SlideUnreadable
from workers.core.slides.readers.registry import format_of, open_slide
from workers.core.slides.resolution import resolve_mpp


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (10, 15, 3), np.uint8)
    return coarse.repeat(20, axis=0).repeat(20, axis=1)


@pytest.mark.parametrize(("suffix", "most"), [("png", 0), ("jpg", 12)])
def test_a_picture_is_a_slide_of_one_level_whose_mpp_the_job_says(
    picture: NDArray[np.uint8], tmp_path: Path, suffix: str, most: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path, dpi=(300, 300), quality=95, subsampling=0)
    with open_slide(path) as slide:
        assert (slide.vendor, slide.backend) == ("picture", "pillow")
        assert (slide.geometry.l0_width, slide.geometry.l0_height, len(slide.geometry.levels)) == (300, 200, 1)
        found = slide.read_level(0, 90, 50, 100, 80).astype(int)
        assert np.abs(found - picture[50:130, 90:190]).max() <= most
        assert resolve_mpp(slide.geometry, 0.5, 0.5) == (0.5, 0.5, "request")
        with pytest.raises(MppMissing):
            resolve_mpp(slide.geometry, None, 0.5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_other_kinds_of_pixels_come_out_as_pillow_shows_them_over_white(
    picture: NDArray[np.uint8], tmp_path: Path, mode: str
) -> None:
    image = Image.fromarray(picture).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(tmp_path / "a.png")
    rgba = image.convert("RGBA")
    shown = Image.new("RGBA", rgba.size, "white")
    shown.alpha_composite(rgba)
    with open_slide(tmp_path / "a.png") as slide:
        found = slide.read_level(0, 0, 0, 300, 200).astype(int)
    assert np.abs(found - np.asarray(shown.convert("RGB"))).max() <= 1


def test_what_would_come_out_wrong_is_refused_by_name(picture: NDArray[np.uint8], tmp_path: Path) -> None:
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=turned)
    for name, value in (("cmyk.jpg", "CMYK"), ("deep.png", "I;16"), ("turned.jpg", 6)):
        with pytest.raises(SlideUnreadable) as refused:
            open_slide(tmp_path / name)
        assert refused.value.value == value


def test_a_size_past_the_limit_is_refused_by_the_header_alone(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(SlideTooLarge) as refused:
        open_slide(tmp_path / "a.png")
    assert refused.value.value == "60000 x 60000"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_picture_that_was_cut_off_is_an_error(
    picture: NDArray[np.uint8], tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(SlideUnreadable), open_slide(path) as slide:
        slide.read_level(0, 0, 0, 300, 200)


def test_zeiss_czi_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"ZISRAWFILE" + bytes(600))
    with pytest.raises(SlideUnreadable, match="Zeiss CZI") as refused:
        format_of(tmp_path / "a.svs")
    assert "OME-TIFF" in str(refused.value.accepted)


@pytest.mark.parametrize(
    ("width", "height", "passes"), [(32, 32, True), (31, 900, False), (900, 1, False), (1, 1, False)]
)
def test_an_icon_is_no_slide(tmp_path: Path, width: int, height: int, passes: bool) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "a.png")
    if passes:
        with open_slide(tmp_path / "a.png") as slide:
            assert slide.geometry.l0_width == width
        return
    with pytest.raises(SlideUnreadable, match="too small to be a slide") as refused:
        open_slide(tmp_path / "a.png")
    assert refused.value.value == f"{width} x {height}"
