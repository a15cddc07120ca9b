"""Workers with a GPU beside others: who is given regions of heavy models; nothing waits for one that is not there."""

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from queue_fixtures import REQUEST, begun, gpu_worker, sweep, worker

from workers.core.model.schemas import ModelCard
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task, turns_key
from workers.core.queue.leases import Leases
from workers.core.queue.task_job import TaskJob
from workers.core.queue.turns import TURN_REGIONS
from workers.core.store import new_id

CARD = ModelCard(
    name="light", title="", mpp=0.5, classes=(), tile_px=1024, halo_px=0, stride_px=8, digest="0" * 64, license="",
    intended_use="",
)  # fmt: skip
HEAVY = CARD.model_copy(update={"name": "heavy", "heavy": True})


@pytest.fixture
def queued_least() -> None:
    """As it is."""


@pytest.fixture
def lease_s() -> float:
    return 60.0


def asked(jobs: Jobs, tenant: str = "local", priority: str = "interactive") -> str:
    request = REQUEST.model_copy(update={"priority": priority})
    job_id = new_id()
    jobs.store.save_request(job_id, request, datetime.now(UTC), tenant)
    jobs.submit(job_id, request, tenant=tenant)
    return job_id


def planned(jobs: Jobs, card: ModelCard, count: int, tenant: str = "local") -> str:
    """A job of a model that somebody has planned who is gone."""
    job_id = asked(jobs, tenant)
    jobs.redis.delete(jobs.control.key)
    planner = Leases(jobs, new_id())
    planner.planned(begun(planner, Task(job_id, "plan")), range(count), count, 0.5, card)
    return job_id


def queued(jobs: Jobs) -> dict[str, list[tuple[str, int]]]:
    """Which regions are in which queue, as (job, index)."""
    lane = jobs.lane("interactive", jobs.host)
    found = {}
    for name in ("regions", "heavy"):
        queue = getattr(lane, name)
        entries = [json.loads(entry.data)[2] for entry in queue.get_jobs()]
        found[name] = [(job_id, index) for job_id, index in entries]
    return found


def first(job_id: str, count: int = TURN_REGIONS) -> list[tuple[str, int]]:
    return [(job_id, index) for index in range(count)]


def test_heavy_regions_are_for_the_gpu_where_one_lives_beside_others(jobs: Jobs) -> None:
    worker(jobs), gpu_worker(jobs)
    heavy, light = planned(jobs, HEAVY, 9), planned(jobs, CARD, 9)
    assert queued(jobs) == {"heavy": first(heavy, 1), "regions": first(light, 1) + first(light, 5)[1:]}
    with_gpu, without = ([queue.name for queue in jobs.served(has_gpu=each)] for each in (True, False))
    assert with_gpu == [
        f"ldiffusion:{kind}{name}" for kind in ("", "batch-") for name in ("control", "heavy-regions", "regions")
    ]
    assert without == [name for name in with_gpu if "heavy" not in name]


@pytest.mark.parametrize("kind", [worker, gpu_worker])
def test_where_all_are_of_one_kind_all_regions_take_turns_together(jobs: Jobs, kind: Callable[[Jobs], Leases]) -> None:
    for _ in range(4 * TURN_REGIONS):
        kind(jobs)
    jobs.turns.feed()
    jobs_of_both = [planned(jobs, card, 8, tenant) for tenant, card in (("a", HEAVY), ("b", CARD))]
    found = queued(jobs)
    assert found["heavy"] == []
    assert Counter(job_id for job_id, _ in found["regions"]) == dict.fromkeys(jobs_of_both, 8)
    jobs.redis.delete(jobs.regions.key)
    assert not jobs.redis.keys("ldiffusion:turns:*heavy*")


def test_what_waits_for_a_gpu_that_is_gone_is_for_all(jobs: Jobs) -> None:
    me, gpu = worker(jobs), gpu_worker(jobs)
    heavy, light = planned(jobs, HEAVY, 9), planned(jobs, CARD, 1)
    assert queued(jobs) == {"heavy": first(heavy, 1), "regions": first(light, 1)}
    gpu.retire()
    sweep(jobs)
    assert queued(jobs) == {"heavy": [], "regions": first(heavy, 1) + first(light, 1)}
    assert jobs.redis.zscore(turns_key("interactive", "region", "local"), heavy) is not None
    jobs.redis.delete(jobs.regions.key)
    begun(me, Task(heavy, "region", 0))
    assert queued(jobs)["regions"][:4] == [(heavy, index) for index in range(1, 5)]


def test_a_gpu_that_comes_is_given_what_waits(jobs: Jobs) -> None:
    worker(jobs)
    heavy = planned(jobs, HEAVY, 9)
    assert queued(jobs)["regions"] == first(heavy, 1)
    jobs.redis.delete(jobs.regions.key)
    gpu_worker(jobs)
    sweep(jobs)
    assert queued(jobs) == {"regions": [], "heavy": [(heavy, index) for index in range(1, 5)]}


def test_a_heavy_region_whose_worker_died_goes_back_to_where_it_came_from(jobs: Jobs) -> None:
    worker(jobs), gpu_worker(jobs)
    dead, heavy = gpu_worker(jobs), planned(jobs, HEAVY, 5)
    jobs.redis.lpop(jobs.lane("interactive", "").heavy.key)
    begun(dead, Task(heavy, "region", 0))
    dead.retire()
    sweep(jobs)
    assert queued(jobs)["heavy"][0] == (heavy, 0)


def test_who_waits_for_a_gpu_says_its_place(jobs: Jobs) -> None:
    worker(jobs), gpu_worker(jobs)
    planned(jobs, HEAVY, 9, "a")
    late = planned(jobs, HEAVY, 9, "b")
    view = jobs.view(late)
    assert (view.state, view.waiting and view.waiting.place) == ("queued", 2)
    jobs.redis.delete(jobs.lane("interactive", "").heavy.key)
    jobs.turns.feed()
    assert jobs.view(late).state == "running"


@pytest.mark.parametrize("card", [CARD, HEAVY])
def test_a_region_costs_no_more_commands_where_workers_are_mixed(jobs: Jobs, card: ModelCard) -> None:
    """Four regions with the turn that they need, as Redis counts them, those inside scripts as well."""

    def cost(me: Leases) -> int:
        lane = jobs.lane("interactive", "")
        queue = lane.heavy if lane.heavy.count else lane.regions
        calls = 0
        for _ in range(TURN_REGIONS):
            job_id, index = json.loads(queue.get_jobs()[0].data)[2]
            jobs.redis.lpop(queue.key)
            jobs.redis.config_resetstat()
            me.region_done(begun(me, Task(job_id, "region", index)), 0.5, 1)
            stats = jobs.redis.info("commandstats")
            calls += sum(each["calls"] for name, each in stats.items() if name.split("|")[0] != "cmdstat_config")
        return calls

    me = worker(jobs)
    planned(jobs, card, 101)
    alone = cost(me)
    gpu = gpu_worker(jobs)
    jobs.turns.feed()
    cost(gpu)  # what is handed out is as for mixed workers after that
    assert cost(gpu if card.heavy else me) <= alone + 3  # a look whether anything waits for the others; by four regions


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_and_no_heavy_region_is_begun_beside_a_gpu(jobs: Jobs, seed: int) -> None:
    """Workers come and go at random, jobs of both kinds come, and in the end all is done, each region once."""
    chance = random.Random(seed)
    workers = [worker(jobs)]
    jobs_of: dict[str, tuple[ModelCard, int]] = {}
    done: Counter[tuple[str, int]] = Counter()
    excused: set[tuple[str, int]] = set()  # what was queued for all before a GPU came stays there

    def step(me: Leases) -> bool:
        has_gpu = me.status is not None
        for queue in jobs.served(has_gpu=has_gpu):
            if (entry := jobs.redis.lpop(queue.key)) is None:
                continue
            job_id, *indices = json.loads(TaskJob.fetch(entry.decode(), jobs.redis).data)[2]
            if not indices:  # the plan of one that was planned by hand meanwhile
                continue
            index = indices[0]
            is_mixed = any(each.status for each in workers) and not all(each.status for each in workers)
            assert has_gpu or not is_mixed or not jobs_of[job_id][0].heavy or (job_id, index) in excused
            me.region_done(begun(me, Task(job_id, "region", index)), 0.5)
            done[job_id, index] += 1
            return True
        return False

    for _ in range(60):
        act = chance.random()
        if act < 0.15:
            card, count = chance.choice([CARD, HEAVY]), chance.randint(2, 12)
            jobs_of[planned(jobs, card, count, chance.choice("abc"))] = card, count
        elif act < 0.3:
            if len(workers) > 1 and chance.random() < 0.5:
                workers.pop(chance.randrange(len(workers))).retire()
            else:
                workers.append(chance.choice([worker, gpu_worker])(jobs))
            jobs.turns.feed()
            excused |= set(queued(jobs)["regions"])
        else:
            step(chance.choice(workers))
    while len(done) < sum(count for _, count in jobs_of.values()):
        jobs.turns.feed()
        assert any(step(each) for each in workers), "something waits and nobody is given it"
    expected = {(job_id, index) for job_id, (_, count) in jobs_of.items() for index in range(count)}
    assert done == dict.fromkeys(expected, 1)
