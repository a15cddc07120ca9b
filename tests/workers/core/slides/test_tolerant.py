"""Slides with a tile that cannot be decoded: refused, or read around and said so."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled_tiles import spoil_tile

from workers import stages
from workers.core.errors.base import SlideUnreadable
from workers.core.model.catalogue import find_model
from workers.core.schemas import JobRequest, Plan
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels
from workers.core.slides.tolerant import TolerantSlide, bad_blocks, open_for
from workers.masks import load_area
from workers.outputs.statistics import read_statistics
from workers.pipeline import bad_tiles, stitch
from workers.pipeline.inference import pieces
from workers.pipeline.plane import touched
from workers.pipeline.resampling import triangle_taps
from workers.pipeline.tiling import Box, WorkingPlane, regions

BAD = Box(512, 256, 256, 256)
"""The tile that is broken: column 2, row 1."""


@pytest.fixture
def broken(made_slide: Callable[..., Path], stained: Pixels) -> Path:
    """The stained slide, its tile `BAD` of zeros where a JPEG stream should be; it has an overview of its own."""
    path = made_slide(stained, levels=4, compression="jpeg")
    return spoil_tile(path, 0, BAD.w_y // 256 * -(-stained.shape[1] // 256) + BAD.w_x // 256)


def test_what_is_lost_is_white_and_noted_and_the_rest_is_as_it_was(broken: Path) -> None:
    with TolerantSlide(broken) as slide, open_slide(broken) as plain:
        pixels = slide.read_level(0, 100, 50, 900, 700)
        assert slide.bad == {(0, 1, 2)}
        inside = np.zeros((700, 900), np.bool_)
        inside[BAD.w_y - 50 : BAD.w_y + 206, BAD.w_x - 100 : BAD.w_x + 156] = True
        assert (pixels[inside] == 255).all()
        assert np.array_equal(pixels[:, :412], plain.read_level(0, 100, 50, 412, 700))
        assert np.array_equal(slide.read_level(1, 0, 0, 600, 400), plain.read_level(1, 0, 0, 600, 400))
        assert bad_blocks(slide, 0) == {(1, 2)}
        assert bad_blocks(slide, 1) == frozenset()
        assert (slide.geometry, slide.vendor, slide.backend) == (plain.geometry, plain.vendor, plain.backend)


def test_a_reader_that_failed_is_not_asked_again(broken: Path) -> None:
    with open_for(broken, "fail") as slide, pytest.raises(SlideUnreadable):
        slide.read_level(0, BAD.w_x, BAD.w_y, 10, 10)
    with open_for(broken, "mask") as slide:
        for _ in range(2):
            slide.read_level(0, BAD.w_x, BAD.w_y, 10, 10)
            assert not (slide.read_level(0, 300, 300, 50, 50) == 255).all()


@settings(max_examples=60)
@given(
    numerator=st.integers(1, 40), denominator=st.integers(1, 12), start=st.integers(0, 60), length=st.integers(1, 40)
)
def test_a_hole_is_all_that_has_a_weight_on_what_is_lost(
    numerator: int, denominator: int, start: int, length: int
) -> None:
    scale, stop = Fraction(numerator, denominator), start + length
    taps = triangle_taps(scale, 0, 400, 10**6)
    positions = taps.first + np.arange(taps.weights.shape[0])[:, np.newaxis]
    weighty = (taps.weights > 1e-6) & (positions >= start) & (positions < stop)
    expected = np.flatnonzero(weighty.any(axis=0))
    first, end = touched(scale, start, stop)
    found = list(range(first, min(end, 400)))
    assert set(expected) <= set(found)
    assert len(found) <= len(expected) + 2  # a weight of just 0 in floating point


@pytest.fixture
def job(broken: Path, model_folder: Path, colour: ModuleType, tmp_path: Path) -> Callable[..., tuple[Path, Plan, Any]]:
    """Return a function that runs a job on the broken slide, at two level-0 px per working px if `half`."""

    def run(name: str, *, half: bool = False, **asked: Any) -> tuple[Path, Plan, Any]:
        out_dir = tmp_path / name
        out_dir.mkdir()
        changes = {"tile_px": 256, "halo_px": 16, "mpp": 0.8 if half else 0.5}
        card = find_model(model_folder.parent, model_folder.name).model_copy(update=changes)
        engine = colour.ColourEngine(model_folder)
        request = JobRequest(slide_id="s", model=card.name, **asked)
        with open_for(broken, request.on_bad_tile) as slide:
            info = SlideInfo(
                id="s", filename="a.tif", size_bytes=1, sha256="b" * 64, vendor=slide.vendor, backend=slide.backend,
                geometry=slide.geometry, created_at="2026-01-01T00:00:00Z",
            )  # fmt: skip
            plan = stages.plan_job(slide, info, request, card, out_dir, "job")
        for index in plan.regions:
            with open_for(broken, request.on_bad_tile) as slide:
                stages.segment_one(slide, plan, index, engine, out_dir)
        with open_for(broken, request.on_bad_tile) as slide:
            result = stages.finish_job(slide, info, plan, out_dir, created_at=info.created_at, timings_s={})
        return out_dir, plan, result

    return run


def test_a_job_that_says_nothing_of_it_fails(job: Callable[..., Any]) -> None:
    with pytest.raises(SlideUnreadable, match="cannot be decoded"):
        job("plain")


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_masked_pixels_are_background_and_not_counted(job: Callable[..., Any], half: bool) -> None:
    out_dir, plan, result = job("masked", on_bad_tile="mask", half=half)
    (bad,) = result.bad_tiles
    assert (bad.level, bad.l0_x, bad.l0_y, bad.l0_width, bad.l0_height) == (0, 512, 256, 256, 256)
    (told,) = (each for each in result.warnings if each.code == "parts_left_out")
    assert (told.value, told.places) == ("1 block", ((512, 256, 768, 512),))
    labels, confidence = (np.asarray(array[:, :]) for array in (
        stitch.open_labels(out_dir).labels, stitch.open_labels(out_dir).confidence
    ))  # fmt: skip
    scale = 1.6 if half else 1.0
    lost = np.zeros(labels.shape, np.bool_)
    ((w_x, w_y, width, height),) = bad_tiles.read_bad_tiles(out_dir).w_holes
    lost[w_y : w_y + height, w_x : w_x + width] = True
    assert abs(w_x - 512 / scale) <= 2
    assert abs(w_y - 256 / scale) <= 2
    assert not labels[lost].any()
    assert not confidence[lost].any()
    assert confidence[300 : round(400 / scale) + 100, round(300 / scale) : round(480 / scale)].all()
    tissue = load_area(out_dir, plan).crop(Box(0, 0, labels.shape[1], labels.shape[0]), WorkingPlane.from_plan(plan))
    counted = read_statistics(out_dir)
    assert sum(each.pixels for each in counted.classes) == int((tissue & ~lost).sum()) < int(tissue.sum())


@pytest.mark.slow
def test_skipped_tiles_are_those_whose_context_is_broken(job: Callable[..., Any]) -> None:
    out_dir, plan, result = job("skipped", on_bad_tile="skip")
    assert len(result.bad_tiles) == 1
    confidence = np.asarray(stitch.open_labels(out_dir).confidence[:, :])
    plane = WorkingPlane.from_plan(plan)
    area = load_area(out_dir, plan)
    lost, kept = np.zeros(confidence.shape, np.bool_), np.zeros(confidence.shape, np.bool_)
    boxes = set()
    for region in regions(plane, plan.region_px):
        for piece in pieces(plane, region, plan, area):
            core, box = piece.core, piece.box
            meets = box.w_x < 768 and box.w_x + box.width > 512 and box.w_y < 512 and box.w_y + box.height > 256
            place = np.s_[core.w_y0 : core.w_y1, core.w_x0 : core.w_x1]
            (lost if meets else kept)[place] = piece.mask
            if meets:
                boxes.add((core.w_x0, core.w_y0, core.width, core.height))
    assert (512, 256, 256, 256) in boxes  # the tile itself
    assert len(boxes) > 5  # and those around it whose halo reaches into it
    assert not confidence[lost].any()
    assert kept.any()
    assert confidence[kept].all()
    assert set(bad_tiles.read_bad_tiles(out_dir).w_holes) == boxes
    assert result.on_bad_tile == "skip"
