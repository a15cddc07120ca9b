"""Worker processes: several, killed, told to stop, without a queue."""

import os
import signal
import time
from pathlib import Path

import pytest
from pipeline_fixtures import Start, asked_for, chunks, ended
from queue_fixtures import DEADLINE_S, until

from workers.core.embedded import EmbeddedRedis
from workers.core.jobs import Jobs
from workers.core.queue_names import JobKeys
from workers.core.schemas import FINAL_STATES
from workers.core.settings import Settings


@pytest.fixture
def lease_s() -> float:
    return 1.5


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
    assert not (jobs.store.job_dir(poisoned) / "plan.json").exists()


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
