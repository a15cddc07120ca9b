"""Every slide gives the same kind of pixels: 8-bit RGB over white, from whichever reader takes it."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from workers.core.errors.base import SlideUnreadable
from workers.core.slides import slide as base
from workers.core.slides.geometry import geometry_from
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.readers.tiff.layout import layout_of
from workers.core.slides.readers.tiff.pixels import TiffPagesSlide
from workers.core.slides.readers.tiff.reader import TiffSlideLevels, resolution_of, slide_levels
from workers.core.slides.slide import Slide, block_mean, over_white

MadeSlide = Callable[..., Path]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def refused_by_openslide(path: Path, pixels: NDArray[np.generic], **options: object) -> Path:
    """Write a TIFF that only tiffslide opens: its first page is in strips."""
    tifffile.imwrite(path, pixels, rowsperstrip=32, metadata=None, **options)  # type: ignore[arg-type]
    return path


def each_reader(path: Path) -> Iterator[Slide]:
    """Yield a plain TIFF as each of its readers shows it; the first is the one that `open_slide` chooses."""
    yield open_slide(path)
    with tifffile.TiffFile(path) as file:
        layout = layout_of(file)
        geometry = geometry_from(slide_levels(layout), resolution_of(layout, file))
        for slide in (TiffSlideLevels(path), TiffPagesSlide(path, file, layout)):
            slide.geometry = geometry
            yield slide


def test_an_aperio_slide(cmu_slide: Path) -> None:
    with open_slide(cmu_slide) as slide:
        geometry = slide.geometry
        assert (slide.vendor, slide.backend) == ("aperio", "openslide")
        assert (geometry.l0_width, geometry.l0_height, len(geometry.levels)) == (2220, 2967, 1)
        assert (geometry.mpp_x, geometry.mpp_y, geometry.bounds) == (0.499, 0.499, None)


def test_a_pyramid_without_resolution(crc_slide: Path) -> None:
    with open_slide(crc_slide) as slide:
        assert [level.downsample for level in slide.geometry.levels] == [1, 2, 4, 8, 16, 32]
        assert slide.geometry.mpp_x is None
        reference = tifffile.imread(crc_slide, level=3)
        read = slide.read_level(3, 300, 700, 200, 100).astype(int)
        assert np.abs(read - reference[700:800, 300:500].astype(int)).max() <= 4  # two JPEG decoders


def test_what_openslide_refuses_is_read_all_the_same(shared_data: Path) -> None:
    path = shared_data / "wsi" / "OS-1-detail.ome.tif"
    with open_slide(path) as slide:
        assert (slide.backend, slide.vendor) == ("tifffile", "ome-tiff")
        assert slide.geometry.mpp_x == pytest.approx(0.2271, abs=1e-4)
        np.testing.assert_array_equal(slide.read_level(0, 500, 300, 400, 350), tifffile.imread(path)[300:650, 500:900])


@pytest.mark.parametrize("name", ["camelyon_level_j2k_1696x812.dcm", "test3-DAPI-2-387.ndpi"])
def test_other_formats_open(shared_data: Path, name: str) -> None:
    with open_slide(shared_data / "wsi" / name) as slide:
        for level, size in enumerate(slide.geometry.levels):
            read = slide.read_level(level, size.width - 50, size.height - 40, 50, 40)
            assert read.shape == (40, 50, 3)
            assert np.ptp(read) > 0


@pytest.mark.parametrize("level", [0, 1, 2])
def test_both_readers_give_the_pixels_that_were_written(made_slide: MadeSlide, level: int) -> None:
    pixels = noise(600, 701)
    path = made_slide(pixels, levels=3)
    written = pixels[:: 2**level, :: 2**level]
    for opened in each_reader(path):
        with opened as slide:
            for lv_x, lv_y in ((0, 0), (37, 61), (100, 3)):
                read = slide.read_level(level, lv_x, lv_y, 70, 80)
                if level and slide.backend == "openslide" and (lv_x, lv_y) != (0, 0):
                    continue  # 701 is odd: openslide's own downsample is no whole number
                np.testing.assert_array_equal(read, written[lv_y : lv_y + 80, lv_x : lv_x + 70])


def test_outside_is_white(made_slide: MadeSlide) -> None:
    path = made_slide(np.zeros((300, 280, 3), np.uint8))
    inside = np.zeros((400, 400), np.bool_)
    inside[20:320, 10:290] = True
    for opened in each_reader(path):
        with opened as slide:
            read = slide.read_level(0, -10, -20, 400, 400)
            assert (read[inside] == 0).all()
            assert (read[~inside] == 255).all()
            assert (slide.read_level(0, 1000, 1000, 5, 5) == 255).all()


def test_a_tile_that_was_never_scanned_is_white(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as tiff:
        dark = np.full((256, 256, 3), 40, np.uint8)
        tiff.write(
            (None if i == 1 else dark for i in range(4)),
            shape=(512, 512, 3),
            dtype="uint8",
            tile=(256, 256),
            metadata=None,
        )
    with open_slide(path) as slide:
        assert slide.backend == "openslide"
        assert (slide.read_level(0, 256, 0, 256, 256) == 255).all()
        assert (slide.read_level(0, 256, 256, 256, 256) == 40).all()


def test_transparency_is_laid_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]]], np.uint8)
    assert over_white(rgba).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 177, 255]]]


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    grey = noise(90, 120)[..., 0]
    with open_slide(refused_by_openslide(tmp_path / "grey.tif", grey, photometric="minisblack")) as slide:
        assert slide.backend == "tiffslide"
        np.testing.assert_array_equal(slide.read_level(0, 0, 0, 120, 90), np.repeat(grey[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((90, 120), np.uint16), {"photometric": "minisblack"}),
        (np.zeros((90, 120, 3), np.float32), {"photometric": "rgb"}),
        (np.zeros((90, 120, 2), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}),
    ],
)
def test_what_is_no_8_bit_picture_is_refused(tmp_path: Path, pixels: NDArray[np.generic], options: object) -> None:
    path = refused_by_openslide(tmp_path / "odd.tif", pixels, **options)  # type: ignore[arg-type]
    with pytest.raises(SlideUnreadable) as refused:
        open_slide(path)
    assert "8" in str(refused.value.accepted)


@pytest.mark.parametrize(
    ("mpp", "known"), [(0.25, True), (99.0, True), (352.8, False), (101.0, False), (0.01, False), (None, False)]
)
def test_an_implausible_resolution_is_none(made_slide: MadeSlide, mpp: float | None, known: bool) -> None:
    path = made_slide(noise(300, 300), mpp=mpp)
    for opened in each_reader(path):
        with opened as slide:
            assert slide.geometry.mpp_x == (pytest.approx(mpp, rel=1e-3) if known else None)
            assert slide.geometry.mpp_y == (pytest.approx(mpp, rel=1e-3) if known else None)


def test_half_a_resolution_is_none(made_slide: MadeSlide) -> None:
    with open_slide(made_slide(noise(300, 300), mpp=(0.25, 300.0))) as slide:
        assert (slide.geometry.mpp_x, slide.geometry.mpp_y) == (None, None)


def test_a_text_file_is_refused_without_naming_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "slide.svs"
    path.write_text("this is no slide")
    with pytest.raises(SlideUnreadable) as refused:
        open_slide(path)
    assert str(tmp_path) not in str(refused.value.as_dict())
    with pytest.raises(SlideUnreadable, match="not there"):
        open_slide(tmp_path / "absent.svs")


def test_a_reason_does_not_name_a_folder(shared_data: Path) -> None:
    path = shared_data / "wsi" / "cmu_sm_3236x2638.dcm"
    with pytest.raises(SlideUnreadable, match=r"Reading cmu_sm_3236x2638\.dcm: Couldn't get image flavor"):
        open_slide(path)


def test_an_ome_file_cannot_name_another_file(tmp_path: Path) -> None:
    """Multi-file OME-TIFF says in its XML where the other planes lie: that could be anybody's slide."""
    secret = tmp_path / "secret"
    secret.mkdir()
    tifffile.imwrite(secret / "other.ome.tif", np.full((64, 64), 7, np.uint8), photometric="minisblack", rowsperstrip=8)
    mine, other = (f"urn:uuid:00000000-0000-0000-0000-00000000000{i}" for i in (1, 2))
    planes = [("mine.ome.tif", mine), ("secret/other.ome.tif", other), ("secret/other.ome.tif", other)]
    channels = "".join(f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1"/>' for i in range(3))
    data = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for i, (name, uuid) in enumerate(planes)
    )
    xml = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{mine}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="3" SizeZ="1" SizeT="1">'
        f"{channels}{data}</Pixels></Image></OME>"
    )
    path = tmp_path / "mine.ome.tif"
    tifffile.imwrite(
        path, np.full((64, 64), 99, np.uint8), photometric="minisblack", rowsperstrip=8, description=xml, metadata=None
    )
    try:
        with open_slide(path) as slide:
            assert 7 not in slide.read_level(0, 0, 0, 64, 64)
    except SlideUnreadable:
        pass


@pytest.mark.parametrize(("height", "width", "factor"), [(7, 5, 3), (64, 64, 16), (10, 11, 1), (5, 5, 9)])
def test_block_mean_is_the_mean_of_blocks(height: int, width: int, factor: int) -> None:
    pixels = noise(height, width)
    means = block_mean(pixels, factor)
    assert means.shape == (-(-height // factor), -(-width // factor), 3)
    for (row, col, channel), value in np.ndenumerate(means):
        block = pixels[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor, channel]
        assert value == (2 * int(block.sum()) + block.size) // (2 * block.size)


@pytest.mark.parametrize("factor", [257, 258, 2048, 2049])
def test_sums_of_white_blocks_have_room(factor: int) -> None:
    assert (block_mean(np.full((factor + 1, factor + 1, 3), 255, np.uint8), factor) == 255).all()


def test_an_overview_does_not_depend_on_the_bands_it_is_made_in(
    made_slide: MadeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(500, 700)
    with open_slide(made_slide(pixels)) as slide:
        monkeypatch.setattr(base, "BAND_PX", 128 * 128)
        largest = 0
        read_level = Slide.read_level

        def watched(self: Slide, level: int, lv_x: int, lv_y: int, width: int, height: int) -> NDArray[np.uint8]:
            nonlocal largest
            largest = max(largest, width * height)
            return read_level(self, level, lv_x, lv_y, width, height)

        monkeypatch.setattr(Slide, "read_level", watched)
        np.testing.assert_array_equal(slide.reduced(0, 7), block_mean(pixels, 7))
        assert 0 < largest <= 128 * 128


@pytest.mark.parametrize(("max_px", "shape"), [(100, (67, 100)), (512, (341, 512)), (5000, (800, 1200))])
def test_a_thumbnail_shows_the_whole_slide(made_slide: MadeSlide, max_px: int, shape: tuple[int, int]) -> None:
    pixels = np.full((800, 1200, 3), 240, np.uint8)
    pixels[:400, 600:] = (200, 0, 0)
    with open_slide(made_slide(pixels, levels=3)) as slide:
        thumbnail = slide.thumbnail(max_px)
    assert thumbnail.shape == (*shape, 3)
    rows, columns = shape
    assert (thumbnail[: rows // 2 - 1, columns // 2 + 1 :] == (200, 0, 0)).all()
    assert (thumbnail[rows // 2 + 1 :] == 240).all()


def test_a_thumbnail_of_the_real_slide_looks_like_it(cmu_slide: Path) -> None:
    with Image.fromarray(tifffile.imread(cmu_slide, series=0)) as whole:
        expected = np.asarray(whole.resize((299, 400), Image.Resampling.BOX)).astype(int)
    with open_slide(cmu_slide) as slide:
        thumbnail = slide.thumbnail(400).astype(int)
    assert thumbnail.shape == expected.shape
    coarse = [image[:400, :296].reshape(50, 8, 37, 8, 3).mean(axis=(1, 3)) for image in (thumbnail, expected)]
    assert np.abs(coarse[0] - coarse[1]).mean() < 1


def test_a_damaged_tile_is_an_error(made_slide: MadeSlide) -> None:
    path = made_slide(noise(512, 512), compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        offset, length = page.dataoffsets[3], page.databytecounts[3]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    for opened in each_reader(path):
        with opened as slide, pytest.raises(SlideUnreadable, match="cannot be decoded"):
            slide.read_level(0, 256, 256, 256, 256)


def test_nothing_stays_open(made_slide: MadeSlide) -> None:
    path = made_slide(noise(300, 300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for opened in each_reader(path):
            with opened as slide:
                slide.read_level(0, 0, 0, 10, 10)
