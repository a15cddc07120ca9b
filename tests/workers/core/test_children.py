"""Slides read through confined children are to a worker as slides that it reads by itself."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from jpeg_slides import smooth_pixels, write_jpeg_slide
from made_slides import write_images, write_slide
from numpy.typing import NDArray
from spoiled_tiles import spoil_tile

from workers.core.children import readers as module
from workers.core.children.child_slide import ChildSlide
from workers.core.children.readers import KEPT, Readers
from workers.core.children.reading import BUFFER_BYTES
from workers.core.children.reading_process import ReadingProcess
from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.errors.intake import ConfinementFailed
from workers.core.settings import Settings
from workers.core.slides.doubts import judge_file
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Slide
from workers.core.slides.tolerant import TolerantSlide
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane

pytestmark = pytest.mark.process

UInt8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    readers = Readers(Settings())
    yield readers
    readers.close()


@pytest.fixture
def pixels() -> UInt8:
    return np.random.default_rng(0).integers(0, 255, (1500, 1900, 3)).astype(np.uint8)


@pytest.fixture
def slide(tmp_path: Path, pixels: UInt8) -> Path:
    return write_slide(tmp_path / "s.tif", pixels, levels=3, compression="zlib")


def pid_of(slide: Slide) -> int:
    assert isinstance(slide, ChildSlide)
    return slide._held.do(lambda child: child.pid, "its number")


def said_of(slide: Slide) -> object:
    return slide.geometry, slide.vendor, slide.backend, slide.content, slide.warnings, slide.exact


def test_it_is_the_same_slide(readers: Readers, slide: Path) -> None:
    rng = np.random.default_rng(1)
    with open_slide(slide) as here, readers.open(slide) as there:
        assert said_of(there) == said_of(here)
        for level in (0, 1, 2):
            places = [(*rng.integers(-300, 1900, 2), *rng.integers(1, 400, 2)) for _ in range(20)]
            boxes = [(int(x), int(y), int(width), int(height)) for x, y, width, height in places]
            there.expect(level, boxes[::2])
            for box in boxes:
                assert np.array_equal(there.read_level(level, *box), here.read_level(level, *box)), box
        assert np.array_equal(there.thumbnail(300), here.thumbnail(300))
        assert np.array_equal(there.reduced(0, 7), here.reduced(0, 7))
    assert readers.judge(slide) == judge_file(slide)


def test_it_is_the_same_plane_of_stored_tiles(readers: Readers, tmp_path: Path) -> None:
    path = write_jpeg_slide(tmp_path / "jpeg.tif", smooth_pixels(1500, 1900), "420")
    with open_slide(path) as here, readers.open(path) as there, readers.open(path, "skip") as tolerant:
        assert said_of(there) == said_of(here) == said_of(tolerant)
        assert there.exact == {0, 1}
        for scale in (Fraction(1), Fraction(2), Fraction(500, 499)):
            plane = WorkingPlane(1900, 1500, scale, scale)
            ours, theirs, third = (PlaneReader(each, plane, 0) for each in (there, here, tolerant))
            for box in ((-20, -30, 700, 600), (100, 90, 640, 520), (0, 0, 1950, 1300)):
                expected = theirs.read(*box)
                assert np.array_equal(ours.read(*box), expected)
                assert np.array_equal(third.read(*box), expected)


def test_it_is_the_same_plane(readers: Readers, slide: Path) -> None:
    with open_slide(slide) as here, readers.open(slide) as there:
        plane = WorkingPlane.from_geometry(here.geometry, 0.61, None)
        ours, theirs = (PlaneReader(each, plane, 0) for each in (there, here))
        for box in ((-20, -30, 700, 600), (400, 300, 900, 900), (0, 0, 1600, 1300)):
            assert np.array_equal(ours.read(*box), theirs.read(*box))


@pytest.mark.real_slide
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "OS-1-detail.ome.tif", "test3-DAPI-2-387.ndpi"])
def test_real_slides_are_the_same(readers: Readers, shared_data: Path, name: str) -> None:
    path = shared_data / "wsi" / name
    with open_slide(path) as here, readers.open(path) as there:
        assert said_of(there) == said_of(here)
        boxes = [(x, y, 256, 256) for y in (256, 512) for x in (0, 256, 512)]
        there.expect(0, boxes)
        for box in boxes:
            assert np.array_equal(there.read_level(0, *box), here.read_level(0, *box))
    assert readers.judge(path) == judge_file(path)


@pytest.mark.slow
def test_what_does_not_fit_the_shared_memory_comes_in_parts(readers: Readers, tmp_path: Path) -> None:
    side = int((BUFFER_BYTES / 3) ** 0.5) + 500
    rows, columns = np.ogrid[:side, :side]
    pixels = np.stack(np.broadcast_arrays(rows % 251, columns % 241, (rows // 64) % 7), -1).astype(np.uint8)
    with readers.open(write_slide(tmp_path / "big.tif", pixels, compression="zlib")) as slide:
        assert np.array_equal(slide.read_level(0, 0, 0, side, side), pixels)


def test_another_image_is_another_slide(readers: Readers, tmp_path: Path, pixels: UInt8) -> None:
    path = write_images(tmp_path / "a.ome.tif", {"A": (pixels,), "B": (pixels[:700, :900],)})
    with readers.open(path) as first, readers.open(path, image=1) as second:
        assert (first.geometry.l0_width, second.geometry.l0_width) == (1900, 900)
        assert np.array_equal(second.read_level(0, 0, 0, 900, 700), pixels[:700, :900])


def test_errors_come_as_they_are_raised(readers: Readers, slide: Path, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"no\xe4.tif")).write_bytes(b"no slide at all" * 99)
    spoiled = spoil_tile(slide, 0, 1)
    for path, image in ((tmp_path / os.fsdecode(b"no\xe4.tif"), None), (slide, 7), (tmp_path / "none.tif", None)):
        with pytest.raises(SlideUnreadable) as ours:
            readers.open(path, image=image)
        with pytest.raises(SlideUnreadable) as theirs:
            open_slide(path, image)
        expected = {key: said and said.replace("\udce4", "\ufffd") for key, said in theirs.value.as_dict().items()}
        assert ours.value.as_dict() == expected
    with readers.open(spoiled) as there, open_slide(spoiled) as here:
        for each in (there, here):
            with pytest.raises(SlideUnreadable, match=r"A tile of level 0 at \(256, 0\) cannot be decoded"):
                each.read_level(0, 256, 0, 256, 256)
        assert there.read_level(0, 512, 0, 256, 256).any()  # it recovers
        assert len(readers._busy) == 1


def test_bad_tiles_are_noted_as_ever(readers: Readers, slide: Path) -> None:
    spoiled = spoil_tile(slide, 0, 1)
    with readers.open(spoiled, "mask") as there, TolerantSlide(spoiled) as here:
        there.expect(0, [(0, 0, 600, 300), (600, 0, 600, 300)])
        assert np.array_equal(there.read_level(0, 0, 0, 600, 300), here.read_level(0, 0, 0, 600, 300))
        assert isinstance(there, TolerantSlide)
        assert there.bad == here.bad == {(0, 0, 1)}


def test_a_slide_stays_open_for_the_next_task(readers: Readers, slide: Path, pixels: UInt8) -> None:
    with readers.open(slide) as first:
        pid = pid_of(first)
    with readers.open(slide) as again:
        assert pid_of(again) == pid
        with readers.open(slide) as beside:
            assert pid_of(beside) != pid
    others = [write_slide(slide.parent / f"{number}.tif", pixels[:300, :300]) for number in range(KEPT)]
    for each in others:
        readers.open(each).close()
    assert readers.idle == others
    with readers.open(slide) as anew:
        assert pid_of(anew) != pid


def test_a_file_that_was_replaced_is_opened_anew(readers: Readers, slide: Path, pixels: UInt8) -> None:
    readers.open(slide).close()
    write_slide(slide, pixels[::-1])
    with readers.open(slide) as opened:
        assert np.array_equal(opened.read_level(0, 0, 0, 99, 99), pixels[::-1][:99, :99])


def test_a_slide_that_nobody_reads_for_long_is_closed(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.2)
    readers = Readers(Settings())
    with readers.open(slide) as opened:
        pid = pid_of(opened)
        (child,) = readers._busy
        while not child.is_stale:
            pass
        assert opened.read_level(0, 0, 0, 9, 9).any()  # by another, and nothing is said of it
        assert pid_of(opened) != pid
    readers.close()


def test_where_nobody_can_be_locked_in_only_slides_of_ones_own_are_read(
    slide: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> object:
        raise ConfinementFailed("This server cannot look at slides safely.")

    monkeypatch.setattr(ReadingProcess, "open", refuse)
    for may_read_here in (True, False):
        readers = Readers(Settings(), may_read_here=may_read_here)
        if may_read_here:
            with readers.open(slide) as opened:
                assert not isinstance(opened, ChildSlide)
            assert readers.judge(slide) == judge_file(slide)
            assert "slides are read in this process" in caplog.text
        else:
            with pytest.raises(ConfinementFailed):
                readers.open(slide)
        readers.close()


def test_links_to_slides_elsewhere_are_followed_for_their_owner(slide: Path, tmp_path: Path, pixels: UInt8) -> None:
    link = tmp_path / "links" / "mine.tif"
    link.parent.mkdir()
    link.symlink_to(slide)
    readers = Readers(Settings(), may_read_here=True)
    with readers.open(link) as opened:
        assert np.array_equal(opened.read_level(0, 0, 0, 99, 99), pixels[:99, :99])
    readers.close()


def test_a_tiff_that_lies_is_refused_before_it_is_opened(tmp_path: Path, pixels: UInt8) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    path.write_bytes(path.read_bytes()[: -(2**20)])
    readers = Readers(Settings(), may_read_here=True)
    with pytest.raises(LDiffusionError) as caught:
        readers.open(path)
    assert caught.value.code == "slide_unreadable"
    readers.close()
