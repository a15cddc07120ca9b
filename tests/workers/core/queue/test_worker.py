"""What a worker runs of what the queue holds."""

import sys
import zlib
from pathlib import Path

import pytest
from queue_fixtures import drain, sweep

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import CONTROL_QUEUE, REGION_QUEUE
from workers.core.queue.task_job import TaskJob
from workers.core.queue.worker import QueueWorker
from workers.core.store import new_id


def test_a_worker_runs_our_three_functions_and_nothing_else(jobs: Jobs, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    refused = [jobs.control.enqueue(name, str(witness)) for name in ("os.mkdir", "pathlib.Path.touch")]
    QueueWorker(jobs, new_id()).run(burst=True)
    assert not witness.exists()
    assert set(jobs.control.failed_job_registry.get_job_ids()) == {entry.id for entry in refused}
    assert jobs.control.count == 0


def test_a_pickle_in_the_queue_is_not_opened(jobs: Jobs, tmp_path: Path) -> None:
    entry = jobs.control.enqueue("workers.tasks.plan_slide", new_id())
    witness = tmp_path / "witness"
    poison = b"cos\nmkdir\n(S'" + str(witness).encode() + b"'\ntR."
    jobs.redis.hset(entry.key, "data", zlib.compress(poison))
    QueueWorker(jobs, new_id()).run(burst=True)
    assert not witness.exists()
    assert jobs.control.failed_job_registry.get_job_ids() == [entry.id]


def test_names_of_callbacks_in_the_queue_are_not_imported(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    forged = {f"{kind}_callback_name": "this.s" for kind in ("success", "failure", "stopped")}
    entry = jobs.control.enqueue("os.getpid")
    jobs.redis.hset(entry.key, mapping=forged)
    QueueWorker(jobs, new_id()).run(burst=True)
    abandoned = jobs.regions.enqueue("os.getpid")
    drain(jobs)
    jobs.redis.hset(abandoned.key, mapping=forged | {"status": "started"})
    jobs.redis.zadd(jobs.regions.started_job_registry.key, {f"{abandoned.id}:one": 1})
    sweep(jobs)
    assert jobs.redis.zcard(jobs.regions.started_job_registry.key) == 0
    assert "this" not in sys.modules


def test_of_a_task_that_raised_the_entry_is_kept(jobs: Jobs) -> None:
    entry = jobs.control.enqueue("os.getpid", failure_ttl=1000)
    QueueWorker(jobs, new_id()).run(burst=True)
    kept = jobs.control.fetch_job(entry.id)
    assert kept is not None
    assert kept.func_name == "os.getpid"
    assert 0 < jobs.redis.ttl(entry.key) <= 1000


def test_a_worker_that_dies_at_a_task_leaves_no_entry(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    there = []
    monkeypatch.setattr(TaskJob, "perform", lambda job: there.append(job.connection.exists(job.key)))
    jobs.control.enqueue("workers.tasks.plan_slide", new_id())
    QueueWorker(jobs, new_id()).run(burst=True)
    assert there == [0]
    assert jobs.redis.keys("rq:job:*") == []


def test_of_a_task_that_went_well_rq_is_told_little(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskJob, "perform", lambda _job: None)

    def cost(tasks: int) -> int:
        for _ in range(tasks):
            jobs.control.enqueue("workers.tasks.plan_slide", new_id())
        jobs.redis.config_resetstat()
        QueueWorker(jobs, new_id()).run(burst=True)
        return sum(each["calls"] for each in jobs.redis.info("commandstats").values())

    cost(1)
    assert (cost(50) - cost(10)) / 40 <= 4  # a pop, its entry, the deletion of that, and some to spare


def test_queues_are_ours_by_name() -> None:
    assert (CONTROL_QUEUE, REGION_QUEUE) == ("ldiffusion:control", "ldiffusion:regions")
