"""What is told of the coarse preview of a job that runs: null where regions have landed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from server.results.coarse import coarse_of
from workers.core.errors.base import JobNotFound
from workers.core.objects.coarse import COARSE, CoarsePreview, ExpectedShare
from workers.core.schemas import Plan
from workers.core.storage.files import write_json
from workers.core.store import Store, new_id
from workers.pipeline import stitch
from workers.pipeline.tiling import WorkingPlane, region_at

MakePlan = Callable[..., Plan]
JOB = new_id()


def test_a_cell_is_null_once_its_regions_have_landed(make_plan: MakePlan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.job_dir(JOB)
    folder.mkdir(parents=True)
    plan = make_plan(400, 300, 100, mpp_x=0.25, mpp_y=0.25, regions=(0, 1, 4, 5, 6, 11))  # 4 x 3 regions
    stitch.create_label_array(folder, plan)
    write_json(folder / "plan.json", plan)
    assert coarse_of(store, JOB) is None
    share = (0.5,) * 4
    classes = (ExpectedShare(index=1, name="nucleus", share=share),)
    made = CoarsePreview(  # cells of 200 working px: two by two regions; the last row ends beside the slide
        cell_px=(400, 400), columns=2, rows=2, samples=9, samples_mm2=1, classes=classes, per_mm2=(1, 2, 3, 4)
    )
    write_json(folder / COARSE, made)

    def shown() -> tuple[float | None, ...] | None:
        told = coarse_of(store, JOB)
        assert told is not None
        assert told.per_mm2 is not None
        assert [value is None for value in told.classes[0].share] == [value is None for value in told.per_mm2]
        return told.per_mm2

    def land(*indices: int) -> None:
        for index in indices:
            region = region_at(WorkingPlane.from_plan(plan), 100, index)
            stitch.write_region(folder, plan, region, *np.zeros((2, region.height, region.width), np.uint8))

    assert shown() == (1, 2, None, 4)  # no region was planned below on the left
    land(0, 1, 4)
    assert shown() == (1, 2, None, 4)
    land(5)
    assert shown() == (None, 2, None, 4)
    land(6, 11)
    assert shown() == (None, None, None, None)


def test_a_job_that_is_none_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        coarse_of(Store(tmp_path), JOB)
