"""A TIFF that was cut off anywhere, that loops or that claims too much is refused before a pixel is decoded."""

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.slides.tiff.structure import check_tiff

Write = Callable[[Path], None]


def write(path: Path, *, ome: bool = False, **options: Any) -> None:
    """Write a pyramid of two levels in the main chain, or in sub-directories as OME-TIFF does."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    with tifffile.TiffWriter(path, ome=ome, **options) as tiff:
        common: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64)} | ({} if ome else {"metadata": None})
        tiff.write(pixels, subifds=1 if ome else 0, **common)
        tiff.write(pixels[::2, ::2], subfiletype=1, **common)


KINDS: dict[str, dict[str, Any]] = {
    "classic": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF big-endian": {"bigtiff": True, "byteorder": ">"},
    "sub-directories": {"ome": True},
}


@pytest.fixture(scope="module", params=list(KINDS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiff") / "whole.tif"
    write(path, **KINDS[request.param])
    return path


def test_a_whole_file_passes(whole: Path) -> None:
    assert check_tiff(whole)


@settings(max_examples=150)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("cut.tif")
    cut.write_bytes(content[: max(4, int(share * len(content)))])
    with pytest.raises(SlideUnreadable, match="cut off"):
        check_tiff(cut)


def test_the_last_byte_counts(whole: Path) -> None:
    cut = whole.with_name("cut.tif")
    cut.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(SlideUnreadable, match="cut off"):
        check_tiff(cut)


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_a_garbled_file_is_refused_or_passes_but_never_surprises(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        near_directory = data.draw(st.integers(4, min(len(content), 900) - 1))
        content[near_directory] = data.draw(st.integers(0, 255))
    garbled = whole.with_name("garbled.tif")
    garbled.write_bytes(content)
    with contextlib.suppress(SlideUnreadable, SlideTooLarge):
        assert check_tiff(garbled)


def test_real_slides_pass(shared_data: Path) -> None:
    slides = [path for path in (shared_data / "wsi").iterdir() if path.suffix in (".svs", ".tif", ".ndpi")]
    assert len(slides) == 5
    for path in slides:
        assert check_tiff(path)


@pytest.mark.parametrize("content", [b"", b"II", b"this is no TIFF", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_not_looked_at(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    assert not check_tiff(path)


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A classic little-endian directory of (tag, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def classic(tmp_path: Path, content: bytes) -> Path:
    """A classic TIFF whose first directory lies at byte 8."""
    path = tmp_path / "made.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + content)
    return path


def test_directories_in_a_loop_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideUnreadable, match="loop"):
        check_tiff(classic(tmp_path, directory((256, 3, 1, 5), following=8)))


def test_sub_directories_in_a_loop_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideUnreadable, match="loop"):
        check_tiff(classic(tmp_path, directory((330, 13, 1, 8))))


def test_sub_directories_and_the_chain_behind_them_are_both_looked_at(tmp_path: Path) -> None:
    fine, cut = directory((256, 3, 1, 5)), directory((324, 4, 1, 100), (325, 4, 1, 1000))
    second = 8 + len(fine)
    for behind, below in ((fine, cut), (cut, fine)):
        third = second + len(behind)
        first = directory((330, 13, 1, third), following=second)
        with pytest.raises(SlideUnreadable, match="cut off"):
            check_tiff(classic(tmp_path, first + behind + below))


def test_an_endless_chain_is_refused(tmp_path: Path) -> None:
    chain = b"".join(directory((256, 3, 1, 5), following=8 + 18 * (i + 1)) for i in range(5000))
    with pytest.raises(SlideTooLarge, match="too many directories"):
        check_tiff(classic(tmp_path, chain))


def test_a_giant_tile_is_refused(tmp_path: Path) -> None:
    tags = ((256, 4, 1, 10**5), (257, 4, 1, 10**5), (322, 4, 1, 60_000), (323, 4, 1, 16))
    with pytest.raises(SlideTooLarge, match="tile"):
        check_tiff(classic(tmp_path, directory(*tags)))


@pytest.mark.parametrize("tag", [(277, 3, 1, 60_000), (258, 3, 1, 1024)])
def test_a_giant_pixel_is_refused(tmp_path: Path, tag: tuple[int, int, int, int]) -> None:
    with pytest.raises(SlideTooLarge, match="pixel"):
        check_tiff(classic(tmp_path, directory((256, 4, 1, 100), (257, 4, 1, 100), tag)))


def test_a_giant_strip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideTooLarge, match="strips"):
        check_tiff(classic(tmp_path, directory((256, 4, 1, 10**5), (257, 4, 1, 10**5))))
    assert check_tiff(classic(tmp_path, directory((256, 4, 1, 10**5), (257, 4, 1, 10**5), (278, 3, 1, 8))))


SIDES = ((256, 4, 1, 10**5), (257, 4, 1, 10**5))
NDPI = (65420, 4, 1, 1)


def marked(tmp_path: Path, content: bytes, first: int = 16) -> Path:
    """A classic TIFF that begins as an NDPI does: the offset of its first directory has 64 bits."""
    path = tmp_path / "made.ndpi"
    path.write_bytes(b"II*\0" + struct.pack("<Q", first).ljust(first - 4, b"\0") + content)
    return path


def test_strips_may_be_large_in_an_ndpi_alone_and_there_only_as_jpeg(tmp_path: Path) -> None:
    jpeg, deflate = (259, 3, 1, 7), (259, 3, 1, 8)
    assert check_tiff(marked(tmp_path, directory(*SIDES, jpeg, NDPI)))
    later = 16 + len(directory((256, 3, 1, 5)))
    other = tmp_path / "other"
    other.mkdir()
    for path in (
        marked(other, directory(*SIDES, deflate, NDPI)),
        marked(tmp_path, directory((256, 3, 1, 5), following=later) + directory(*SIDES, jpeg, NDPI)),
        classic(tmp_path, directory(*SIDES, jpeg, NDPI)),  # the 64-bit offset of its first directory leads nowhere
    ):
        with pytest.raises(SlideTooLarge, match="strips"):
            check_tiff(path)


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 273, 277, 278, 279, 322, 323, 324, 325, 330])
def test_a_tag_that_is_there_twice_is_refused(tmp_path: Path, tag: int) -> None:
    """OpenSlide takes the last one, libtiff and tifffile the first."""
    once = (tag, 3, 1, 0)
    assert check_tiff(classic(tmp_path, directory(once)))
    with pytest.raises(SlideUnreadable, match="makes no sense"):
        check_tiff(classic(tmp_path, directory(once, once)))


def test_two_descriptions_are_fine(tmp_path: Path) -> None:
    """tifffile itself writes a second one, for its own use."""
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((64, 64, 3), np.uint8), description="mine", tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "s.tif") as tiff:
        assert [tag.code for tag in tiff.pages.first.tags].count(270) == 2
    assert check_tiff(tmp_path / "s.tif")


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 273, 277, 278, 279, 322, 323, 324, 325, 330])
@pytest.mark.parametrize("kind", [0, 2, 5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 19])
def test_a_number_of_another_type_is_refused(tmp_path: Path, tag: int, kind: int) -> None:
    """libtiff takes signed numbers too; what was read as nothing here passed every limit."""
    with pytest.raises(SlideUnreadable, match="makes no sense"):
        check_tiff(classic(tmp_path, directory((tag, kind, 1, 60_000))))


@pytest.mark.parametrize("tag", [256, 257, 259, 277, 278, 322, 323])
@pytest.mark.parametrize("count", [0, 2])
def test_a_size_is_one_number(tmp_path: Path, tag: int, count: int) -> None:
    with pytest.raises(SlideUnreadable, match="makes no sense"):
        check_tiff(classic(tmp_path, directory((tag, 3, count, 8))))


def test_a_tile_that_is_large_in_all_respects_at_once_is_refused(tmp_path: Path) -> None:
    tile = ((322, 4, 1, 8192), (323, 4, 1, 8192))
    assert check_tiff(classic(tmp_path, directory((258, 3, 1, 8), (277, 3, 1, 4), *tile)))
    with pytest.raises(SlideTooLarge, match="A tile or a strip"):
        check_tiff(classic(tmp_path, directory((258, 3, 1, 8), (277, 3, 1, 5), *tile)))
    with pytest.raises(SlideTooLarge, match="strips"):  # a tile needs both sides
        check_tiff(classic(tmp_path, directory(*SIDES, (322, 4, 1, 16))))


def test_too_many_tags_are_refused(tmp_path: Path) -> None:
    def tags(count: int) -> bytes:
        return directory(*((1000 + i, 3, 1, 0) for i in range(count)))

    assert check_tiff(classic(tmp_path, tags(4096)))
    with pytest.raises(SlideUnreadable, match="makes no sense") as refused:
        check_tiff(classic(tmp_path, tags(4097)))
    assert refused.value.value == "4097 tags"


def test_too_many_tiles_are_refused(tmp_path: Path) -> None:
    count, path = 2**23, tmp_path / "made.tif"
    for more, passes in ((0, True), (1, False)):
        content = directory((324, 4, count + more, 100), (325, 4, count + more, 100))
        classic(tmp_path, content)
        with path.open("r+b") as file:
            file.truncate(2**26)  # a hole: takes no room on the disk
        if passes:
            assert check_tiff(path)
        else:
            with pytest.raises(SlideTooLarge, match="too many tiles"):
                check_tiff(path)


def test_a_tile_outside_is_refused_even_where_offset_and_length_pass_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "made.tif"
    tags = struct.pack("<HHQQ", 324, 16, 1, 2**64 - 8) + struct.pack("<HHQQ", 325, 16, 1, 16)
    path.write_bytes(b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2) + tags + struct.pack("<Q", 0))
    with pytest.raises(SlideUnreadable, match="cut off"):
        check_tiff(path)


def test_a_tile_that_was_never_written_is_fine(tmp_path: Path) -> None:
    assert check_tiff(classic(tmp_path, directory((324, 4, 1, 0), (325, 4, 1, 0))))


def test_offsets_of_a_large_ndpi_have_64_bits(tmp_path: Path) -> None:
    """Beyond 4 GiB an NDPI keeps the upper halves of its offsets behind the directory, four bytes a tag."""
    size = 2**32 + 4096
    path = tmp_path / "large.ndpi"
    tags = ((273, 4, 1, 0), (279, 4, 1, 100), (65420, 4, 1, 1), (305, 2, 50, 200))
    following = struct.pack("<I", 0)  # upper half of the next offset
    for first, high, passes in ((16, 1, True), (16, 2, False), (2**32 + 16, 1, True), (2**32 + 16, 2, False)):
        with path.open("wb") as file:
            file.write(b"II*\0" + struct.pack("<Q", first))
            file.seek(first)
            file.write(directory(*tags) + following)
            file.write(struct.pack("<4I", 0, 0, 0, high))
            file.truncate(size)  # a hole: takes no room on the disk
        if passes:
            assert check_tiff(path)
        else:
            with pytest.raises(SlideUnreadable, match="cut off"):
                check_tiff(path)


def test_fewer_strips_than_the_size_asks_for_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), photometric="rgb", rowsperstrip=16, metadata=None)
    assert check_tiff(path)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["PlanarConfiguration"].overwrite(2)
    with pytest.raises(SlideUnreadable, match="fewer strips"):
        check_tiff(path)
