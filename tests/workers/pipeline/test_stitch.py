"""Region results on disk: whole chunks, the same bytes whoever writes them, nothing half-done counted as there."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.model.schemas import ObjectRules
from workers.core.schemas import Plan
from workers.pipeline import stitch
from workers.pipeline.tiling import Region, WorkingPlane, region_at, regions

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]


def plane_of(plan: Plan) -> WorkingPlane:
    return WorkingPlane.from_plan(plan)


def pixels(plan: Plan, region: Region, seed: int = 0) -> tuple[UInt8, UInt8]:
    rng = np.random.default_rng((seed, region.index))
    shape = (region.height, region.width)
    return rng.integers(0, 5, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_regions_come_back_as_one_plane(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(600, 500, 256)
    stitch.create_label_array(tmp_path, plan)
    labels, confidence = np.zeros((2, 500, 600), np.uint8)
    for region in regions(plane_of(plan), 256):
        if region.index == 4:  # no tissue there
            continue
        core = slice(region.w_y0, region.w_y1), slice(region.w_x0, region.w_x1)
        labels[core], confidence[core] = pixels(plan, region)
        stitch.write_region(tmp_path, plan, region, labels[core], confidence[core])
    arrays = stitch.open_labels(tmp_path)
    assert arrays.labels.shape == (500, 600)
    np.testing.assert_array_equal(arrays.labels[:, :], labels)
    np.testing.assert_array_equal(arrays.confidence[:, :], confidence)
    assert labels.any()
    assert stitch.regions_present(tmp_path, plan) == {0, 1, 2, 3, 5}


def test_order_and_repetition_leave_the_same_bytes(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(600, 500, 256)
    orders = {"once": [0, 1, 2, 3, 4, 5], "twice": [5, 3, 3, 1, 0, 2, 4, 5]}
    for name, order in orders.items():
        (tmp_path / name).mkdir()
        stitch.create_label_array(tmp_path / name, plan)
        for index in order:
            region = region_at(plane_of(plan), 256, index)
            stitch.write_region(tmp_path / name, plan, region, *pixels(plan, region))
    assert digests(tmp_path / "once") == digests(tmp_path / "twice")


def test_a_second_result_of_a_region_replaces_the_first_and_its_neighbours_stay(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(300, 300, 256)
    stitch.create_label_array(tmp_path, plan)
    for index in (0, 3):
        region = region_at(plane_of(plan), 256, index)
        stitch.write_region(tmp_path, plan, region, *pixels(plan, region))
    before = stitch.open_labels(tmp_path).labels[:, :]
    corner = region_at(plane_of(plan), 256, 3)
    stitch.write_region(tmp_path, plan, corner, *pixels(plan, corner, seed=1))
    after = stitch.open_labels(tmp_path).labels[:, :]
    np.testing.assert_array_equal(after[256:, 256:], pixels(plan, corner, seed=1)[0])
    assert (before[256:, 256:] != after[256:, 256:]).any()
    np.testing.assert_array_equal(after[:256], before[:256])


@pytest.mark.parametrize("index", [0, 2, 6, 8])
def test_a_region_is_one_file_per_array_with_the_bytes_that_zarr_writes(
    make_plan: MakePlan, tmp_path: Path, index: int
) -> None:
    plan = make_plan(600, 530, 256)
    for name in ("ours", "zarr"):
        (tmp_path / name).mkdir()
        stitch.create_label_array(tmp_path / name, plan)
    region = region_at(plane_of(plan), 256, index)
    drawn = pixels(plan, region)
    stitch.write_region(tmp_path / "ours", plan, region, *drawn)
    for name, plane in zip(("labels", "confidence"), drawn, strict=True):
        array = zarr.open_array(store=tmp_path / "zarr" / "labels.zarr", path=name, mode="r+")
        array[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1] = plane
    assert digests(tmp_path / "ours") == digests(tmp_path / "zarr")


def test_a_chunk_appears_by_rename(make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(256, 256, 256)
    stitch.create_label_array(tmp_path, plan)
    renamed: list[str] = []
    plain = Path.replace

    def spy(self: Path, target: Path) -> Path:
        renamed.append(str(target.relative_to(tmp_path / "labels.zarr")))
        assert not target.exists()
        assert self.stat().st_size > 0
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    region = region_at(plane_of(plan), 256, 0)
    stitch.write_region(tmp_path, plan, region, *pixels(plan, region))
    assert renamed == ["confidence/c/0/0", "labels/c/0/0"]


def test_a_region_is_on_the_disk_when_it_is_written(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(256, 256, 256)
    store = stitch.create_label_array(tmp_path, plan)
    synced: list[int] = []
    plain = os.fsync

    def spy(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        plain(handle)

    monkeypatch.setattr(os, "fsync", spy)
    region = region_at(plane_of(plan), 256, 0)
    stitch.write_region(tmp_path, plan, region, *pixels(plan, region))
    for name in ("labels", "confidence"):
        folder = store / name / "c" / "0"
        assert {folder.stat().st_ino, (folder / "0").stat().st_ino} <= set(synced)


def test_a_region_of_background_alone_is_present(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(256, 256, 256)
    stitch.create_label_array(tmp_path, plan)
    region = region_at(plane_of(plan), 256, 0)
    nothing = np.zeros((256, 256), np.uint8)
    stitch.write_region(tmp_path, plan, region, nothing, nothing)
    assert stitch.regions_present(tmp_path, plan) == {0}


def test_a_region_with_one_array_or_a_leftover_of_a_crash_is_not_present(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(512, 512, 256)
    stitch.create_label_array(tmp_path, plan)
    for index in (0, 1):
        region = region_at(plane_of(plan), 256, index)
        stitch.write_region(tmp_path, plan, region, *pixels(plan, region))
    chunks = tmp_path / "labels.zarr" / "labels" / "c" / "0"
    (chunks / "1").rename(chunks / "1.0123456789abcdef.partial")
    assert stitch.regions_present(tmp_path, plan) == {0}


def test_an_interior_map_is_a_third_array_and_a_region_without_it_is_not_present(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(512, 256, 256, objects=ObjectRules(interior=True))
    stitch.create_label_array(tmp_path, plan)
    drawn = []
    for index in (0, 1):
        region = region_at(plane_of(plan), 256, index)
        labels, confidence = pixels(plan, region)
        drawn.append(pixels(plan, region, seed=1)[1])
        stitch.write_region(tmp_path, plan, region, labels, confidence, drawn[-1])
    interior = stitch.open_labels(tmp_path).interior
    assert interior is not None
    np.testing.assert_array_equal(interior[:, :], np.hstack(drawn))
    assert stitch.regions_present(tmp_path, plan) == {0, 1}
    (tmp_path / "labels.zarr" / "interior" / "c" / "0" / "1").unlink()
    assert stitch.regions_present(tmp_path, plan) == {0}


def test_a_plan_without_an_interior_map_takes_none_and_one_with_it_needs_it(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    for interior in (True, False):
        plan = make_plan(256, 256, 256, objects=ObjectRules(interior=interior))
        folder = tmp_path / str(interior)
        folder.mkdir()
        stitch.create_label_array(folder, plan)
        region = region_at(plane_of(plan), 256, 0)
        labels, confidence = pixels(plan, region)
        with pytest.raises(ValueError, match="interior of region 0"):
            stitch.write_region(folder, plan, region, labels, confidence, None if interior else labels)
        assert (stitch.open_labels(folder).interior is not None) == interior
    with pytest.raises(KeyError):
        stitch.create_label_array(folder, make_plan(256, 256, 256, objects=ObjectRules(interior=True)))


def test_creating_twice_keeps_what_is_there(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(300, 256, 256)
    stitch.create_label_array(tmp_path, plan)
    region = region_at(plane_of(plan), 256, 1)
    stitch.write_region(tmp_path, plan, region, *pixels(plan, region))
    assert stitch.create_label_array(tmp_path, plan) == tmp_path / "labels.zarr"
    assert stitch.regions_present(tmp_path, plan) == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]
    with pytest.raises(ValueError, match="the plan wants"):
        stitch.create_label_array(tmp_path, make_plan(301, 256, 256))


def test_the_store_is_zarr_v3_as_others_read_it(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(300, 256, 256)
    group = zarr.open_group(stitch.create_label_array(tmp_path, plan), mode="r")
    for name in ("labels", "confidence"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert array.metadata.zarr_format == 3
        assert (str(array.dtype), array.chunks, array.fill_value) == ("uint8", (256, 256), 0)


def test_what_does_not_fit_the_plan_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(600, 500, 256)
    stitch.create_label_array(tmp_path, plan)
    region = region_at(plane_of(plan), 256, 5)
    labels, confidence = pixels(plan, region)
    with pytest.raises(ValueError, match="labels of region 5"):
        stitch.write_region(tmp_path, plan, region, labels[:-1], confidence)
    with pytest.raises(ValueError, match="confidence of region 5"):
        stitch.write_region(tmp_path, plan, region, labels, confidence.astype(np.float32))
    foreign = region_at(plane_of(plan), 512, 0)
    with pytest.raises(ValueError, match="not the cell"):
        stitch.write_region(tmp_path, plan, foreign, *pixels(plan, foreign))
    assert stitch.regions_present(tmp_path, plan) == frozenset()


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    chunk=st.integers(1, 30),
    block=st.integers(1, 40),
    step=st.sampled_from([1, 2, 4, 8, 64]),
    first=st.integers(0, 4),
    rows=st.integers(1, 120),
)
def test_reading_rows_is_plain_slicing(
    watched: Callable[..., Any], width: int, height: int, chunk: int, block: int, step: int, first: int, rows: int
) -> None:
    plane = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width), dtype=np.uint8)
    w_y0 = min(first * step, (height - 1) // step * step)
    array = watched(plane, chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stitch, "READ_PX", block)
        seen = stitch.read_rows(array, w_y0, w_y0 + rows, step)
    np.testing.assert_array_equal(seen, plane[w_y0 : w_y0 + rows : step, ::step])
    assert max(max(span) for span in array.reads) <= -(-block // chunk) * chunk


@given(width=st.integers(1, 10**6), chunk=st.integers(1, 4096), budget=st.integers(1, 10**8))
def test_a_band_keeps_to_its_budget_and_to_the_chunks(
    watched: Callable[..., Any], width: int, chunk: int, budget: int
) -> None:
    plane = watched(np.broadcast_to(np.uint8(0), (1, width)), chunk)
    rows = stitch.band_height(plane, budget)
    assert rows >= 1
    assert rows * width <= max(budget, width)
    assert rows % chunk == 0 or rows <= chunk
