"""JPEG tiles decoded as they lie in the file: OpenSlide's pixels to the bit, and OpenSlide judges what is in doubt."""

import struct
from functools import cache
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_slides import Kind, smooth_pixels, write_jpeg_slide
from numpy.typing import NDArray

from workers.core.errors.base import SlideUnreadable
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.readers.stored_tiles import StoredTilesSlide, TileCache
from workers.core.slides.slide import Slide
from workers.core.slides.tolerant import TolerantSlide

WIDTH, HEIGHT = 1300, 1100
KINDS: tuple[tuple[Kind, int], ...] = (("420", 256), ("444", 208), ("tables", 512), ("tables-rgb", 240))
UInt8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    folder = tmp_path_factory.mktemp("stored")
    pixels = smooth_pixels(HEIGHT, WIDTH)
    return {
        kind: write_jpeg_slide(folder / f"{kind}.tif", pixels, kind, tile=tile, big=kind == "444")
        for kind, tile in KINDS
    }


def direct(path: Path, kept_bytes: int = 2**22) -> StoredTilesSlide:
    """Open a slide whose own reader must not be asked for any pixel."""
    slide = open_slide(path, None, kept_bytes)
    assert isinstance(slide, StoredTilesSlide)

    def refuse(*_: object) -> None:
        raise AssertionError("asked of OpenSlide")

    slide._slide.read_level = refuse  # type: ignore[assignment, method-assign]
    return slide


def by_openslide(path: Path, level: int, x: int, y: int, width: int, height: int) -> UInt8:
    """The same, by OpenSlide alone; px of levels that are a whole number of times smaller."""
    with openslide.OpenSlide(path) as slide:
        step = round(slide.level_downsamples[level])
        rgba = np.asarray(slide.read_region((x * step, y * step), level, (width, height)))
    weight = rgba[..., 3:].astype(np.uint32)
    return ((rgba[..., :3] * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def assert_same(path: Path, slide: Slide, level: int, x: int, y: int, width: int, height: int) -> None:
    read = slide.read_level(level, x, y, width, height)
    np.testing.assert_array_equal(read, by_openslide(path, level, x, y, width, height))


def box_within(draw: st.DataObject, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box that lies in a level, often at its edge."""
    x, y = (draw.draw(st.integers(0, length - 1)) for length in size)
    width, height = (draw.draw(st.integers(1, min(600, length - at))) for length, at in zip(size, (x, y), strict=True))
    return x, y, width, height


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from([kind for kind, _ in KINDS]), level=st.integers(0, 1))
def test_any_box_has_the_pixels_of_openslide(
    made: dict[Kind, Path], data: st.DataObject, kind: Kind, level: int
) -> None:
    with direct(made[kind]) as slide:
        assert slide.exact >= {0, 1}
        size = slide.geometry.levels[level]
        for _ in range(3):
            assert_same(made[kind], slide, level, *box_within(data, (size.width, size.height)))


def test_what_is_outside_is_white(made: dict[Kind, Path]) -> None:
    with direct(made["420"]) as slide:
        read = slide.read_level(0, WIDTH - 30, -20, 100, 90)
        np.testing.assert_array_equal(read[20:, :30], by_openslide(made["420"], 0, WIDTH - 30, 0, 30, 70))
        assert (read[:20] == 255).all()
        assert (read[:, 30:] == 255).all()


@pytest.mark.parametrize("step", range(3))
def test_a_real_aperio_slide(cmu_slide: Path, step: int) -> None:
    with direct(cmu_slide) as slide:
        assert_same(cmu_slide, slide, 0, 700 * step, 1000 * step - step, 820, 900)


def test_a_real_pyramid(crc_slide: Path) -> None:
    with direct(crc_slide) as slide:
        assert slide.exact == frozenset(range(6))
        rng = np.random.default_rng(2)
        for level, size in enumerate(slide.geometry.levels):
            for _ in range(4):
                width, height = min(700, size.width), min(500, size.height)
                x, y = int(rng.integers(size.width - width + 1)), int(rng.integers(size.height - height + 1))
                assert_same(crc_slide, slide, level, x, y, width, height)


def test_at_no_whole_downsample_the_pixels_are_the_stored_ones(tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH), steps=(1, 3))
    with tifffile.TiffFile(path) as tiff:
        stored = tiff.pages[1].asarray()
    with openslide.OpenSlide(path) as theirs:
        assert theirs.level_downsamples[1] % 1
    with direct(path) as slide:
        for x, y in ((0, 0), (101, 7), (256, 256), (300, 103)):
            np.testing.assert_array_equal(slide.read_level(1, x, y, 120, 110), stored[y : y + 110, x : x + 120])


def spans_of(path: Path, page: int = 0) -> list[tuple[int, int]]:
    """Where the tiles of a directory lie, as (offset, bytes)."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[page]
        assert isinstance(found, tifffile.TiffPage)
        return list(zip(found.dataoffsets, found.databytecounts, strict=True))


@cache
def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def assert_as_openslide_judges(path: Path) -> bool:
    """Compare the first row of tiles with OpenSlide's; return whether it refuses it."""
    try:
        expected = by_openslide(path, 0, 0, 0, WIDTH, 200)
    except openslide.OpenSlideError:
        with open_slide(path) as slide, pytest.raises(SlideUnreadable):
            slide.read_level(0, 0, 0, WIDTH, 200)
        return True
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_level(0, 0, 0, WIDTH, 200), expected)
    return False


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_tile_with_a_part_lost_is_refused(made: dict[Kind, Path], tmp_path: Path, kind: Kind) -> None:
    """libjpeg warns of it and goes on with grey: that must not pass for the slide's pixels."""
    content = bytearray(bytes_of(made[kind]))
    at, size = spans_of(made[kind])[1]
    content[at + size // 2 : at + size - 2] = bytes(size - 2 - size // 2)  # markers before and behind it stay
    (tmp_path / "s.tif").write_bytes(content)
    assert assert_as_openslide_judges(tmp_path / "s.tif")


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from([kind for kind, _ in KINDS]))
def test_a_damaged_tile_is_what_openslide_makes_of_it(
    made: dict[Kind, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: Kind
) -> None:
    content = bytearray(bytes_of(made[kind]))
    at, size = data.draw(st.sampled_from(spans_of(made[kind])[:3]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    for place in rng.integers(20, size, data.draw(st.integers(1, 4))):
        content[at + int(place)] ^= int(rng.integers(1, 256))
    path = tmp_path_factory.getbasetemp() / f"damaged-{kind}.tif"
    path.write_bytes(content)
    assert_as_openslide_judges(path)


def without_tile(path: Path, index: int) -> Path:
    """Take a tile out: a TIFF need not have all."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        counts = page.tags["TileByteCounts"]
        kind = {3: "H", 4: "I", 16: "Q"}[counts.dtype]
        order, at = tiff.byteorder, counts.valueoffset + index * struct.calcsize(kind)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(order + kind, 0))
    return path


def test_an_absent_tile_is_as_openslide_shows_it(tmp_path: Path) -> None:
    path = without_tile(write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH)), 7)
    with open_slide(path) as slide:
        assert isinstance(slide, StoredTilesSlide)
        assert_same(path, slide, 0, 200, 200, 500, 400)


def test_a_directory_of_another_kind_is_its_readers(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(
        path, smooth_pixels(300, 300), photometric="rgb", tile=(128, 128), compression="zlib", metadata=None
    )
    with open_slide(path) as slide:
        assert not isinstance(slide, StoredTilesSlide)
        assert slide.exact == frozenset()


@pytest.fixture
def one_broken(tmp_path: Path) -> Path:
    """A slide with tiles of 208 px, one of which no decoder takes; blocks of what is lost have 256."""
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH), "444", tile=208)
    at, size = spans_of(path)[9]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(size))
    return path


def test_what_is_lost_does_not_depend_on_what_was_asked_for(one_broken: Path) -> None:
    with TolerantSlide(one_broken) as slide:
        whole = slide.read_level(0, 0, 0, WIDTH, HEIGHT)
        lost = slide.bad
    assert 1 <= len(lost) <= 4
    rng = np.random.default_rng(8)
    for _ in range(12):
        x, y, width, height = (int(each) for each in (*rng.integers(0, 900, 2), *rng.integers(1, 200, 2)))
        with TolerantSlide(one_broken) as slide:
            read = slide.read_level(0, x, y, width, height)
            assert slide.bad <= lost
        touches = {(0, row, col) for row in range(y // 256, (y + height - 1) // 256 + 1)
                   for col in range(x // 256, (x + width - 1) // 256 + 1)}  # fmt: skip
        if slide.bad or not touches & lost:
            np.testing.assert_array_equal(read, whole[y : y + height, x : x + width])


@settings(max_examples=40)
@given(data=st.data(), most=st.integers(1, 9))
def test_the_cache_has_no_more_than_its_room_and_gives_back_what_was_put(data: st.DataObject, most: int) -> None:
    tiles = TileCache(48, 48 * most)
    kept: list[tuple[int, int, int]] = []
    for number in range(60):
        key = (0, 0, data.draw(st.integers(0, 11)))
        tile = tiles.get(key)
        if tile is None:
            tile = tiles.room(key, (4, 3, 3) if key[2] % 2 else (4, 4, 3))
            tile[:] = key[2]
        elif data.draw(st.integers(0, 9)) == 0:
            tiles.drop(key)
            kept.remove(key)
            continue
        assert (tile == key[2]).all()
        kept = [*(each for each in kept if each != key), key][-most:]
        assert list(tiles._tiles) == kept, number


def test_a_slide_keeps_no_more_tiles_than_it_may(made: dict[Kind, Path]) -> None:
    with direct(made["420"], 5 * 3 * 256**2) as slide:
        for _ in range(2):
            slide.read_level(0, 0, 0, WIDTH, HEIGHT)
        kept = [slot for slot, _ in slide._tiles._tiles.values()] + slide._tiles._free
    assert sum(slot.nbytes for slot in kept) == 5 * 3 * 256**2
