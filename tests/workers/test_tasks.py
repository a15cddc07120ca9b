"""The tasks over a real queue, run in this process until it is empty."""

import errno
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from pipeline_fixtures import REGION_PX, asked_for, chunks, work
from rq.timeouts import JobTimeoutException

from server.jobs.batch_records import BatchRequest
from server.jobs.batches import Batches
from server.jobs.submission import Requester
from workers import stages, tasks
from workers.core.errors.base import DiskFull
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys
from workers.core.slides.readers.registry import open_slide
from workers.core.store import new_id
from workers.masks import load_tissue
from workers.pipeline import stitch
from workers.runtime import Runtime


@pytest.fixture
def lease_s() -> float:
    return 1.5


# --- the straight line ------------------------------------------------------------------------------------------------


def test_a_job_runs_from_slide_to_result(
    here: Runtime, jobs: Jobs, slide_id: str, stained: NDArray[np.uint8], colour: ModuleType
) -> None:
    job_id = asked_for(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert (view.state, view.error) == ("succeeded", None)
    plan = jobs.store.read_plan(job_id)
    assert view.regions_done == view.regions_total == len(plan.regions) < 24
    result = jobs.store.read_result(job_id)
    assert set(result.files) == {*stages.RESULTS, "plan.json", "tissue.png", "quality.png"}
    assert result.timings_s["segment"] > 0
    labels = np.asarray(stitch.open_labels(jobs.store.job_dir(job_id)).labels[:, :])
    tissue = load_tissue(jobs.store.job_dir(job_id))
    assert np.array_equal(labels[300:500, 400:700], colour.label_of(stained)[300:500, 400:700])
    assert tissue.mask.any()
    assert not labels[:40, :40].any()
    assert jobs.redis.keys("rq:job:*") == []
    assert jobs.regions.started_job_registry.get_job_ids() == []


def test_a_region_task_that_runs_twice_leaves_the_same_bytes(here: Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = asked_for(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    index = jobs.store.read_plan(job_id).regions[3]
    tasks.segment_region(job_id, index)
    first = chunks(jobs, job_id)
    jobs.redis.sadd(JobKeys(job_id).todo, index)
    tasks.segment_region(job_id, index)
    assert chunks(jobs, job_id) == first
    assert len(here.engine("made-model").asked) == 2  # type: ignore[attr-defined]


def test_a_plan_task_that_runs_again_keeps_what_landed(here: Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = asked_for(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    plan = jobs.store.read_plan(job_id)
    for index in plan.regions[:2]:
        tasks.segment_region(job_id, index)
    landed = chunks(jobs, job_id)
    jobs.redis.flushall()  # an older state of Redis is restored
    here.leases.beat()
    jobs.submit(job_id, jobs.store.read_request(job_id).request)
    tasks.plan_slide(job_id)
    assert chunks(jobs, job_id) == landed
    assert (jobs.view(job_id).regions_done, jobs.view(job_id).regions_total) == (2, len(plan.regions))
    work(here)
    assert jobs.view(job_id).state == "succeeded"


def test_a_slide_of_glass_gets_a_result_without_regions(here: Runtime, jobs: Jobs, slide_id: str) -> None:
    with open_slide(jobs.store.slide_file(slide_id)) as slide:
        glass = np.full((slide.geometry.l0_height, slide.geometry.l0_width, 3), 243, np.uint8)
    tifffile.imwrite(jobs.store.slide_file(slide_id), glass, photometric="rgb", tile=(256, 256), metadata=None)
    job_id = asked_for(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert (view.state, view.regions_total, view.regions_done) == ("succeeded", 0, 0)
    assert (jobs.store.job_dir(job_id) / "overlay.ome.tif").stat().st_size > 0


def test_finish_that_died_before_it_said_so_is_not_done_twice(here: Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = asked_for(jobs, slide_id)
    work(here)
    before = (jobs.store.job_dir(job_id) / "result.json").read_bytes()
    jobs.redis.hset(JobKeys(job_id).record, "state", "finishing")
    here.leases.beat()
    tasks.finish_slide(job_id)
    assert jobs.view(job_id).state == "succeeded"
    assert (jobs.store.job_dir(job_id) / "result.json").read_bytes() == before


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_of_ours_ends_the_job_at_once(here: Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = asked_for(jobs, slide_id, mpp=40.0)
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "mpp_out_of_range")
    assert jobs.control.failed_job_registry.count == 0
    assert [path.name for path in sorted(jobs.store.job_dir(job_id).iterdir())] == ["ended.json", "job.json"]


def test_a_model_that_changed_after_the_plan_ends_the_job(
    here: Runtime, jobs: Jobs, slide_id: str, model_folder: Path
) -> None:
    job_id = asked_for(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    config = model_folder / "config.json"
    config.write_text(config.read_text().replace('"halo_px": 64', '"halo_px": 32'))
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "model_invalid")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (RuntimeError("/secret/path is not for clients"), "internal_error"),
        (JobTimeoutException("too slow"), "job_lost"),
        (OSError(errno.EIO, "bad disk"), "storage_fault"),
        (OSError(errno.EROFS, "read-only"), "storage_fault"),
    ],
)
def test_a_fault_is_tried_again_and_then_ends_the_job_without_a_word_of_it(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    tries = []

    def faulty(*_: object, **__: object) -> float:
        tries.append(1)
        raise fault

    monkeypatch.setattr(stages, "finish_job", faulty)
    monkeypatch.setattr(tasks, "FAULT_PAUSE_S", 0.0)
    job_id = asked_for(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", code)
    assert "secret" not in view.model_dump_json()
    assert "Error" not in view.error.message
    assert len(tries) == jobs.settings.task_retries + 1


def test_a_fault_that_passes_is_survived(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, tries = stages.segment_one, []

    def faulty(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) <= 2:
            raise RuntimeError("once in a while")
        return sound(*arguments)

    monkeypatch.setattr(stages, "segment_one", faulty)
    job_id = asked_for(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert len(tries) == len(jobs.store.read_plan(job_id).regions) + 2


def test_a_full_disk_has_its_own_code(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stages, "segment_one", full)
    job_id = asked_for(jobs, slide_id)
    work(here)
    error = jobs.view(job_id).error
    assert error is not None
    assert error.code == DiskFull.code


def test_no_memory_has_its_own_code_and_is_not_tried_again(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def full(*_: object) -> float:
        tries.append(1)
        raise MemoryError

    monkeypatch.setattr(stages, "segment_one", full)
    job_id = asked_for(jobs, slide_id)
    work(here)
    error = jobs.view(job_id).error
    assert error is not None
    assert (error.code, len(tries)) == ("out_of_memory", 1)


def damaged_copy(jobs: Jobs, slide_id: str, pixels: NDArray[np.uint8]) -> str:
    """Store the slide once more, with zeros where the JPEG stream of a tile should be: seen by who reads it."""
    info = jobs.store.read_slide(slide_id).model_copy(update={"id": new_id()})
    with jobs.store.incoming() as folder:
        path = folder / "original.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", compression="jpeg", tile=(256, 256), metadata=None)
        with tifffile.TiffFile(path) as tiff, path.open("r+b") as file:
            place, size = tiff.pages.first.dataoffsets[8], tiff.pages.first.databytecounts[8]
            file.seek(place)
            file.write(bytes(size))
        jobs.store.commit_slide(info, folder)
    return info.id


def test_a_slide_of_a_batch_that_turns_out_to_be_damaged_fails_alone(
    here: Runtime, jobs: Jobs, slide_id: str, stained: NDArray[np.uint8]
) -> None:
    bad = damaged_copy(jobs, slide_id, stained)
    here.leases.beat()
    batches = Batches(jobs)
    asked = BatchRequest(slide_ids=(bad, slide_id), model="made-model", region_px=REGION_PX)
    batch_id = batches.make(asked, Requester()).id
    work(here)
    batch = batches.view(batch_id)
    assert [(item.slide_id, item.state) for item in batch.items] == [(bad, "failed"), (slide_id, "succeeded")]
    assert (batch.counts, batch.done) == ({"failed": 1, "succeeded": 1}, True)
    assert batch.items[0].job_id is not None
    error = jobs.view(batch.items[0].job_id).error
    assert error is not None
    assert error.code == "slide_unreadable"


def test_cancel_stops_a_region_between_two_tiles_and_nothing_stays(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = asked_for(jobs, slide_id, region_px=1024)  # regions of four tiles
    engine = here.engine("made-model")
    answer = engine.predict

    def predict(*arguments: Any) -> Any:
        if len(engine.asked) == 1:  # type: ignore[attr-defined]
            jobs.cancel(job_id)
        return answer(*arguments)

    monkeypatch.setattr(engine, "predict", predict)
    work(here)
    assert jobs.view(job_id).state == "canceled"
    assert len(engine.asked) == 2  # type: ignore[attr-defined]
    assert [path.name for path in sorted(jobs.store.job_dir(job_id).iterdir())] == ["ended.json", "job.json"]


def test_cancel_while_outputs_are_made_leaves_no_result(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = asked_for(jobs, slide_id)
    sound = stages.finish_job

    def finish(*arguments: Any, **named: Any) -> Any:
        result = sound(*arguments, **named)
        jobs.cancel(job_id)  # the last moment there is: result.json is there, the queue does not know
        (jobs.store.job_dir(job_id) / "result.json").write_text(result.model_dump_json())
        return result

    monkeypatch.setattr(stages, "finish_job", finish)
    work(here)
    assert jobs.view(job_id).state == "canceled"
    assert not (jobs.store.job_dir(job_id) / "result.json").exists()


def test_a_task_of_an_unknown_job_is_nothing_to_do(here: Runtime, jobs: Jobs) -> None:
    entry = jobs.control.enqueue("workers.tasks.plan_slide", new_id(), result_ttl=0)
    jobs.redis.hset(entry.key, "success_callback_name", "no_such_module.anything")  # a name in Redis is not imported
    work(here)
    assert jobs.control.failed_job_registry.count == 0
    assert jobs.redis.keys("rq:job:*") == []
