"""Hosts with data folders of their own: what one has planned is for its workers, until it is gone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from queue_fixtures import REQUEST, begun, sweep, worker

from workers.core.queue import reaper
from workers.core.queue.census import take_census
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import HOSTS, JobKeys, Task
from workers.core.queue.lease import Superseded
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.store import new_id

pytestmark = pytest.mark.process

REGIONS = 5


@pytest.fixture
def lease_s() -> float:
    return 60.0


@pytest.fixture
def queue_settings(queue_settings: Settings, tmp_path: Path) -> Settings:
    return queue_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})


@pytest.fixture
def hosts(queue_settings: Settings, tmp_path: Path, queued_least: None) -> Iterator[tuple[Jobs, Jobs]]:
    """The queue as two hosts see it; `jobs` is that of the gateway."""
    made = [
        Jobs(queue_settings.redis_url, queue_settings.model_copy(update={"data_dir": tmp_path / name}))
        for name in ("b", "c")
    ]
    yield made[0], made[1]
    for each in made:
        each.close()


def submitted(jobs: Jobs) -> str:
    job_id = new_id()
    jobs.store.save_request(job_id, REQUEST, datetime.now(UTC))
    jobs.submit(job_id, REQUEST)
    return job_id


def planned(me: Leases, job_id: str) -> None:
    me.planned(begun(me, Task(job_id, "plan")), range(REGIONS), REGIONS, 0.5)


def tasks_for(jobs: Jobs) -> list[str]:
    """What workers of a host find in their queues."""
    ids = [queue_id for queue in jobs.queues for queue_id in queue.get_job_ids()]
    return sorted(queue_id[33:].rpartition("-")[0] for queue_id in ids)


def drop(jobs: Jobs) -> None:
    """Take all out of the queues of a host, as workers do that have begun it."""
    for queue in jobs.queues:
        jobs.redis.delete(queue.key)


def test_a_data_folder_has_one_name_and_another_has_another(hosts: tuple[Jobs, Jobs], jobs: Jobs) -> None:
    again = Jobs(jobs.settings.redis_url, jobs.settings)
    assert again.host == jobs.host
    assert len({jobs.host, *(each.host for each in hosts)}) == 3
    again.close()


def test_any_host_plans_and_the_regions_and_the_finish_are_for_that_one(hosts: tuple[Jobs, Jobs], jobs: Jobs) -> None:
    here, there = hosts
    me, other = worker(here), worker(there)
    job_id = submitted(jobs)
    assert tasks_for(here) == tasks_for(there) == ["plan"]
    drop(here)
    planned(me, job_id)
    names = [f"region-{index}" for index in range(REGIONS)]
    assert tasks_for(here) == names
    assert tasks_for(there) == []
    assert other.begin(Task(job_id, "region", 0)) is None
    for index in range(REGIONS):
        me.region_done(begun(me, Task(job_id, "region", index)), 0.1)
    drop(here)
    sweep(there)
    assert tasks_for(here) == tasks_for(there) == []
    jobs.redis.hset(JobKeys(job_id).missing, "finish", 0)  # it was nowhere for long
    sweep(there)
    assert tasks_for(here) == ["finish"]
    assert tasks_for(there) == []
    assert other.begin(Task(job_id, "finish")) is None
    me.finished(begun(me, Task(job_id, "finish")))
    assert jobs.view(job_id).state == "succeeded"


def test_a_host_has_as_much_in_its_queue_as_its_own_workers_need(
    hosts: tuple[Jobs, Jobs], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.core.queue.turns.QUEUED_LEAST", 1)
    here, there = hosts
    me, *_ = (worker(here), worker(there), worker(there))
    first, second = submitted(jobs), submitted(jobs)
    planned(me, first)
    assert [name for name in tasks_for(here) if name != "plan"] == ["region-0"]  # the first of two turns
    planned(worker(there), second)
    assert [name for name in tasks_for(there) if name != "plan"] == [f"region-{index}" for index in range(REGIONS)]
    assert {each.queue for each in take_census(jobs).queues if each.tasks} >= {
        f"ldiffusion:regions@{each.host}" for each in hosts
    }


def test_a_worker_counts_what_is_queued_for_its_own_host(
    hosts: tuple[Jobs, Jobs], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.core.queue.turns.QUEUED_LEAST", 1)
    here, there = hosts
    me, *others = (worker(here), *(worker(there) for _ in range(REGIONS)))
    first, second = submitted(jobs), submitted(jobs)
    planned(others[0], first)
    planned(me, second)
    drop(here)
    begun(me, Task(second, "region", 0))
    assert tasks_for(here) == [f"region-{index}" for index in range(1, REGIONS)], "its queue was empty"
    drop(there)
    begun(me, Task(second, "region", 1))
    assert len(tasks_for(here)) == REGIONS - 1
    assert not [name for name in tasks_for(there) if name != "plan"], "all of it was handed out"
    told = me._scripts.take(Task(second, "region", 2), me.worker_id, 3)
    assert told is not None
    assert (told.queued, told.host) == (REGIONS - 1, here.host)


def test_a_host_that_is_gone_has_its_jobs_planned_again_and_is_refused_when_it_comes_back(
    hosts: tuple[Jobs, Jobs], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "HOST_GONE_S", 0.0)
    here, there = hosts
    me, other = worker(here), worker(there)
    job_id = submitted(jobs)
    drop(here)
    planned(me, job_id)
    lease = begun(me, Task(job_id, "region", 0))
    jobs.redis.zadd(HOSTS, {here.host: 0})
    sweep(there)
    assert jobs.view(job_id).state == "running", "one of its workers is alive"
    me.retire()
    sweep(there)
    assert jobs.view(job_id).state == "queued"
    assert tasks_for(there) == ["plan"]
    with pytest.raises(Superseded):
        me.check(lease)
    me.beat()
    with pytest.raises(Superseded):
        me.region_done(lease, 0.1)
    drop(there)
    planned(other, job_id)
    assert jobs.view(job_id).regions_total == REGIONS
    assert me.begin(Task(job_id, "region", 1)) is None
    here.turns.feed()
    assert tasks_for(here) == []
    for index in range(REGIONS):
        other.region_done(begun(other, Task(job_id, "region", index)), 0.1)
    assert "finish" in tasks_for(there)


def test_what_still_waited_at_a_host_that_was_gone_is_not_handed_out_there(
    hosts: tuple[Jobs, Jobs], jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "HOST_GONE_S", 0.0)
    monkeypatch.setattr("workers.core.queue.turns.QUEUED_LEAST", 1)
    here, there = hosts
    me, other = worker(here), worker(there)
    job_id = submitted(jobs)
    drop(here)
    planned(me, job_id)  # the first turn is out, the second waits
    me.retire()
    jobs.redis.zadd(HOSTS, {here.host: 0})
    sweep(there)
    me.beat()
    drop(there)
    planned(other, job_id)
    assert tasks_for(there) == ["region-0"]
    drop(here)
    here.turns.feed()
    assert tasks_for(here) == []
    begun(other, Task(job_id, "region", 0))
    drop(there)
    there.turns.feed()
    assert tasks_for(there) == [f"region-{index}" for index in range(1, REGIONS)]


def test_a_job_that_was_canceled_leaves_nothing_in_the_queues_of_hosts(hosts: tuple[Jobs, Jobs], jobs: Jobs) -> None:
    here, _ = hosts
    job_id = submitted(jobs)
    drop(here)
    planned(worker(here), job_id)
    jobs.cancel(job_id)
    assert tasks_for(here) == []
    jobs.forget(job_id)


def test_without_a_storage_there_are_no_hosts(jobs: Jobs, queue_settings: Settings) -> None:
    alone = Jobs(queue_settings.redis_url, queue_settings.model_copy(update={"storage_url": ""}))
    worker(alone)
    assert alone.host == ""
    assert len(alone.queues) == len(alone.all_queues()) == 6
    assert not alone.redis.exists(HOSTS)
    alone.close()
