"""What is known of a job before it runs, against counting by hand and against the planner."""

import itertools
from math import floor
from pathlib import Path
from typing import Any

import pytest

from workers.core.errors.base import DiskFull, MppMissing
from workers.core.errors.jobs import JobTooLarge, RoiOutside
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import ModelCard
from workers.core.roi.polygons import Polygon
from workers.core.schemas import JobRequest
from workers.core.sizing import preflight as module
from workers.core.sizing.preflight import NO_GPU, Crew, preflight, require_disk
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.pipeline.roi import RoiMask
from workers.pipeline.tiling import Box, WorkingPlane, regions


def geometry(width: int = 3000, height: int = 2000, mpp: float | None = 0.25) -> SlideGeometry:
    level = SlideLevel(width=width, height=height, downsample=1)
    return SlideGeometry(l0_width=width, l0_height=height, mpp_x=mpp, mpp_y=mpp, levels=(level,))


@pytest.fixture
def card(model_folder: Path) -> ModelCard:
    card = find_model(model_folder.parent, model_folder.name)  # 0.5 µm/px
    return card.model_copy(update={"tile_px": 512})


def asked(**fields: Any) -> JobRequest:
    return JobRequest(slide_id="s", model="made-model", **fields)


def no_rate(_tile_px: int) -> None:
    """Nothing was measured yet."""


def test_a_whole_slide_is_its_grid(card: ModelCard) -> None:
    found = preflight(geometry(), asked(region_px=1024), card, no_rate, Crew(3))
    assert (found.regions_max, found.tiles_max, found.estimated_s) == (2, 6, None)  # 1500 x 1000 working px


@pytest.mark.parametrize(("asked_px", "used_px"), [(None, 512), (256, 512), (512, 512), (768, 1024), (8192, 8192)])
def test_a_region_is_whole_tiles(card: ModelCard, asked_px: int | None, used_px: int) -> None:
    found = preflight(geometry(), asked(region_px=asked_px), card, no_rate, Crew())
    assert found.region_px == used_px
    assert found == preflight(geometry(), asked(region_px=used_px), card, no_rate, Crew())


def test_time_is_the_measured_rate_over_the_workers(card: ModelCard) -> None:
    assert preflight(geometry(), asked(), card, {512: 2.5}.get, Crew(2)).estimated_s == 7.5
    assert preflight(geometry(), asked(), card, {512: 2.5}.get, Crew(0)).estimated_s == 15.0


def test_a_heavy_job_is_told_of_where_no_gpu_is(card: ModelCard) -> None:
    heavy = card.model_copy(update={"heavy": True})
    told = [
        preflight(geometry(), asked(), each, no_rate, Crew(has_gpu=has_gpu)).notice
        for each in (heavy, card)
        for has_gpu in (False, True)
    ]
    assert told == [NO_GPU, None, None, None]


@pytest.mark.parametrize(
    "roi",
    [
        [0, 0, 1, 1],
        [1000, 1000, 1100, 1100],
        [1023, 1023, 1025, 1025],
        [-500, -500, 9999, 700],
        {"type": "MultiPolygon", "coordinates": [
            [[[100, 100], [300, 100], [200, 300], [100, 100]]],
            [[[2500, 1500], [2900, 1500], [2700, 1900], [2500, 1500]]],
        ]},
    ],
)  # fmt: skip
def test_a_region_of_interest_counts_no_fewer_cells_than_it_touches(card: ModelCard, roi: Any) -> None:
    request = asked(roi=roi, region_px=512)
    plane = WorkingPlane.from_geometry(geometry(), card.mpp, None)
    assert request.roi is not None
    mask = RoiMask.from_roi(request.roi)
    touched = sum(mask.crop(Box(r.w_x0, r.w_y0, r.width, r.height), plane).any() for r in regions(plane, 512))
    found = preflight(geometry(), request, card, no_rate, Crew())
    assert touched <= found.regions_max <= 6
    if isinstance(roi, list):
        x0, y0, x1, y1 = (max(0, min(number, size)) / 2 for number, size in zip(roi, (3000, 2000) * 2, strict=True))
        cells = [range(floor(low / 512), floor((high - 0.001) / 512) + 1) for low, high in ((x0, x1), (y0, y1))]
        assert found.regions_max == len(list(itertools.product(*cells)))


def test_what_lies_beside_the_slide_is_refused(card: ModelCard) -> None:
    for roi in ([3000, 0, 3100, 10], [-50, -50, 0, 0]):
        with pytest.raises(RoiOutside) as refusal:
            preflight(geometry(), asked(roi=roi), card, no_rate, Crew())
        assert "(3000, 2000)" in str(refusal.value.accepted)
    with pytest.raises(MppMissing):
        preflight(geometry(mpp=None), asked(), card, no_rate, Crew())
    assert Polygon(coordinates=(((0, 0), (1, 0), (1, 1), (0, 0)),)).polygons


def test_a_job_that_no_worker_has_room_for_is_refused(card: ModelCard) -> None:
    small, large = (preflight(geometry(), asked(region_px=side), card, no_rate, Crew()) for side in (512, 8192))
    assert large.estimated_peak_bytes - small.estimated_peak_bytes == 4 * (1500 * 1000 - 512**2)
    least = preflight(geometry(), asked(), card, no_rate, Crew(1, small.estimated_peak_bytes - 1))
    assert (small.tile_px, least.tile_px, least.region_px, least.tiles_max) == (512, 256, 512, 24)
    with pytest.raises(JobTooLarge) as refusal:
        preflight(geometry(), asked(), card, no_rate, Crew(1, least.estimated_peak_bytes - 2**20))
    assert refusal.value.value == f"{-(-least.estimated_peak_bytes // 2**20)} MiB"
    assert refusal.value.accepted == f"at most {least.estimated_peak_bytes // 2**20 - 1} MiB, the memory of a worker"


def test_the_disk_that_results_take_grows_with_what_is_asked_for(card: ModelCard) -> None:
    whole = preflight(geometry(), asked(), card, no_rate, Crew()).estimated_disk_bytes  # 1500 x 1000 working px
    part = preflight(
        geometry(), asked(roi=[0, 0, 100, 100]), card, no_rate, Crew()
    ).estimated_disk_bytes  # a region of 512²
    assert whole is not None
    assert part is not None
    rate = module.DISK_BYTES_PER_PX + sum(module.OUTPUT_BYTES_PER_PX.values())
    assert whole - part == pytest.approx(rate * (1500 * 1000 - 512**2), abs=1)
    require_disk(whole, whole)
    with pytest.raises(DiskFull, match="results"):
        require_disk(whole, whole - 1)
