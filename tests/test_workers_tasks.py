"""The pipeline over a real queue: in this process in burst mode, and in worker processes that are killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import redis
import tifffile
from numpy.typing import NDArray
from rq.timeouts import JobTimeoutException

from workers import stages, stitch, tasks
from workers.core.embedded import EmbeddedRedis
from workers.core.errors import DiskFull
from workers.core.jobs import Jobs
from workers.core.leases import Leases
from workers.core.queue_names import JobKeys
from workers.core.queue_worker import QueueWorker
from workers.core.schemas import FINAL_STATES, JobRequest, JobView, SlideInfo
from workers.core.settings import Settings
from workers.core.slides import open_slide
from workers.core.store import new_id

DEADLINE_S = 40
REGION_PX = 256
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def settings(tmp_path: Path, gateway_queue: str, model_folder: Path) -> Settings:
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    return Settings(
        data_dir=tmp_path / "data",
        models_dir=model_folder.parent,
        redis_url=gateway_queue,
        heartbeat_s=0.2,
        lease_s=1.0,
        task_retries=2,
    )


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    queue = Jobs(settings.redis_url, settings)
    yield queue
    queue.close()


@pytest.fixture
def slide_id(jobs: Jobs, made_slide: Callable[..., Path], stained: NDArray[np.uint8]) -> str:
    """A stored slide: 900 x 1300 px, 24 regions of which the corners are glass."""
    path = made_slide(stained, "original.tif")
    with open_slide(path) as slide, jobs.store.incoming() as folder:
        info = SlideInfo(
            id=new_id(), filename="made.tif", size_bytes=path.stat().st_size, sha256="a" * 64, vendor=slide.vendor,
            backend=slide.backend, geometry=slide.geometry, created_at=datetime.now(UTC),
        )  # fmt: skip
        path.rename(folder / "original.tif")
        jobs.store.commit_slide(info, folder)
    return info.id


@pytest.fixture
def here(settings: Settings, jobs: Jobs, colour: ModuleType) -> tasks.Runtime:
    """This process as a worker."""
    return tasks.configure(settings, Leases(jobs, new_id()), colour.ColourEngine)


@pytest.fixture
def start(settings: Settings, repo_root: Path, tmp_path: Path) -> Iterator[Start]:
    """Start worker processes; none of them outlives the test."""
    names = ("data_dir", "models_dir", "heartbeat_s", "lease_s", "task_retries")
    environment = {f"LDIFFUSION_{name.upper()}": str(getattr(settings, name)) for name in names}
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: object, redis_url: str = settings.redis_url) -> subprocess.Popen[bytes]:
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(repo_root / "tests" / "colour_worker.py"), *map(str, arguments)],
                env=os.environ | environment | {"LDIFFUSION_REDIS_URL": redis_url, "PYTHONPATH": str(repo_root)},
                cwd=tmp_path,
                stderr=log,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def submitted(jobs: Jobs, slide_id: str, **asked: Any) -> str:
    job_id = new_id()
    request = JobRequest(slide_id=slide_id, model="made-model", **{"region_px": REGION_PX, **asked})
    jobs.store.save_request(job_id, request, datetime.now(UTC))
    jobs.submit(job_id, request)
    return job_id


def work(runtime: tasks.Runtime) -> None:
    """Run what is queued, in this process, until the queue is empty."""
    runtime.leases.beat()
    QueueWorker(runtime.leases.jobs, new_id()).run(burst=True)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(jobs: Jobs, job_id: str) -> JobView:
    until(lambda: jobs.view(job_id).state in FINAL_STATES)
    return jobs.view(job_id)


def chunks(jobs: Jobs, job_id: str) -> dict[str, bytes]:
    """Every file of the label array with its bytes."""
    root = jobs.store.job_dir(job_id) / stitch.STORE
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def undisturbed(here: tasks.Runtime, slide_id: str) -> dict[str, bytes]:
    """The label array of a job that nothing went wrong with."""
    jobs = here.leases.jobs
    job_id = submitted(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    return chunks(jobs, job_id)


# --- the straight line ------------------------------------------------------------------------------------------------


def test_a_job_runs_from_slide_to_result(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, stained: NDArray[np.uint8], colour: ModuleType
) -> None:
    job_id = submitted(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert (view.state, view.error) == ("succeeded", None)
    plan = jobs.store.read_plan(job_id)
    assert view.regions_done == view.regions_total == len(plan.regions) < 24
    result = jobs.store.read_result(job_id)
    assert set(result.files) == {*stages.RESULTS, "plan.json", "tissue.png"}
    assert result.timings_s["segment"] > 0
    labels = np.asarray(stitch.open_labels(jobs.store.job_dir(job_id)).labels[:, :])
    tissue = stages.load_tissue(jobs.store.job_dir(job_id))
    assert np.array_equal(labels[300:500, 400:700], colour.label_of(stained)[300:500, 400:700])
    assert tissue.mask.any()
    assert not labels[:40, :40].any()
    assert jobs.redis.keys("rq:job:*") == []
    assert jobs.regions.started_job_registry.get_job_ids() == []


def test_a_region_task_that_runs_twice_leaves_the_same_bytes(here: tasks.Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = submitted(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    index = jobs.store.read_plan(job_id).regions[3]
    tasks.segment_region(job_id, index)
    first = chunks(jobs, job_id)
    jobs.redis.sadd(JobKeys(job_id).todo, index)
    tasks.segment_region(job_id, index)
    assert chunks(jobs, job_id) == first
    assert len(here.engine("made-model").asked) == 2  # type: ignore[attr-defined]


def test_a_plan_task_that_runs_again_keeps_what_landed(here: tasks.Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = submitted(jobs, slide_id)
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


def test_a_slide_of_glass_gets_a_result_without_regions(here: tasks.Runtime, jobs: Jobs, slide_id: str) -> None:
    with open_slide(jobs.store.slide_file(slide_id)) as slide:
        glass = np.full((slide.geometry.l0_height, slide.geometry.l0_width, 3), 243, np.uint8)
    tifffile.imwrite(jobs.store.slide_file(slide_id), glass, photometric="rgb", tile=(256, 256), metadata=None)
    job_id = submitted(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert (view.state, view.regions_total, view.regions_done) == ("succeeded", 0, 0)
    assert (jobs.store.job_dir(job_id) / "overlay.ome.tif").stat().st_size > 0


def test_finish_that_died_before_it_said_so_is_not_done_twice(here: tasks.Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = submitted(jobs, slide_id)
    work(here)
    before = (jobs.store.job_dir(job_id) / "result.json").read_bytes()
    jobs.redis.hset(JobKeys(job_id).record, "state", "finishing")
    here.leases.beat()
    tasks.finish_slide(job_id)
    assert jobs.view(job_id).state == "succeeded"
    assert (jobs.store.job_dir(job_id) / "result.json").read_bytes() == before


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_an_error_of_ours_ends_the_job_at_once(here: tasks.Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = submitted(jobs, slide_id, mpp=40.0)
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "mpp_out_of_range")
    assert jobs.control.failed_job_registry.count == 0
    assert [path.name for path in sorted(jobs.store.job_dir(job_id).iterdir())] == ["ended.json", "job.json"]


def test_a_model_that_changed_after_the_plan_ends_the_job(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, model_folder: Path
) -> None:
    job_id = submitted(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    config = model_folder / "config.json"
    config.write_text(config.read_text().replace("Made for a test", "Made anew"))
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "model_invalid")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (RuntimeError("/secret/path is not for clients"), "internal_error"),
        (JobTimeoutException("too slow"), "job_lost"),
        (OSError(errno.EIO, "bad disk"), "internal_error"),
    ],
)
def test_a_fault_is_tried_again_and_then_ends_the_job_without_a_word_of_it(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    tries = []

    def faulty(*_: object, **__: object) -> float:
        tries.append(1)
        raise fault

    monkeypatch.setattr(stages, "finish_job", faulty)
    job_id = submitted(jobs, slide_id)
    work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", code)
    assert "secret" not in view.model_dump_json()
    assert "Error" not in view.error.message
    assert len(tries) == jobs.settings.task_retries + 1


def test_a_fault_that_passes_is_survived(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, tries = stages.segment_one, []

    def faulty(*arguments: Any) -> float:
        tries.append(1)
        if len(tries) <= 2:
            raise RuntimeError("once in a while")
        return sound(*arguments)

    monkeypatch.setattr(stages, "segment_one", faulty)
    job_id = submitted(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert len(tries) == len(jobs.store.read_plan(job_id).regions) + 2


def test_a_full_disk_has_its_own_code(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> float:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stages, "segment_one", full)
    job_id = submitted(jobs, slide_id)
    work(here)
    error = jobs.view(job_id).error
    assert error is not None
    assert error.code == DiskFull.code


def test_cancel_stops_a_region_between_two_tiles_and_nothing_stays(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(jobs, slide_id, region_px=1024)  # regions of four tiles
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
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(jobs, slide_id)
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


def test_a_task_of_an_unknown_job_is_nothing_to_do(here: tasks.Runtime, jobs: Jobs) -> None:
    entry = jobs.control.enqueue("workers.tasks.plan_slide", new_id(), result_ttl=0)
    jobs.redis.hset(entry.key, "success_callback_name", "no_such_module.anything")  # a name in Redis is not imported
    work(here)
    assert jobs.control.failed_job_registry.count == 0
    assert jobs.redis.keys("rq:job:*") == []


# --- processes --------------------------------------------------------------------------------------------------------


def test_two_workers_make_the_same_bytes(
    jobs: Jobs, slide_id: str, start: Start, undisturbed: dict[str, bytes]
) -> None:
    start(0.05)
    start(0.05)
    until(lambda: jobs.workers() == 2)
    job_id = submitted(jobs, slide_id)
    assert ended(jobs, job_id).state == "succeeded"
    assert chunks(jobs, job_id) == undisturbed


def test_a_killed_worker_does_not_lose_the_job(
    jobs: Jobs, slide_id: str, start: Start, undisturbed: dict[str, bytes]
) -> None:
    job_id = submitted(jobs, slide_id)
    victim = start(0.15)
    seen = 0
    until(lambda: jobs.view(job_id).regions_done >= 2)
    seen = jobs.view(job_id).regions_done
    victim.kill()
    assert jobs.view(job_id).state == "running"
    start(0.0)
    done = [jobs.view(job_id)]
    while done[-1].state not in FINAL_STATES:
        assert len(done) < DEADLINE_S / 0.02
        time.sleep(0.02)
        done.append(jobs.view(job_id))
    assert [view.regions_done for view in done] == sorted(view.regions_done for view in done)
    assert done[0].regions_done >= seen
    assert done[-1].state == "succeeded"
    assert chunks(jobs, job_id) == undisturbed


def test_a_region_that_kills_every_worker_ends_its_job(jobs: Jobs, slide_id: str, start: Start) -> None:
    poisoned = submitted(jobs, slide_id, seed=1)
    deaths = 0
    process = start(0.0, "448,192")  # the tile of the region at (512, 256), with its halo of 64
    deadline = time.monotonic() + DEADLINE_S
    while jobs.view(poisoned).state not in FINAL_STATES:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            deaths += 1
            process = start(0.0, "448,192")
        time.sleep(0.02)
    error = jobs.view(poisoned).error
    assert error is not None
    assert error.code == "job_lost"
    assert deaths == jobs.settings.task_retries + 1
    assert not (jobs.store.job_dir(poisoned) / "plan.json").exists()


def test_sigterm_ends_the_region_at_hand_and_then_the_worker(jobs: Jobs, slide_id: str, start: Start) -> None:
    job_id = submitted(jobs, slide_id)
    process = start(0.5)
    until(lambda: any(name.startswith(b"region") for name in jobs.redis.hkeys(JobKeys(job_id).leases)))
    before = jobs.view(job_id).regions_done
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0
    view = jobs.view(job_id)
    assert (view.state, view.regions_done) == ("running", before + 1)
    assert jobs.redis.hlen(JobKeys(job_id).leases) == 0
    assert jobs.workers() == 0


def test_a_worker_comes_back_after_the_queue_was_away(
    settings: Settings, slide_id: str, start: Start, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "other") as server:
        jobs = Jobs(server.url, settings)
        job_id = submitted(jobs, slide_id)
        process = start(0.1, redis_url=server.url)
        until(lambda: jobs.view(job_id).regions_done >= 2)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        assert ended(jobs, job_id).state == "succeeded"
        assert chunks(jobs, job_id) == undisturbed
        assert process.poll() is None
        jobs.close()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_worker_without_a_queue_says_so_and_ends(start: Start, tmp_path: Path) -> None:
    process = start(0, redis_url=f"unix://{tmp_path}/nobody.sock")
    assert process.wait(DEADLINE_S) == 1
    log = (tmp_path / "worker-0.log").read_text()
    assert "queue_unavailable: The queue does not answer" in log
    assert "Traceback" not in log
