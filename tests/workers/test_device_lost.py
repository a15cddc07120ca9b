"""A worker whose accelerator computes no more: over a real queue, with a stand-in for the fault."""

import pytest
from pipeline_fixtures import asked_for, work

from workers import stages, tasks
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import worker_key
from workers.core.queue.leases import Leases
from workers.core.store import new_id
from workers.pipeline.inference import DeviceLost
from workers.runtime import Runtime


@pytest.fixture
def lease_s() -> float:
    return 1.5


class Ended(BaseException):
    """Stands for the end of the process."""


def test_a_worker_that_loses_its_accelerator_ends_and_others_get_its_task(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> float:
        raise DeviceLost("CUDA error: the launch failed")

    def end() -> None:
        raise Ended

    monkeypatch.setattr(tasks, "end_process", end)
    job_id = asked_for(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    index = jobs.store.read_plan(job_id).regions[0]
    sound = stages.segment_one
    monkeypatch.setattr(stages, "segment_one", lost)
    for _ in range(jobs.settings.task_retries):
        here.leases.beat()
        with pytest.raises(Ended):
            tasks.segment_region(job_id, index)
        assert jobs.redis.exists(worker_key(here.leases.worker_id)) == 0
        assert jobs.view(job_id).state == "running"
        here.leases = Leases(jobs, new_id())  # another process
    monkeypatch.setattr(stages, "segment_one", sound)
    work(here)
    assert jobs.view(job_id).state == "succeeded"


def test_a_part_with_which_every_accelerator_is_lost_ends_its_job(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> float:
        raise DeviceLost("CUDA error: the launch failed")

    monkeypatch.setattr(tasks, "end_process", lambda: None)
    monkeypatch.setattr(stages, "segment_one", lost)
    job_id = asked_for(jobs, slide_id)
    here.leases.beat()
    tasks.plan_slide(job_id)
    index = jobs.store.read_plan(job_id).regions[0]
    for _ in range(jobs.settings.task_retries + 1):
        here.leases = Leases(jobs, new_id())
        here.leases.beat()
        tasks.segment_region(job_id, index)
    error = jobs.view(job_id).error
    assert error is not None
    assert (error.code, "CUDA" in error.message) == ("job_lost", False)
