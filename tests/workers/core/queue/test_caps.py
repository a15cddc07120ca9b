"""Caps on what one tenant has queued or computed at once: held at every moment, and nobody else waits for it."""

import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from queue_fixtures import REQUEST, begun, sweep, worker

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.lease import Lease
from workers.core.queue.leases import Leases
from workers.core.queue.task_job import TaskJob
from workers.core.schemas import Priority
from workers.core.settings import Settings
from workers.core.store import new_id

CAP = 5


@pytest.fixture
def queued_least() -> None:
    """As it is."""


@pytest.fixture
def lease_s() -> float:
    return 60.0


@pytest.fixture
def queue_settings(queue_settings: Settings) -> Settings:
    return queue_settings.model_copy(update={"regions_per_tenant": CAP})


def planned(jobs: Jobs, count: int, tenant: str, priority: Priority = "interactive") -> str:
    request = REQUEST.model_copy(update={"priority": priority})
    job_id = new_id()
    jobs.store.save_request(job_id, request, datetime.now(UTC), tenant)
    jobs.submit(job_id, request, tenant=tenant)
    planner = Leases(jobs, new_id())
    planner.planned(begun(planner, Task(job_id, "plan")), range(count), count, 0.5)
    return job_id


def take(jobs: Jobs) -> Task | None:
    """Take the next region out of the queues."""
    for queue in jobs.served(has_gpu=False):
        while (entry := jobs.redis.lpop(queue.key)) is not None:
            job_id, *indices = json.loads(TaskJob.fetch(entry.decode(), jobs.redis).data)[2]
            if indices:
                return Task(job_id, "region", indices[0])
    return None


def out(jobs: Jobs, job_ids: list[str]) -> int:
    """How many regions of jobs are queued or with workers, by the queues and leases alone."""
    entries = [entry for queue in jobs.queues for entry in queue.get_job_ids() if "-region-" in entry]
    queued = sum(entry.startswith(tuple(job_ids)) for entry in entries)
    return queued + sum(int(jobs.redis.hlen(JobKeys(job_id).leases)) for job_id in job_ids)


def test_a_tenant_at_its_cap_gets_the_next_region_when_one_lands_and_others_do_not_wait(jobs: Jobs) -> None:
    hands = [worker(jobs) for _ in range(3 * CAP)]
    jobs.turns.feed()
    large, also = planned(jobs, 40, "a"), planned(jobs, 40, "a", "batch")
    small = planned(jobs, 2, "b")
    leases = [me.begin(task) for me in hands if (task := take(jobs)) is not None]
    assert Counter(lease.task.job_id for lease in leases if lease) == {large: CAP, small: 2}
    assert take(jobs) is None
    assert leases[0] is not None
    hands[0].region_done(leases[0], 0.1)
    task = take(jobs)
    assert task is not None
    assert task.job_id == large, "what is interactive goes before a batch of the same tenant"
    jobs.cancel(large)
    taken = [take(jobs) for _ in range(CAP + 1)]
    assert [task and task.job_id for task in taken] == [also] * CAP + [None]


def test_a_region_of_a_dead_worker_counts_until_it_has_landed(jobs: Jobs) -> None:
    me, dead = worker(jobs), worker(jobs)
    job_id = planned(jobs, 40, "a")
    for _ in range(CAP):
        task = take(jobs)
        assert task is not None
        begun(dead, task)
    dead.retire()
    sweep(jobs)
    assert out(jobs, [job_id]) == CAP
    task = take(jobs)
    assert task is not None
    me.region_done(begun(me, task), 0.1)
    assert out(jobs, [job_id]) == CAP - 1, "as many are queued as workers want"


@pytest.mark.parametrize("seed", range(3))
def test_no_tenant_has_more_out_and_nobody_below_its_cap_waits_for_it(jobs: Jobs, seed: int) -> None:
    chance = random.Random(seed)
    hands = [worker(jobs) for _ in range(4 * CAP)]
    of: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    held: list[tuple[Leases, Lease]] = []
    landed: Counter[str] = Counter()
    counts: dict[str, int] = {}
    for number in range(150):
        if number < 100 and chance.random() < 0.1:
            tenant, count = chance.choice("abc"), chance.randint(2, 15)
            job_id = planned(jobs, count, tenant, chance.choice(["interactive", "batch"]))
            of[tenant].append(job_id)
            counts[job_id] = count
        elif held and (chance.random() < 0.5 or number >= 100):
            me, lease = held.pop(chance.randrange(len(held)))
            me.region_done(lease, 0.1)
            landed[lease.task.job_id] += 1
            hands.append(me)
        if hands and (task := take(jobs)) is not None:
            me = hands.pop()
            held.append((me, begun(me, task)))
        for tenant, job_ids in of.items():
            assert out(jobs, job_ids) <= CAP, tenant
    jobs.turns.feed()
    for job_ids in of.values():
        waiting = sum(jobs.redis.llen(JobKeys(job_id).waiting) for job_id in job_ids)
        assert not waiting or out(jobs, job_ids) == CAP, "there are workers for all that the caps allow"
    while held:
        me, lease = held.pop()
        me.region_done(lease, 0.1)
        landed[lease.task.job_id] += 1
        while (task := take(jobs)) is not None:
            held.append((me, begun(me, task)))
    assert landed == counts
