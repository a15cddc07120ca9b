"""Arrays that know their chunks: the same pixels as Zarr reads, and no look where there is none."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import imagecodecs
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.core.schemas import Plan
from workers.pipeline import stitch
from workers.pipeline.sparse import is_empty
from workers.pipeline.tiling import Region, WorkingPlane, region_at

UInt8 = NDArray[np.uint8]
MakePlan = Callable[..., Plan]


def pixels(region: Region) -> UInt8:
    rng = np.random.default_rng(region.index)
    return rng.integers(1, 5, (2, region.height, region.width), dtype=np.uint8)


SPANS = st.tuples(st.integers(0, 120), st.integers(0, 120), st.integers(1, 9))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=SPANS, columns=SPANS, landed=st.sets(st.integers(0, 11)))
def test_an_array_of_few_chunks_is_what_zarr_reads(
    rows: tuple[int, int, int], columns: tuple[int, int, int], landed: set[int], make_plan: MakePlan
) -> None:
    plan = make_plan(110, 75, 30)
    key = tuple(slice(*span) for span in (rows, columns))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stitch.create_label_array(folder, plan)
        for index in landed:
            region = region_at(WorkingPlane.from_plan(plan), 30, index)
            stitch.write_region(folder, plan, region, *pixels(region))
        sparse, plain = stitch.open_labels(folder).labels, zarr.open_array(folder / "labels.zarr" / "labels", mode="r")
        np.testing.assert_array_equal(sparse[key], plain[key])
        np.testing.assert_array_equal(stitch.read_rows(sparse, 0, 75), plain[:, :])
        known = is_empty(sparse, rows[:2], columns[:2])
        assert known <= (not np.asarray(plain[rows[0] : rows[1], columns[0] : columns[1]]).any())


def test_where_no_chunk_is_nothing_is_read(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(110, 75, 30)
    stitch.create_label_array(tmp_path, plan)
    region = region_at(WorkingPlane.from_plan(plan), 30, 5)
    stitch.write_region(tmp_path, plan, region, *pixels(region))
    labels = stitch.open_labels(tmp_path).labels
    read, looked = Path.read_bytes, Mock()

    def counted(path: Path) -> bytes:
        looked()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert not labels[0:30, 0:110].any()
    assert not labels[60:75, 30:60].any()
    assert looked.call_count == 0
    assert labels[29:31, 59:61].any()
    assert looked.call_count == 1


def test_a_chunk_that_is_too_short_is_no_answer(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(110, 75, 30)
    stitch.create_label_array(tmp_path, plan)
    region = region_at(WorkingPlane.from_plan(plan), 30, 5)
    stitch.write_region(tmp_path, plan, region, *pixels(region))
    labels = stitch.open_labels(tmp_path).labels
    (tmp_path / "labels.zarr" / "labels" / "c" / str(region.row) / str(region.col)).write_bytes(
        imagecodecs.zstd_encode(bytes(10))
    )
    for columns in (slice(region.w_x0, region.w_x1), slice(0, 110)):
        with pytest.raises(ValueError, match="holds 10 bytes"):
            labels[region.w_y0 : region.w_y1, columns]
