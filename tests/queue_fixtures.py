"""A queue, jobs in any state of their life, and tasks begun and ended by hand. A plugin of `conftest.py`."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JANITOR_LOCK, Task
from workers.core.queue.leases import Lease, Leases
from workers.core.queue.reaper import Janitor
from workers.core.schemas import JobRequest, Provenance
from workers.core.settings import Settings
from workers.core.store import new_id

REQUEST = JobRequest(slide_id=new_id(), model="made-model", mpp=0.5)
DEADLINE_S = 40


@pytest.fixture
def lease_s() -> float:
    """Silence after which a worker is dead; tests with real workers override it with a longer one."""
    return 0.3


@pytest.fixture
def queue_settings(tmp_path: Path, empty_queue: str, model_folder: Path, lease_s: float) -> Settings:
    """Settings of `jobs`: an empty queue, signs of life that are missed soon."""
    return Settings(
        data_dir=tmp_path / "data",
        models_dir=model_folder.parent,
        redis_url=empty_queue,
        heartbeat_s=lease_s / 6,
        lease_s=lease_s,
        task_retries=2,
    )


@pytest.fixture
def jobs(queue_settings: Settings) -> Iterator[Jobs]:
    """An empty queue and an empty data folder."""
    queue = Jobs(queue_settings.redis_url, queue_settings)
    yield queue
    queue.close()


def stored(jobs: Jobs, created_at: datetime | None = None, request: JobRequest = REQUEST) -> str:
    """A job on disk that Redis has not heard of."""
    job_id = new_id()
    jobs.store.save_request(job_id, request, created_at or datetime.now(UTC))
    return job_id


def submitted(jobs: Jobs) -> str:
    job_id = stored(jobs)
    jobs.submit(job_id, REQUEST)
    return job_id


def worker(jobs: Jobs) -> Leases:
    leases = Leases(jobs, new_id())
    leases.beat()
    return leases


def begun(leases: Leases, task: Task) -> Lease:
    lease = leases.begin(task)
    assert lease is not None
    return lease


def running(jobs: Jobs, count: int) -> str:
    """A job whose plan has `count` regions."""
    job_id = submitted(jobs)
    planner = worker(jobs)
    planner.planned(begun(planner, Task(job_id, "plan")), range(count), count, 0.5)
    planner.retire()
    return job_id


def finishing(jobs: Jobs) -> str:
    return running(jobs, 0)


def entries(jobs: Jobs) -> list[tuple[str, list[Any]]]:
    """(function, arguments) of everything queued, control first."""
    found = []
    for queue in (jobs.control, jobs.regions):
        for entry in queue.get_jobs():
            function, _, args, _ = json.loads(entry.data)
            found.append((function.removeprefix("workers.tasks."), args))
    return found


def drain(jobs: Jobs) -> None:
    """Take everything out of the queue, as workers do that die right after."""
    jobs.redis.delete(jobs.control.key, jobs.regions.key)


def sweep(jobs: Jobs) -> None:
    jobs.redis.delete(JANITOR_LOCK)
    assert Janitor(jobs).sweep()


def until(condition: Callable[[], bool], step: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        step()
        time.sleep(0.01)


def write_result(jobs: Jobs, job_id: str) -> None:
    now = datetime.now(UTC)
    result = Provenance(
        job_id=job_id, slide_id=REQUEST.slide_id, slide_sha256="0" * 64, slide_filename="a.svs", model="made",
        model_digest="0" * 64, mpp_x=0.5, mpp_y=0.5, mpp_source="request", model_mpp=0.5, seed=0, region_px=256,
        halo_px=16, regions=7, backend="openslide", versions={}, timings_s={}, files={}, created_at=now,
        finished_at=now,
    )  # fmt: skip
    jobs.store.write_json(jobs.store.job_dir(job_id) / "result.json", result)
