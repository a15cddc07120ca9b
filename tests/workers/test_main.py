"""Worker processes: several, killed, told to stop, without a queue."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acting_reader import ACT
from pipeline_fixtures import Start, asked_for, chunks, ended
from queue_fixtures import DEADLINE_S, begun, drain, entries, running, until
from queue_fixtures import worker as leases_of

from server.process.children import module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from workers import __main__ as worker
from workers import tasks
from workers.core.errors.base import QueueUnavailable
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.leases import Leases
from workers.core.queue.worker import QueueWorker
from workers.core.schemas import FINAL_STATES
from workers.core.settings import Settings
from workers.core.store import new_id
from workers.process.watchdog import EXIT_STATUS


@pytest.fixture
def lease_s() -> float:
    return 1.5


@pytest.fixture
def read_timeout_s() -> float:
    return 60.0


@pytest.fixture
def worker_memory() -> int:
    return 0


@pytest.fixture
def queue_settings(queue_settings: Settings, read_timeout_s: float, worker_memory: int) -> Settings:
    """Limits that a task can reach while a test waits; where this process is a worker too, it has none of memory."""
    return queue_settings.model_copy(update={"read_timeout_s": read_timeout_s, "worker_memory": worker_memory})


def test_two_workers_make_the_same_bytes(
    jobs: Jobs, slide_id: str, start: Start, undisturbed: dict[str, bytes]
) -> None:
    start(0.05)
    start(0.05)
    until(lambda: jobs.workers() == 2)
    job_id = asked_for(jobs, slide_id)
    assert ended(jobs, job_id).state == "succeeded"
    assert chunks(jobs, job_id) == undisturbed


def test_a_killed_worker_does_not_lose_the_job(
    jobs: Jobs, slide_id: str, start: Start, undisturbed: dict[str, bytes]
) -> None:
    job_id = asked_for(jobs, slide_id)
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
    poisoned = asked_for(jobs, slide_id, seed=1)
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
    until(lambda: not (jobs.store.job_dir(poisoned) / "plan.json").exists())


def acting(jobs: Jobs, slide_id: str, word: str, place: str = "512 512") -> str:
    """Store the slide once more; who reads the block at this place of it does what the word says."""
    info = jobs.store.read_slide(slide_id).model_copy(update={"id": new_id()})
    with jobs.store.incoming() as folder:
        shutil.copy(jobs.store.slide_file(slide_id), folder / "original.tif")
        (folder / ACT).write_text(f"{word} {place}")
        jobs.store.commit_slide(info, folder)
    return info.id


@pytest.mark.parametrize("read_timeout_s", [2.0])
@pytest.mark.parametrize(("word", "code"), [("crash", "slide_reader_failed"), ("hang", "slide_read_timeout")])
def test_a_reader_that_goes_wrong_costs_its_job_and_not_the_worker_with_its_model(
    jobs: Jobs, slide_id: str, start: Start, tmp_path: Path, word: str, code: str
) -> None:
    bad = acting(jobs, slide_id, word)
    process = start(0, "act")
    view = ended(jobs, asked_for(jobs, bad))
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", code)
    assert view.error.value == f"{bad}: level 0 at (512, 512), 256 x 256 px"
    assert ended(jobs, asked_for(jobs, slide_id)).state == "succeeded"
    assert process.poll() is None
    assert (tmp_path / "worker-0.log").read_text().count("model made-model loaded") == 1
    assert not list(jobs.store.job_dir(view.id).glob("plan.json"))


def test_a_job_that_puts_up_with_bad_tiles_says_where_its_reader_crashed(
    jobs: Jobs, slide_id: str, start: Start
) -> None:
    start(0, "act")
    job_id = asked_for(jobs, acting(jobs, slide_id, "crash"), on_bad_tile="mask")
    assert ended(jobs, job_id).state == "succeeded"
    assert [(each.l0_x, each.l0_y) for each in jobs.store.read_result(job_id).bad_tiles] == [(512, 512)]


def test_a_cancel_frees_the_worker_also_from_a_read_that_never_returns(jobs: Jobs, slide_id: str, start: Start) -> None:
    copy = acting(jobs, slide_id, "hang", "nowhere")
    job_id = asked_for(jobs, copy)
    process = start(0.2, "act")
    until(lambda: jobs.view(job_id).regions_done > 0)
    (jobs.store.slide_dir(copy) / ACT).write_text("hang 512 768")
    time.sleep(3)  # now it hangs, in the thread that reads ahead
    assert jobs.view(job_id).state == "running"
    assert jobs.cancel(job_id).state == "canceled"
    assert ended(jobs, asked_for(jobs, slide_id)).state == "succeeded"
    view = jobs.view(job_id)
    assert (view.state, view.error) == ("canceled", None)
    assert process.poll() is None


@pytest.mark.parametrize("worker_memory", [2**30])
def test_a_task_that_takes_too_much_memory_is_named_and_not_tried_again(
    jobs: Jobs, slide_id: str, start: Start
) -> None:
    job_id = asked_for(jobs, slide_id)
    assert start(0, "hoard").wait(DEADLINE_S) == EXIT_STATUS
    view = jobs.view(job_id)
    assert view.state == "failed"
    assert view.error is not None
    assert view.error.code == "out_of_memory"
    assert "region_px" in view.error.message
    assert view.error.accepted == "at most 1024 MiB"


def test_sigterm_ends_the_region_at_hand_and_then_the_worker(jobs: Jobs, slide_id: str, start: Start) -> None:
    job_id = asked_for(jobs, slide_id)
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
    queue_settings: Settings, slide_id: str, start: Start, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "other") as server:
        jobs = Jobs(server.url, queue_settings)
        job_id = asked_for(jobs, slide_id)
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


def test_the_supervisor_is_told_each_id_under_which_a_task_was_taken_once(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, write_end = os.pipe()
    monkeypatch.setenv("LDIFFUSION_REDIS_URL", jobs.settings.redis_url)
    seen: list[bytes] = []

    def work(_settings: Settings, _jobs: Jobs, on_task: Callable[[str], None]) -> None:
        os.set_blocking(told, False)
        with pytest.raises(BlockingIOError):
            os.read(told, 99)
        for letter in "wwv":  # the queue was away, and the worker came back under another id
            jobs.control.enqueue("workers.tasks.finish_slide", new_id(), result_ttl=0)
            QueueWorker(jobs, letter * 32, on_task).run(burst=True)
        seen.append(os.read(told, 99))

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr(tasks, "finish_slide", lambda _: None)
    assert worker.main(["--tell-fd", str(write_end)]) == 0
    assert seen == [b"w" * 32 + b"v" * 32]
    os.close(told)
    os.close(write_end)


def test_what_a_dead_worker_held_is_queued_before_this_one_loads_torch(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = running(jobs, 1)
    dead = leases_of(jobs)
    begun(dead, Task(job_id, "region", 0))
    dead.retire()
    drain(jobs)
    seen: list[object] = []

    def load(_settings: Settings, leases: Leases) -> None:
        seen.extend((entries(jobs), jobs.workers()))
        raise QueueUnavailable("enough")

    monkeypatch.setattr(worker, "_loaded", load)
    assert not worker.work_once(jobs.settings, Leases(jobs, new_id()), lambda _: None, [])
    assert seen == [[("segment_region", [job_id, 0])], 1]
    loaded = "import sys, workers.__main__; sys.exit('torch' in sys.modules)"
    subprocess.run([*module_command("workers")[:2], "-c", loaded], env=module_environment(), check=True)
