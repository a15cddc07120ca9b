"""Areas, shares and confidence against plain counting."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.schemas import Plan
from workers.outputs import statistics
from workers.outputs.vector.counts import ClassObjects
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import Box, WorkingPlane

MakePlan = Callable[..., Plan]
UInt8 = NDArray[np.uint8]


class Mask:
    """Tissue given pixel by pixel."""

    def __init__(self, tissue: NDArray[np.bool_]) -> None:
        self.tissue = tissue

    def crop(self, box: Box, plane: WorkingPlane) -> NDArray[np.bool_]:
        return self.tissue[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width]


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    chunk=st.integers(1, 50),
    at_once=st.integers(1, 300),
    seed=st.integers(0, 99),
    mpp=st.sampled_from([0.25, 0.5, 0.499, 2.0]),
)
def test_numbers_are_those_of_plain_counting(
    make_plan: MakePlan,
    watched: Callable[..., Any],
    width: int,
    height: int,
    chunk: int,
    at_once: int,
    seed: int,
    mpp: float,
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 4], np.uint8), (height, width))
    confidence = rng.integers(0, 256, (height, width), dtype=np.uint8)
    tissue = rng.random((height, width)) < 0.6
    plan = make_plan(width, height, chunk, model_mpp=mpp, mpp_x=mpp, mpp_y=mpp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "COUNT_PX", at_once)
        found = statistics.compute(LabelArrays(watched(labels, chunk), watched(confidence, chunk)), Mask(tissue), plan)
    assert found.mm2_per_pixel == pytest.approx(mpp * mpp / 1e6, rel=1e-12)
    assert found.slide_mm2 == pytest.approx(width * height * mpp * mpp / 1e6, rel=1e-12)
    assert found.tissue_mm2 == pytest.approx(tissue.sum() * mpp * mpp / 1e6, rel=1e-12)
    assert [row.index for row in found.classes] == [0, 1, 2, 4]
    for row in found.classes:
        mine = (labels == row.index) & tissue
        assert row.pixels == mine.sum()
        assert row.mm2 == pytest.approx(mine.sum() * mpp * mpp / 1e6, rel=1e-12)
        assert row.share_of_tissue == (pytest.approx(mine.sum() / tissue.sum()) if tissue.any() else None)
        assert row.mean_confidence == (pytest.approx(confidence[mine].mean() / 255) if mine.any() else None)
    assert sum(row.pixels for row in found.classes) == tissue.sum()


def test_without_a_mask_the_whole_plane_is_tissue(make_plan: MakePlan, watched: Callable[..., Any]) -> None:
    labels = np.array([[0, 1], [1, 1]], np.uint8)
    found = statistics.compute(LabelArrays(watched(labels, 2), watched(labels * 255, 2)), None, make_plan(2, 2))
    assert found.tissue_mm2 == found.slide_mm2 == 1e-6
    assert [row.share_of_tissue for row in found.classes] == [0.25, 0.75, 0.0, 0.0]
    assert [row.mean_confidence for row in found.classes] == [0.0, 1.0, None, None]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_what_is_left_out_is_told_and_not_counted(
    make_plan: MakePlan, watched: Callable[..., Any], width: int, height: int, chunk: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 4], np.uint8), (height, width))
    tissue, spoiled = rng.random((2, height, width)) < 0.6
    arrays, plan = LabelArrays(watched(labels, chunk), watched(labels, chunk)), make_plan(width, height, chunk)
    found = statistics.compute(arrays, Mask(tissue), plan, left_out=Mask(spoiled))
    bare = statistics.compute(arrays, Mask(tissue & ~spoiled), plan)
    assert found.model_copy(update={"excluded_mm2": None}) == bare
    assert found.excluded_mm2 == pytest.approx((tissue & spoiled).sum() * 0.25e-6)


def test_objects_are_counted_on_all_tissue_that_is_left_out_too(
    make_plan: MakePlan, watched: Callable[..., Any]
) -> None:
    labels = np.array([[0, 1], [4, 1]], np.uint8)
    arrays = LabelArrays(watched(labels, 2), watched(labels, 2))
    spoiled = Mask(np.array([[True, False], [False, True]]))
    found = statistics.compute(arrays, None, make_plan(2, 2), {4: ClassObjects(count=3)}, spoiled)
    assert found.excluded_mm2 == pytest.approx(0.5e-6)
    assert found.classes[3].density_per_mm2 == pytest.approx(3e6)


def test_the_file_is_what_was_computed(make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path) -> None:
    labels = np.array([[0, 1], [4, 1]], np.uint8)
    arrays = LabelArrays(watched(labels, 2), watched(labels, 2))
    objects = {4: ClassObjects(count=3, small_count=2, small_pixels=5, largest_pixels=8, largest_box=(0, 0, 2, 1))}
    plan = make_plan(2, 2)
    counts = statistics.count_pixels(arrays, None, plan)
    found = statistics.write_statistics(tmp_path / "statistics.json", counts, plan, objects)
    assert found == statistics.compute(arrays, None, plan, objects)
    written = json.loads((tmp_path / "statistics.json").read_text(encoding="utf-8"))
    assert set(written) == {"mm2_per_pixel", "slide_mm2", "tissue_mm2", "classes", "excluded_mm2"}
    assert written["classes"][3] == {
        "index": 4,
        "name": "café <µ>",
        "color": [0, 90, 220],
        "pixels": 1,
        "mm2": 2.5e-7,
        "share_of_tissue": 0.25,
        "mean_confidence": 4 / 255,
        "count": 3,
        "density_per_mm2": 3e6,
        "small_count": 2,
        "small_mm2": 1.25e-6,
        "largest_um2": 2.0,
        "largest_box": [0, 0, 2, 1],
    }
    assert written["classes"][1]["count"] is None  # not counted
    assert statistics.Statistics.model_validate(written) == found


def test_no_read_is_larger_than_a_chunk(make_plan: MakePlan, watched: Callable[..., Any]) -> None:
    labels = watched(np.zeros((1000, 900), np.uint8), 256)
    statistics.compute(LabelArrays(labels, labels), None, make_plan(900, 1000))
    assert max(max(size) for size in labels.reads) <= 256
