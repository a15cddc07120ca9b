"""The walker finds the directories that tifffile finds, each once, and ends on whatever it is given."""

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
from hypothesis import example, given
from hypothesis import strategies as st

from workers.core.errors.base import SlideTooLarge, SlideUnreadable
from workers.core.schemas import Plan
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.tiff.directories import MAX_TAGS, Directory, Tiff, open_tiff
from workers.core.slides.tiff.structure import check_tiff
from workers.core.slides.tiff.values import Tag
from workers.outputs.levels import Levels
from workers.outputs.pyramid import write_labels, write_overlay
from workers.pipeline.stitch import create_label_array, open_labels


def reader(content: bytes) -> Callable[[int, int], bytes]:
    return lambda at, length: content[at : at + length]


def opened(content: bytes) -> Tiff:
    tiff = open_tiff(reader(content), len(content))
    assert tiff is not None
    return tiff


def places(tiff: Tiff, directory: Directory) -> list[int]:
    """Where the pieces of the pixels lie."""
    tag = Tag.TILE_OFFSETS if Tag.TILE_OFFSETS in directory.tags else Tag.STRIP_OFFSETS
    return [int(at) for at in directory.tags[tag].all(tiff.read)]


# --- files of tifffile, told by tifffile ------------------------------------------------------------------------------


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A TIFF of one to four pages, each with up to three sub-directories, which lead on in one of three ways."""
    file = io.BytesIO()
    layout: dict[str, Any] = {"bigtiff": draw(st.booleans()), "byteorder": draw(st.sampled_from("<>"))}
    with tifffile.TiffWriter(file, **layout) as writer:
        for _ in range(draw(st.integers(1, 4))):
            below = draw(st.integers(0, 3))
            options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
            if draw(st.booleans()):
                options["tile"] = (16, 16)
            else:
                options["rowsperstrip"] = draw(st.sampled_from([1, 7, 60]))
            height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
            for _ in range(1 + below):
                writer.write(np.zeros((height, width), np.uint8), subifds=below, **options)
                below = 0
    return relinked(file.getvalue(), draw(st.sampled_from(["as written", "unchained", "also pages"])))


def relinked(content: bytes, how: str) -> bytes:
    """Let no sub-directory lead on; or let those of the last page be the pages behind it as well."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        pages = [cast("tifffile.TiffPage", page) for page in tiff.pages]
        below = [list(page.subifds or ()) for page in pages]
        layout = tiff.tiff
        last = pages[-1].offset
    if how == "as written":
        return content
    changed = bytearray(content)
    links = {at: 0 for each in below for at in each}
    if how == "also pages" and below[-1]:
        links |= dict(zip([last, *below[-1]], [*below[-1], 0], strict=True))
    for at, following in links.items():
        (count,) = struct.unpack_from(layout.tagnoformat, changed, at)
        struct.pack_into(layout.offsetformat, changed, at + layout.tagnosize + count * layout.tagsize, following)
    return bytes(changed)


def told_by_tifffile(content: bytes) -> tuple[list[int], dict[int, list[int]]]:
    """The places of the pages; the places of all directories, with those of their pieces."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        pages = [cast("tifffile.TiffPage", page) for page in tiff.pages]
        subs = [cast("tifffile.TiffPage", sub) for page in pages for sub in page.pages or ()]
        return [page.offset for page in pages], {page.offset: pieces(page) for page in (*pages, *subs)}


def pieces(page: tifffile.TiffPage) -> list[int]:
    """The places of a page's pieces. Of an NDPI's only strip tifffile tells those of its restart intervals."""
    return list(page.tags["StripOffsets"].value) if page.is_ndpi else list(page.dataoffsets)


@given(files())
def test_directories_and_the_places_of_pixels_are_those_that_tifffile_reports(content: bytes) -> None:
    pages, found = told_by_tifffile(content)
    tiff = opened(content)
    assert [directory.at for directory in tiff.chain()] == pages
    walked = list(tiff.directories())
    assert len({directory.at for directory in walked}) == len(walked)
    assert {directory.at: places(tiff, directory) for directory in walked} == found


@given(files())
def test_tags_are_those_that_tifffile_reads(content: bytes) -> None:
    tiff = opened(content)
    with tifffile.TiffFile(io.BytesIO(content)) as theirs:
        for page, directory in zip(theirs.pages, tiff.chain(), strict=True):
            tags = cast("tifffile.TiffPage", page).tags
            assert {tag.code: (tag.offset, tag.valueoffset, tag.valuebytecount) for tag in tags} == {
                code: (values.entry_at, values.at, values.length) for code, values in directory.tags.items()
            }
            assert directory.number(tiff.read, Tag.WIDTH) == tags["ImageWidth"].value
            assert directory.tag_count == len(tags)


def test_real_slides(shared_data: Path) -> None:
    for path in sorted((shared_data / "wsi").iterdir()):
        if path.suffix in (".svs", ".tif", ".ndpi"):
            content = path.read_bytes()
            pages, found = told_by_tifffile(content)
            tiff = opened(content)
            assert [directory.at for directory in tiff.chain()] == pages
            assert {directory.at: places(tiff, directory) for directory in tiff.directories()} == found
            assert tiff.is_ndpi == (path.suffix == ".ndpi")


# --- ways that meet are no loop ---------------------------------------------------------------------------------------


def test_our_own_overlay_and_labels_open_again(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    """Levels of the overlay are SubIFDs and pages at once."""
    plan = make_plan(1300, 1200)
    create_label_array(tmp_path, plan)
    with Levels(open_labels(tmp_path).labels, tmp_path) as levels:
        write_overlay(tmp_path / "overlay.ome.tif", levels, plan)
        write_labels(tmp_path / "labels.ome.tif", levels, plan)
    for name in ("overlay.ome.tif", "labels.ome.tif"):
        content = (tmp_path / name).read_bytes()
        assert check_tiff(tmp_path / name)
        assert len(list(opened(content).directories())) == 3
        shutil.copyfile(tmp_path / name, tmp_path / "again.ome.tif")
        with open_slide(tmp_path / "again.ome.tif") as slide:
            assert (slide.geometry.l0_width, slide.geometry.l0_height) == (1300, 1200)


def directory(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A classic little-endian directory of (tag, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def classic(*directories: bytes) -> bytes:
    """A classic TIFF; the first directory lies at byte 8."""
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directories)


ONE = len(directory((330, 13, 1, 0)))


Ways = list[tuple[int, int]]
"""Of each directory: which one is below it, which one follows; -1 is none."""


def linked(ways: Ways) -> bytes:
    """A TIFF of these directories, one behind the other."""

    def at(number: int) -> int:
        return 0 if number < 0 else 8 + ONE * number

    return classic(*(directory((330, 13, 1, at(below)), following=at(following)) for below, following in ways))


def graphs(count: int) -> st.SearchStrategy[Ways]:
    numbers = st.integers(-1, count - 1)
    return st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count)


def reached(ways: Ways, start: int) -> set[int]:
    """All directories that a way of at least one step leads to."""
    found: set[int] = set()
    todo = [way for way in ways[start] if way >= 0]
    while todo:
        here = todo.pop()
        if here not in found:
            found.add(here)
            todo += [way for way in ways[here] if way >= 0]
    return found


@example([(1, 1), (-1, -1)])
@example([(1, 2), (2, -1), (-1, -1)])
@example([(1, -1), (2, -1), (0, -1)])
@given(st.integers(1, 7).flatmap(graphs))
def test_a_directory_reached_by_two_ways_is_fine_and_one_that_leads_to_itself_is_not(
    ways: Ways,
) -> None:
    tiff = opened(linked(ways))
    expected = {0} | reached(ways, 0)
    if any(here in reached(ways, here) for here in expected):
        with pytest.raises(SlideUnreadable, match="loop"):
            list(tiff.directories())
    else:
        found = [(each.at - 8) // ONE for each in tiff.directories()]
        assert (len(found), set(found)) == (len(expected), expected)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_many_lists_of_the_same_sub_directory_end_the_walk() -> None:
    """Few directories, and millions of references to them."""
    count = 5000
    leaf = directory((256, 3, 1, 5))
    table_at = 8 + len(leaf) + 2 * ONE
    first, second = directory((330, 4, count, table_at), following=8 + ONE), directory((330, 4, count, table_at))
    content = classic(first, second, leaf, struct.pack("<I", 8 + 2 * ONE) * (count + 100))
    with pytest.raises(SlideTooLarge, match="too many directories"):
        list(opened(content).directories())


def test_a_huge_list_of_sub_directories_is_not_read() -> None:
    asked: list[int] = []
    content = classic(directory((330, 4, 2**29, 100)))

    def read(at: int, length: int) -> bytes:
        asked.append(length)
        return content[at : at + length]

    tiff = open_tiff(read, 2**40)
    assert tiff is not None
    with pytest.raises(SlideTooLarge, match="too many directories"):
        list(tiff.directories())
    assert max(asked) < 100


def test_tags_of_all_directories_together_are_bounded() -> None:
    one = directory(*((1000, 3, 1, 0) for _ in range(MAX_TAGS)))
    full = 2**18 // MAX_TAGS

    def chained(count: int) -> bytes:
        places = [8 + len(one) * (i + 1) for i in range(count - 1)]
        return classic(*(one[:-4] + struct.pack("<I", following) for following in (*places, 0)))

    assert len(list(opened(chained(full)).chain())) == full
    with pytest.raises(SlideTooLarge, match="too many tags"):
        list(opened(chained(full + 1)).chain())


def test_of_a_tag_that_is_there_twice_the_first_counts() -> None:
    """So has libtiff; tags that limits are put on are refused."""
    tiff = opened(classic(directory((262, 3, 1, 2), (262, 3, 1, 6))))
    (found,) = tiff.chain()
    assert found.number(tiff.read, Tag.PHOTOMETRIC) == 2


def test_a_reader_that_may_not_wait_is_heard() -> None:
    def read(at: int, length: int) -> bytes:
        if at >= 16:
            raise BlockingIOError
        return (b"II*\0" + struct.pack("<I", 16)).ljust(16, b"\0")[at : at + length]

    with pytest.raises(BlockingIOError):
        list(cast("Tiff", open_tiff(read, 100)).chain())


def test_a_value_that_is_not_there_is_an_error() -> None:
    tiff = opened(classic(directory((258, 3, 2, 8), (700, 2, 4, 0))))
    (found,) = tiff.chain()
    assert found.tags[258].one(tiff.read, 1) == 0
    with pytest.raises(SlideUnreadable):
        found.tags[258].one(tiff.read, 2)
    with pytest.raises(SlideUnreadable):
        found.tags[700].one(tiff.read)
