"""What a worker runs of what the queue holds."""

import sys
import zlib
from pathlib import Path

import pytest
from queue_fixtures import drain, sweep

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import CONTROL_QUEUE, REGION_QUEUE
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


def test_queues_are_ours_by_name() -> None:
    assert (CONTROL_QUEUE, REGION_QUEUE) == ("ldiffusion:control", "ldiffusion:regions")
