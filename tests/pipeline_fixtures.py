"""The pipeline over a real queue: a stored slide, this process as a worker, others. A plugin of `conftest.py`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from queue_fixtures import until

from workers import tasks
from workers.core.label_layout import STORE
from workers.core.queue.jobs import Jobs
from workers.core.queue.leases import Leases
from workers.core.queue.worker import QueueWorker
from workers.core.schemas import FINAL_STATES, JobRequest, JobView, SlideInfo
from workers.core.settings import Settings
from workers.core.slides.reader import open_slide
from workers.core.store import new_id

REGION_PX = 256
Start = Callable[..., subprocess.Popen[bytes]]


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
def here(queue_settings: Settings, jobs: Jobs, colour: ModuleType) -> tasks.Runtime:
    """This process as a worker."""
    return tasks.configure(queue_settings, Leases(jobs, new_id()), colour.ColourEngine)


@pytest.fixture
def start(queue_settings: Settings, repo_root: Path, tmp_path: Path) -> Iterator[Start]:
    """Start worker processes; none of them outlives the test."""
    names = ("data_dir", "models_dir", "heartbeat_s", "lease_s", "task_retries", "read_timeout_s", "job_memory_bytes")
    environment = {f"LDIFFUSION_{name.upper()}": str(getattr(queue_settings, name)) for name in names}
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: object, redis_url: str = queue_settings.redis_url) -> subprocess.Popen[bytes]:
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


def asked_for(jobs: Jobs, slide_id: str, **asked: Any) -> str:
    job_id = new_id()
    request = JobRequest(slide_id=slide_id, model="made-model", **{"region_px": REGION_PX, **asked})
    jobs.store.save_request(job_id, request, datetime.now(UTC))
    jobs.submit(job_id, request)
    return job_id


def work(runtime: tasks.Runtime) -> None:
    """Run what is queued, in this process, until the queue is empty."""
    runtime.leases.beat()
    QueueWorker(runtime.leases.jobs, new_id()).run(burst=True)


def ended(jobs: Jobs, job_id: str) -> JobView:
    until(lambda: jobs.view(job_id).state in FINAL_STATES)
    return jobs.view(job_id)


def chunks(jobs: Jobs, job_id: str) -> dict[str, bytes]:
    """Every file of the label array with its bytes."""
    root = jobs.store.job_dir(job_id) / STORE
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def undisturbed(here: tasks.Runtime, slide_id: str) -> dict[str, bytes]:
    """The label array of a job that nothing went wrong with."""
    jobs = here.leases.jobs
    job_id = asked_for(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    return chunks(jobs, job_id)
