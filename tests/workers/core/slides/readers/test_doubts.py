"""What opens and yet is not what it seems is said: levels of another picture, tiles twice, contradictions."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from made_slides import write_images
from numpy.typing import NDArray
from PIL import Image

from workers.core.slide_schemas import FileMpp
from workers.core.slides.doubts import doubts_of, judge_file, record_of_image
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.tiff.structure import check_tiff
from workers.segment import describe

UInt8 = NDArray[np.uint8]
SIDE, TILE = 768, 128


@pytest.fixture(scope="module")
def picture() -> UInt8:
    """Coarse noise over a slope: every place is like no other, and a mean of four px shows it as well."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 180, (SIDE // 32, SIDE // 32, 3))
    slope = np.linspace(0, 70, SIDE)[:, None, None]
    return (np.kron(coarse, np.ones((32, 32, 1))) + slope).astype(np.uint8)


def mean_of_blocks(pixels: UInt8, factor: int) -> UInt8:
    side = pixels.shape[0] // factor
    return np.asarray(pixels.reshape(side, factor, side, factor, 3).mean(axis=(1, 3)), np.uint8)


def write_levels(path: Path, *levels: UInt8, **options: Any) -> Path:
    """Write a chain of directories with 0.5 µm per px in tiles of 128 px."""
    options = {"compression": "deflate", "tile": (TILE, TILE), "resolution": (2e4, 2e4), **options}
    with tifffile.TiffWriter(path) as file:
        for level in levels:
            file.write(level, photometric="rgb", metadata=None, resolutionunit="CENTIMETER", **options)
    return path


def codes(path: Path) -> list[str]:
    """Return the codes of all that is said of a slide, in the order in which it is found."""
    check_tiff(path)
    with open_slide(path) as slide:
        return [each.code for each in (*slide.warnings, *doubts_of(path))]


def put(path: Path, tag: str, value: int) -> None:
    edit(path, tag, lambda _: value)


def edit(path: Path, tag: str, change: Callable[[Any], Any], page: int = 0) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        found = file.pages[page].aspage().tags[tag]
        found.overwrite(change(found.value))


def test_levels_that_show_level_0_are_trusted_however_they_were_made(picture: UInt8, tmp_path: Path) -> None:
    half, quarter = mean_of_blocks(picture, 2), picture[1::4, 2::4]
    assert codes(write_levels(tmp_path / "a.tif", picture, half, quarter)) == []
    jpeg = write_levels(tmp_path / "b.tif", picture, half, mean_of_blocks(picture, 4), compression="jpeg")
    assert codes(jpeg) == []


def tile_box(column: int, row: int) -> tuple[int, int, int, int]:
    """Return the box of a tile of level 0."""
    x, y = column * TILE, row * TILE
    return x, y, min(SIDE, x + TILE), min(SIDE, y + TILE)


@pytest.mark.parametrize("wrong", [1, 2])
@pytest.mark.parametrize(
    "change",
    [np.fliplr, lambda level: np.roll(level, TILE, axis=1), np.zeros_like, lambda level: level[..., ::-1]],
    ids=["mirrored", "shifted by a tile", "black", "red and blue swapped"],
)
def test_a_level_of_another_picture_is_said(
    picture: UInt8, tmp_path: Path, wrong: int, change: Callable[[UInt8], UInt8]
) -> None:
    levels = [picture, mean_of_blocks(picture, 2), mean_of_blocks(picture, 4)]
    levels[wrong] = np.ascontiguousarray(change(levels[wrong]))
    assert "level_differs" in codes(write_levels(tmp_path / "a.tif", *levels))


def test_two_swapped_tiles_of_level_0_are_seen_in_its_levels(picture: UInt8, tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tif", picture, mean_of_blocks(picture, 2))
    for tag in ("TileOffsets", "TileByteCounts"):
        edit(path, tag, lambda each: (*each[:14], each[15], each[14], *each[16:]))
    assert codes(path) == ["level_differs"]
    across = -(-SIDE // TILE)
    (said,) = doubts_of(path)
    for at in (14, 15):  # places that are compared are larger than a tile
        x0, y0, x1, y1 = tile_box(at % across, at // across)
        assert any(a <= x0 and b <= y0 and c >= x1 and d >= y1 for a, b, c, d in said.places)
    assert said.places_count < (SIDE / 256) ** 2


@pytest.mark.slow
def test_of_a_large_slide_places_with_something_to_see_are_compared(tmp_path: Path) -> None:
    glass = np.full((4096, 4096, 3), 240, np.uint8)
    glass[1500:1700, 2600:2900] = np.random.default_rng(0).integers(60, 200, (25, 60, 3)).repeat(8, 0).repeat(5, 1)
    good = write_levels(tmp_path / "good.tif", glass, mean_of_blocks(glass, 4))
    bad = write_levels(tmp_path / "bad.tif", glass, np.full((1024, 1024, 3), 240, np.uint8))
    upside_down = write_levels(tmp_path / "down.tif", glass, np.ascontiguousarray(np.flipud(mean_of_blocks(glass, 4))))
    assert (codes(good), codes(upside_down)) == ([], ["level_differs"])
    assert codes(bad) == []  # nothing to see in its levels: the places are spread, and the speck lies between


def test_one_stored_tile_at_two_places_is_said_but_for_glass(picture: UInt8, tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tif", picture)
    for tag in ("TileOffsets", "TileByteCounts"):
        edit(path, tag, lambda each: (*each[:5], each[4], *each[6:]))
    assert codes(path) == ["tiles_repeated"]
    across = -(-SIDE // TILE)
    (said,) = doubts_of(path)
    assert sorted(said.places) == sorted(tile_box(at % across, at // across) for at in (4, 5))
    glass = write_levels(tmp_path / "glass.tif", np.full((SIDE, SIDE, 3), 240, np.uint8))
    for tag in ("TileOffsets", "TileByteCounts"):
        edit(glass, tag, lambda each: each[:1] * len(each))
    assert codes(glass) == []


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "packbits", "zstd"])
def test_a_tile_of_three_samples_is_no_grey_one(picture: UInt8, tmp_path: Path, compression: str | None) -> None:
    path = write_levels(tmp_path / "a.tif", picture, compression=compression)
    for tag, value in (("SamplesPerPixel", 1), ("PhotometricInterpretation", 1), ("BitsPerSample", 8)):
        put(path, tag, value)
    assert "tile_bytes" in codes(path)


def test_more_tiles_than_a_size_asks_for_are_said(picture: UInt8, tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tif", picture)
    edit(path, "ImageLength", lambda length: length - TILE)
    assert codes(path) == ["tiles_left_over"]


def test_a_palette_of_a_grey_picture_is_said(picture: UInt8, tmp_path: Path) -> None:
    path, table = tmp_path / "a.tif", np.arange(768, dtype=np.uint16).reshape(3, 256)
    tifffile.imwrite(path, picture[..., 0], photometric="palette", colormap=table, tile=(TILE, TILE), metadata=None)
    assert codes(path) == []
    edit(path, "PhotometricInterpretation", lambda _: 1)
    assert codes(path) == ["colours_doubtful", "colours_absent"]


def test_colours_that_openslide_takes_for_others_are_said(picture: UInt8, tmp_path: Path) -> None:
    path, text = tmp_path / "a.svs", f"Aperio Image Library v11\n{SIDE}x{SIDE} JPEG/RGB Q=70|MPP = 0.5"
    tifffile.imwrite(
        path, picture, photometric="rgb", tile=(TILE, TILE), compression="jpeg", description=text, metadata=None
    )
    assert codes(path) == []
    for photometric in (1, 2, 8):
        put(path, "PhotometricInterpretation", photometric)
        assert codes(path) == ["colours_doubtful"]


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb"])
def test_a_grey_picture_of_a_section_is_said_however_it_is_stored(
    stained: UInt8, tmp_path: Path, photometric: str
) -> None:
    grey = np.asarray(Image.fromarray(stained).convert("L"))
    stored = {"minisblack": grey, "miniswhite": 255 - grey, "rgb": np.stack([grey] * 3, axis=2)}[photometric]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, tile=(TILE, TILE), metadata=None)
    assert codes(tmp_path / "a.tif") == ["colours_absent"]
    assert codes(write_levels(tmp_path / "b.tif", stained)) == []


@pytest.mark.parametrize("grey", [0, 128, 243])
def test_where_there_is_nothing_to_see_no_colours_are_missed(tmp_path: Path, grey: int) -> None:
    assert codes(write_levels(tmp_path / "a.tif", np.full((SIDE, SIDE, 3), grey, np.uint8))) == []


def test_channels_that_are_no_colours_miss_none(stained: UInt8, tmp_path: Path) -> None:
    axes: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy5"]}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.stack([stained[..., 0]] * 3), photometric="minisblack", tile=(64, 64), metadata=axes)
    with open_slide(path) as slide:
        assert slide.content.channels == ("DAPI", "FITC", "Cy5")
    assert codes(path) == []


def test_pixels_that_are_twice_as_long_as_wide_are_said(picture: UInt8, tmp_path: Path) -> None:
    assert codes(write_levels(tmp_path / "a.tif", picture, resolution=(2e4, 4e4))) == ["mpp_uneven"]
    assert codes(write_levels(tmp_path / "b.tif", picture, resolution=(2e4, 2.1e4))) == []


def test_a_tile_that_cannot_be_decoded_is_no_doubt_and_no_error(picture: UInt8, tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tif", picture, mean_of_blocks(picture, 2))
    edit(path, "TileByteCounts", lambda each: (*each[:3], 9, *each[4:]))
    assert "level_differs" not in codes(path)


def test_a_job_on_another_image_has_the_doubts_of_that_image(picture: UInt8, tmp_path: Path) -> None:
    half, quarter = mean_of_blocks(picture, 2), mean_of_blocks(picture, 4)
    path = write_images(
        tmp_path / "a.ome.tif", {"A": (picture, half), "B": (half, np.ascontiguousarray(quarter[::-1]))}
    )
    with open_slide(path) as first, open_slide(path, 1) as second:
        stored = describe(path, first)
        assert [each.code for each in stored.warnings] == ["images_unread"]
        judge = partial(judge_file, path, 1)
        assert record_of_image(stored, first, judge) is stored
        given = stored.model_copy(update={"file_mpp": FileMpp(replaced_at=stored.created_at)})
        found = record_of_image(given, second, judge)
        assert found == describe(path, second, 1).model_copy(update={"created_at": stored.created_at})
    assert [each.code for each in found.warnings] == ["level_differs"]
    assert (found.content.image, found.geometry.l0_width, found.file_mpp) == (1, SIDE // 2, None)
