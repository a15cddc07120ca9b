"""JPEG tiles as the file holds them: the same pixels that OpenSlide reads, nothing else, and never a guess."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from jpeg_slides import Kind, info_of, smooth_pixels, write_jpeg_slide
from numpy.typing import NDArray
from PIL import Image

from server.viewing.deepzoom import grid_of
from server.viewing.jpeg_tiles import StoredTiles, decoded_at
from workers.core.errors.base import SlideUnreadable
from workers.core.slides.tiff.stored_jpeg import assembled
from workers.core.slides.tiff.tiled import tiled_levels
from workers.core.slides.tiff.values import reader_at_hand, reader_of

WIDTH, HEIGHT, TILE = 1300, 1100, 256
UInt8 = NDArray[np.uint8]


def stored_tiles(path: Path) -> StoredTiles:
    info = info_of(path)
    return StoredTiles(path, info, grid_of(info.geometry).tile_px)


def decoded(jpeg: bytes | None) -> NDArray[np.int16]:
    assert jpeg is not None
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def assert_as_openslide_reads(path: Path, every: int = 1) -> int:
    """Compare tiles of all levels with OpenSlide's pixels; return how many were given."""
    stored, count = stored_tiles(path), 0
    with openslide.OpenSlide(path) as slide:
        for level, (width, height) in enumerate(slide.level_dimensions):
            step = round(slide.dimensions[0] / width)
            side = grid_of(info_of(path).geometry).tile_px
            for row in range(0, height // side, every):
                for col in range(0, width // side, every):
                    origin = (col * side * step, row * side * step)
                    theirs = np.asarray(slide.read_region(origin, level, (side, side)), np.int16)
                    assert np.abs(decoded(stored.tile(step, col, row)) - theirs[..., :3]).max() <= 1
                    count += 1
    return count


@pytest.mark.parametrize(("kind", "tile"), [("420", 256), ("444", 256), ("tables", 512), ("tables-rgb", 240)])
def test_every_stored_tile_shows_the_pixels_that_openslide_reads(tmp_path: Path, kind: Kind, tile: int) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH), kind, tile=tile, big=kind == "444")
    assert assert_as_openslide_reads(path) >= 5


def test_a_real_aperio_slide(cmu_slide: Path) -> None:
    assert grid_of(info_of(cmu_slide).geometry).tile_px == 240
    assert assert_as_openslide_reads(cmu_slide, every=2) == 30


def test_a_real_pyramid(crc_slide: Path) -> None:
    assert assert_as_openslide_reads(crc_slide, every=6) > 80


def test_what_is_cut_off_by_the_edge_is_not_given(tmp_path: Path) -> None:
    stored = stored_tiles(write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH)))
    assert stored.tile(1, WIDTH // TILE - 1, HEIGHT // TILE - 1) is not None
    assert stored.tile(1, WIDTH // TILE, 0) is None
    assert stored.tile(1, 0, HEIGHT // TILE) is None
    assert stored.tile(4, 0, 0) is None  # no such level in the file


def test_an_absent_tile_is_not_given(tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH))
    overwrite(path, "TileByteCounts", 1, 0)
    stored = stored_tiles(path)
    assert stored.tile(1, 1, 0) is None
    assert stored.tile(1, 2, 0) is not None
    assert stored.reduced(4, 0, 0) is not None  # of the level of step 2, which is whole


def test_a_tile_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH))
    stored = stored_tiles(path)
    with path.open("r+b") as file:
        file.truncate(2**31)  # a hole; the claim lies within the file
    overwrite(path, "TileByteCounts", 1, 2**30)
    assert stored.tile(1, 1, 0) is None


@pytest.mark.parametrize("compression", ["deflate", "jpeg2000", None])
def test_other_tiles_than_jpeg_are_not_given(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, smooth_pixels(600, 600), tile=(TILE, TILE), photometric="rgb", compression=compression)
    assert stored_tiles(path).tile(1, 0, 0) is None


@pytest.mark.parametrize(
    ("changes", "is_given"),
    [
        ({}, True),
        ({"vendor": "aperio"}, True),
        *(({"vendor": vendor}, False) for vendor in ("ome-tiff", "qptiff", "hamamatsu", "philips", "of-no-format")),
        *(({"backend": backend}, False) for backend in ("tiffslide", "tifffile")),
    ],
    ids=str,
)
def test_tiles_are_given_of_formats_and_readers_that_the_registry_says(
    tmp_path: Path, changes: dict[str, str], *, is_given: bool
) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH))
    stored = StoredTiles(path, info_of(path).model_copy(update=changes), TILE)
    assert (stored.tile(1, 0, 0) is not None) is is_given


@pytest.mark.parametrize("kind", ["420", "444"])
def test_levels_in_between_are_averages(tmp_path: Path, kind: Kind) -> None:
    tile, whole = 64, 8 * 64
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(whole + 40, whole + 40), kind, tile=tile, steps=(1,))
    stored = StoredTiles(path, info_of(path), tile)
    with openslide.OpenSlide(path) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, (whole, whole)))[..., :3]
    for step in (2, 4, 8):
        reduced = stored.reduced(step, 0, 0)
        assert reduced is not None
        side = step * tile
        expected = pixels[:side, :side].reshape(tile, step, tile, step, 3).mean(axis=(1, 3))
        assert np.abs(reduced - expected).mean() < 1
        assert stored.reduced(step, 8 // step, 0) is None  # it would reach over the edge
    assert stored.reduced(16, 0, 0) is None


# --- what a tile may hold ---------------------------------------------------------------------------------------------


HEAD = b"\xff\xd8"


def jpeg_of(size: int = 32, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth_pixels(size, size)).save(file, "JPEG", **options)
    return file.getvalue()


def test_notes_and_what_lies_behind_the_end_stay_out() -> None:
    note = b"\xff\xfe" + struct.pack(">H", 2 + len(b"patient name")) + b"patient name"
    plain = jpeg_of()
    given = assembled(HEAD, plain[:2] + note + plain[2:] + b"after the end", (32, 32))
    assert given is not None
    assert b"patient" not in given
    assert b"JFIF" not in given
    assert given.endswith(b"\xff\xd9")
    assert b"after" not in given
    assert (decoded(given) == decoded(plain)).all()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff\xd8",
        b"no picture at all",
        jpeg_of(progressive=True),
        jpeg_of(40),
        jpeg_of()[:-200],
        jpeg_of()[:100],
        jpeg_of().replace(b"\xff\xc0", b"\xff\xc9"),  # arithmetic coding
        HEAD + b"\xff\xda\0\2" + b"\xff\xd9",
    ],
    ids=["nothing", "start", "text", "progressive", "size", "cut", "cut head", "arithmetic", "empty scan"],
)
def test_what_is_not_of_the_usual_kind_is_not_given(stored: bytes) -> None:
    assert assembled(HEAD, stored, (32, 32)) is None


@given(data=st.data())
def test_whatever_a_tile_holds_it_is_a_jpeg_of_its_size_or_not_given(data: st.DataObject) -> None:
    content = bytearray(jpeg_of())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 8, len(content))))
        content[start:stop] = data.draw(st.binary(max_size=8))
    given_back = assembled(HEAD, bytes(content), (32, 32))
    assert given_back is None or (given_back[:2] == HEAD and given_back[-2:] == b"\xff\xd9")
    if given_back is not None:
        pixels = decoded_at(given_back, 16)
        assert pixels is None or pixels.shape == (16, 16, 3)


@given(st.lists(st.sampled_from([b"\xff", b"\xd8", b"\xda", b"\xc0", b"\xdb", b"\0", b"\2", b"\3", b"\xd9", b"\x20"])))
def test_markers_in_any_order_are_no_surprise(pieces: list[bytes]) -> None:
    assert isinstance(assembled(HEAD, HEAD + b"".join(pieces), (32, 32)), (bytes, type(None)))


def test_grey_is_not_given() -> None:
    file = io.BytesIO()
    Image.new("L", (32, 32), 90).save(file, "JPEG")
    assert assembled(HEAD, file.getvalue(), (32, 32)) is None


def test_a_damaged_tile_is_no_part_of_a_level_in_between() -> None:
    assert decoded_at(b"\xff\xd8 nothing", 16) is None
    assert decoded_at(jpeg_of(), 16) is not None


# --- directories ------------------------------------------------------------------------------------------------------


def levels_of(path: Path) -> list[tuple[int, int]]:
    file = os.open(path, os.O_RDONLY)
    try:
        return [(level.width, level.height) for level in tiled_levels(reader_of(file), path.stat().st_size)]
    finally:
        os.close(file)


def test_directories_are_those_that_tifffile_sees(tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(HEIGHT, WIDTH), "tables")
    with tifffile.TiffFile(path) as tiff:
        theirs = [(page.imagewidth, page.imagelength) for page in tiff.pages]  # type: ignore[union-attr]
    assert levels_of(path) == theirs


def test_what_is_no_tiff_has_no_directories(tmp_path: Path) -> None:
    (tmp_path / "s.svs").write_bytes(b"no TIFF")
    assert levels_of(tmp_path / "s.svs") == []


def test_directories_in_a_loop_are_refused_and_a_cut_file_too(tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "s.tif", smooth_pixels(600, 600), steps=(1,))
    whole = path.read_bytes()
    first = struct.unpack_from("<I", whole, 4)[0]
    count = struct.unpack_from("<H", whole, first)[0]
    following = first + 2 + 12 * count
    path.write_bytes(whole[:following] + struct.pack("<I", first) + whole[following + 4 :])
    with pytest.raises(SlideUnreadable):
        levels_of(path)
    path.write_bytes(whole[: first + 5])
    with pytest.raises(SlideUnreadable):
        levels_of(path)


def test_a_reader_that_may_not_wait_gives_the_same_bytes_or_none(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    file = os.open(tmp_path / "bytes", os.O_RDONLY)
    try:
        read = reader_at_hand(file)
        try:
            assert read(10, 20) == bytes(range(10, 30))
        except BlockingIOError:
            pytest.skip("this file system cannot say what the kernel holds")
        with pytest.raises(BlockingIOError):
            read(250, 20)  # fewer than asked for is not all
    finally:
        os.close(file)


def overwrite(path: Path, tag: str, index: int, value: int) -> None:
    """Write another number into a tag of the first directory."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        found = page.tags[tag]
        size = {3: 2, 4: 4}[int(found.dtype)]
        place = found.valueoffset + index * size
    with path.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack("<I", value)[:size] if size == 4 else struct.pack("<H", value % 2**16))
