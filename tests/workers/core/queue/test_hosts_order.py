"""Hosts with folders of their own: what goes first on each of them, whose GPU counts, and one that is drained."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from queue_fixtures import REQUEST, begun, gpu_worker, worker

from workers.core.model.schemas import ModelCard
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.leases import Leases
from workers.core.queue.task_job import TaskJob
from workers.core.queue.worker import QueueWorker
from workers.core.schemas import Priority
from workers.core.settings import Settings
from workers.core.store import new_id

pytestmark = pytest.mark.process

HEAVY = ModelCard(
    name="heavy", title="", mpp=0.5, classes=(), tile_px=1024, halo_px=0, stride_px=8, digest="", license="",
    intended_use="", heavy=True,
)  # fmt: skip


@pytest.fixture
def queued_least() -> None:
    """As it is."""


@pytest.fixture
def lease_s() -> float:
    return 60.0


@pytest.fixture
def hosts(queue_settings: Settings, tmp_path: Path, queued_least: None) -> Iterator[tuple[Jobs, Jobs]]:
    """The queue as two hosts see it."""
    shared = {"storage_url": f"file://{tmp_path}/storage"}
    made = [
        Jobs(queue_settings.redis_url, queue_settings.model_copy(update={"data_dir": tmp_path / name, **shared}))
        for name in ("b", "c")
    ]
    yield made[0], made[1]
    for each in made:
        each.close()


def planned(me: Leases, count: int, priority: Priority = "interactive", card: ModelCard | None = None) -> str:
    """A job that a worker has planned, so that its host has the regions."""
    request = REQUEST.model_copy(update={"priority": priority})
    job_id = new_id()
    me.jobs.store.save_request(job_id, request, datetime.now(UTC))
    me.jobs.submit(job_id, request)
    me.planned(begun(me, Task(job_id, "plan")), range(count), count, 0.5, card)
    for each in (me.jobs.control, me.jobs.batch_control):
        me.jobs.redis.delete(each.key)
    return job_id


def step(me: Leases) -> tuple[str, int] | None:
    """Do the next region that a worker of a host without a GPU finds."""
    for queue in me.jobs.served(has_gpu=False):
        if (entry := me.jobs.redis.lpop(queue.key)) is not None:
            job_id, *indices = json.loads(TaskJob.fetch(entry.decode(), me.jobs.redis).data)[2]
            if indices:
                me.region_done(begun(me, Task(job_id, "region", indices[0])), 0.1)
                return job_id, indices[0]
    return None


def test_on_each_host_previews_go_first_then_what_is_interactive_then_batches(hosts: tuple[Jobs, Jobs]) -> None:
    """The preview is made with the second region of a job, and the first turn of a new job is next."""
    hands = [worker(each) for each in hosts]
    batches = [planned(me, 9, "batch") for me in hands]
    old = [planned(me, 12) for me in hands]
    done: list[list[tuple[str, int]]] = [[], []]

    def go_on(steps: int) -> None:
        for _ in range(steps):
            for me, its in zip(hands, done, strict=True):
                if (found := step(me)) is not None:
                    its.append(found)

    go_on(6)
    new = [planned(me, 12) for me in hands]
    go_on(40)
    for its, batch, first, second in zip(done, batches, old, new, strict=True):
        order = [job_id for job_id, _ in its]
        assert its.index((second, 1)) < 6 + 2 * 4, "after what is queued, and at most a turn of another"
        last = max(place for place, job_id in enumerate(order) if job_id in (first, second))
        assert batch not in order[:last]
        assert {job_id: order.count(job_id) for job_id in order} == {batch: 9, first: 12, second: 12}


def test_a_gpu_of_another_host_is_not_waited_for(hosts: tuple[Jobs, Jobs]) -> None:
    here, there = hosts
    me, _ = worker(here), gpu_worker(there)
    planned(me, 4, card=HEAVY)
    lane = here.lane("interactive", here.host)
    assert (lane.heavy.count, lane.regions.count) == (0, 4)
    assert (here.workers_with_gpu(), here.workers_with_gpu(here.host)) == (1, 0)
    gpu_worker(here)
    job_id = planned(me, 8, card=HEAVY)
    assert [entry[:32] for entry in lane.heavy.get_job_ids()] == [job_id] * 4


def test_a_host_that_is_drained_ends_with_the_region_at_hand_and_leaves_the_rest_where_it_is(
    hosts: tuple[Jobs, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = hosts
    me, other = worker(here), worker(there)
    job_id = planned(me, 8)

    def perform(job: TaskJob) -> None:
        _, _, (of, index), _ = json.loads(job.data)
        lease = begun(me, Task(of, "region", index))
        signal.raise_signal(signal.SIGTERM)
        me.region_done(lease, 0.1)

    monkeypatch.setattr(TaskJob, "perform", perform)
    assert QueueWorker(here, me.worker_id).run()
    me.retire()
    keys = JobKeys(job_id)
    assert here.redis.scard(keys.todo) == 7
    assert not here.redis.exists(keys.leases)
    assert step(other) is None, "its chunks lie with the other host"
    second = worker(here)
    assert [step(second) for _ in range(7)] == [(job_id, index) for index in range(1, 8)]
    assert here.view(job_id).state == "finishing"
