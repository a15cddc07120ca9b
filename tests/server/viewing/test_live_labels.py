"""What has landed of a job that runs: the same tiles as the finished job's, whatever is missing."""

import dataclasses
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from deepzoom_levels import level_of, overlay_tiles, top_of
from fiducials import MARKS, Finished, found_boxes
from numpy.typing import NDArray
from PIL import Image

from server.viewing import live_labels
from server.viewing.label_tiles import LabelPyramid
from server.viewing.live_labels import LiveLabels
from workers.core.errors.base import ResultNotFound
from workers.core.label_layout import STORE, chunk_path
from workers.core.schemas import Plan
from workers.core.settings import Settings
from workers.core.storage.files import write_json
from workers.outputs.levels import Levels
from workers.outputs.pyramid import write_labels
from workers.pipeline import stitch
from workers.pipeline.tiling import WorkingPlane, region_at

MakePlan = Callable[..., Plan]
REGION_PX = 256
RED = (200, 0, 0, 255)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for landed regions at every tile."""
    monkeypatch.setattr(live_labels, "LOOK_S", 0.0)


def planned(folder: Path, plan: Plan) -> Plan:
    stitch.create_label_array(folder, plan)
    write_json(folder / "plan.json", plan)
    return plan


def land(folder: Path, plan: Plan, index: int) -> None:
    region = region_at(WorkingPlane.from_plan(plan), plan.region_px, index)
    rng = np.random.default_rng(index)
    blocks = rng.choice(np.array([0, 1, 2, 4], np.uint8), (region.height // 8 + 1, region.width // 8 + 1))
    labels = np.kron(blocks, np.ones((8, 8), np.uint8))[: region.height, : region.width]
    stitch.write_region(folder, plan, region, np.ascontiguousarray(labels), np.zeros_like(labels))


def every_tile(labels: LiveLabels | LabelPyramid) -> Iterator[tuple[tuple[int, int, int], NDArray[np.uint8]]]:
    for level in range(labels.grid.top + 1):
        width, height = labels.grid.size(level)
        for row in range(-(-height // labels.grid.tile_px)):
            for col in range(-(-width // labels.grid.tile_px)):
                yield (level, col, row), labels.tile(level, col, row)


@pytest.mark.parametrize(
    ("shape", "overview_px"),
    [
        ({"w_width": 900, "w_height": 700, "region_px": REGION_PX}, 2**21),
        ({"w_width": 411, "w_height": 530, "mpp_x": 0.23, "mpp_y": 0.27, "region_px": REGION_PX}, 2**18),
        ({"w_width": 2100, "w_height": 300, "region_px": 75}, 2**18),  # no multiple of the steps of all levels
    ],
)
def test_tiles_are_those_of_the_finished_job_made_of_the_same_regions(
    make_plan: MakePlan,
    tmp_path: Path,
    no_pause: None,
    monkeypatch: pytest.MonkeyPatch,
    shape: dict[str, Any],
    overview_px: int,
) -> None:
    monkeypatch.setattr(live_labels, "OVERVIEW_PX", overview_px)
    plan = planned(tmp_path, make_plan(**shape))
    live = LiveLabels(tmp_path, plan)
    for landed in ((), (5, 2), (0, 1, 3)):  # the overview grows
        for index in landed:
            land(tmp_path, plan, index)
        with Levels(stitch.open_labels(tmp_path).labels, tmp_path) as levels:
            write_labels(tmp_path / "labels.ome.tif", levels, plan)
        expected = dict(every_tile(LabelPyramid(tmp_path / "labels.ome.tif", plan)))
        for address, tile in every_tile(live):
            assert np.array_equal(tile, expected[address]), address
    assert any(tile.any() for tile in expected.values())


def test_one_look_takes_in_only_so_much_and_the_next_one_goes_on(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_labels, "FOLD_PX", 2 * REGION_PX**2)
    plan = planned(tmp_path, make_plan(900, 700, region_px=REGION_PX))
    for index in range(5):
        land(tmp_path, plan, index)
    live = LiveLabels(tmp_path, plan)
    shares = []
    for _ in range(4):
        live.tile(0, 0, 0)
        shares.append(np.count_nonzero(live._overview))
    assert 0 < shares[0] < shares[1] < shares[2] == shares[3]


def test_what_is_held_of_a_large_job_is_small(make_plan: MakePlan, tmp_path: Path) -> None:
    live = LiveLabels(tmp_path, make_plan(100_000, 80_000))
    assert 0 < live._overview.size <= live_labels.OVERVIEW_PX
    with pytest.raises(ResultNotFound):
        live.tile(live.grid.top + 1, 0, 0)


# --- over HTTP --------------------------------------------------------------------------------------------------------


ON_BOUNDED = pytest.mark.parametrize("job", ["bounded"], indirect=True)


@pytest.fixture
def landing(job: Finished, tmp_path: Path) -> Finished:
    """The job before its regions have landed."""
    store = type(job.store)(tmp_path / "data")
    shutil.copytree(job.store.slide_dir(job.info.id), store.slide_dir(job.info.id))
    request = job.store.read_request(job.job_id)
    store.save_request(job.job_id, request.request, request.created_at)
    planned(store.job_dir(job.job_id), job.plan)
    return dataclasses.replace(job, store=store)


@pytest.fixture
def client(landing: Finished, gateway_settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": landing.store.root})
    with gateway_with(settings) as url, httpx.Client(base_url=f"{url}/v1/", timeout=60, trust_env=False) as client:
        yield client


def take_over(job: Finished, landing: Finished, row: int, col: int) -> None:
    for name in ("labels", "confidence"):
        source, target = (chunk_path(each.folder, name, row, col) for each in (job, landing))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():  # a chunk of background is not there
            shutil.copyfile(source, target)


def test_all_that_has_landed_lies_where_the_marks_are(client: httpx.Client, job: Finished, landing: Finished) -> None:
    region_px = job.plan.region_px
    for row in range(-(-job.plan.w_height // region_px)):
        for col in range(-(-job.plan.w_width // region_px)):
            take_over(job, landing, row, col)
    for below in (0, 2):
        pixels = level_of(client, job, overlay_tiles(job, "live"), top_of(job) - below)
        present = pixels[..., 3] > 0
        assert (pixels[present] == RED).all()
        px = 2**below
        job.assert_marks(found_boxes(present, (px, px)), max(job.slack, px if below else 0))


@ON_BOUNDED
def test_a_tile_shows_a_region_once_it_has_landed(
    client: httpx.Client, job: Finished, landing: Finished, no_pause: None
) -> None:
    assert 'Width="2304"' in client.get(f"jobs/{job.job_id}/live.dzi").text
    address = f"jobs/{job.job_id}/live_files/12/3_2.png"  # level-0 px 768, 512: the first mark
    before = client.get(address)
    assert (before.status_code, before.headers["cache-control"]) == (200, "private, no-cache")
    held = {"if-none-match": before.headers["etag"]}
    assert client.get(address, headers=held).status_code == 304
    take_over(job, landing, 0, 0)
    after = client.get(address, headers=held)
    assert (after.status_code, after.headers["content-type"]) == (200, "image/png")
    tiles = [np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA")) for answer in (before, after)]
    assert not tiles[0][..., 3].any()
    mark = MARKS[0]
    assert (tiles[1][: mark.height, : mark.width] == RED).all()
    assert np.count_nonzero(tiles[1][..., 3]) == mark.width * mark.height


@ON_BOUNDED
def test_coarse_tiles_grow_too(client: httpx.Client, job: Finished, landing: Finished, no_pause: None) -> None:
    address = f"jobs/{job.job_id}/live_files/8/0_0.png"
    empty = client.get(address).content
    take_over(job, landing, 0, 0)
    some = client.get(address).content
    take_over(job, landing, 1, 1)
    more = client.get(address).content
    counts = [
        np.count_nonzero(np.asarray(Image.open(io.BytesIO(each)).convert("RGBA"))) for each in (empty, some, more)
    ]
    assert counts[0] == 0 < counts[1] < counts[2]


@ON_BOUNDED
def test_a_job_that_has_no_results_has_no_live_tiles(
    client: httpx.Client, job: Finished, landing: Finished, no_pause: None
) -> None:
    base = f"jobs/{job.job_id}/"
    take_over(job, landing, 0, 0)
    assert client.get(f"{base}live_files/8/0_0.png").status_code == 200
    shutil.rmtree(landing.folder / STORE)  # as it is when the job was canceled
    (landing.folder / "plan.json").unlink()
    for address in ("live.dzi", "live_files/8/0_0.png"):
        answer = client.get(base + address)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "result_not_ready")


@ON_BOUNDED
@pytest.mark.parametrize("part", ["13/0_0", "12/9_0", "0/1_0"])
def test_tiles_that_are_none_are_not_found(client: httpx.Client, job: Finished, part: str) -> None:
    assert client.get(f"jobs/{job.job_id}/live_files/{part}.png").status_code == 404
