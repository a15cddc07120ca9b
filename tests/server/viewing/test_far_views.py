"""A far view of a large slide is made of its small level, wherever the file keeps that: here in a SubIFD."""

import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from decode_here import DecodeHere

from server.viewing.deepzoom import grid_of
from server.viewing.service import Viewing
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.modality import sample
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tolerant import TolerantSlide
from workers.core.store import Store, new_id
from workers.pipeline.tissue import TissueMask

pytestmark = pytest.mark.slow

SMALL_PX = 2250**2


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many px of each level were read."""
    seen: Counter[int] = Counter()
    answer = Slide.read_level

    def read_level(slide: Slide, level: int, lv_x: int, lv_y: int, width: int, height: int, *out: Pixels) -> Pixels:
        seen[level] += 0 if isinstance(slide, TolerantSlide) else width * height  # which asks the slide within it
        return answer(slide, level, lv_x, lv_y, width, height, *out)

    monkeypatch.setattr(Slide, "read_level", read_level)
    return seen


@pytest.mark.parametrize("side", [64, 256, 1024, 2048])
def test_a_thumbnail_is_made_of_the_small_level(far_slide: Path, read: Counter[int], side: int) -> None:
    with open_slide(far_slide) as slide:
        assert max(slide.thumbnail(side).shape) == side
    assert read == {1: SMALL_PX}


def test_tissue_and_modality_are_told_from_the_small_level(far_slide: Path, read: Counter[int]) -> None:
    with open_slide(far_slide) as slide:
        assert not TissueMask.from_slide(slide).mask.any()
        sample(slide)
    assert read == {1: 2 * SMALL_PX}


def test_far_tiles_are_cut_from_the_small_level(far_slide: Path, tmp_path: Path, read: Counter[int]) -> None:
    store = Store(tmp_path)
    with open_slide(far_slide) as slide, store.incoming() as folder:
        shutil.copy(far_slide, folder / "original.tif")
        info = SlideInfo(
            id=new_id(), filename=far_slide.name, size_bytes=1, sha256="a" * 64, vendor=slide.vendor,
            backend=slide.backend, geometry=slide.geometry, created_at=datetime.now(UTC),
        )  # fmt: skip
        store.commit_slide(info, folder)
    viewing = Viewing(store, Settings(), DecodeHere())
    grid = grid_of(info.geometry)
    viewing.thumbnail(info, 512)
    for level in range(grid.top + 1):
        if grid.step(level) >= 16:
            columns, rows = (-(-side // grid.tile_px) for side in grid.size(level))
            for col in range(columns):
                for row in range(rows):
                    viewing.slide_tile(info, (level, col, row))
    viewing.close()
    assert read == {1: 3 * SMALL_PX}  # the overview, and the tiles of two levels beside it
