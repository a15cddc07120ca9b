"""Whose turn it is: short queues, tenants and jobs in turn, plans between regions, and what a waiting job says."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from queue_fixtures import REQUEST, begun, drain, entries, running, stored, submitted, sweep, until, worker

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import OUT, JobKeys, Task, turns_key
from workers.core.queue.leases import Leases
from workers.core.queue.pulse import Heartbeat
from workers.core.queue.reaper import Reaper
from workers.core.queue.scripts.dequeue import dequeue
from workers.core.queue.turns import TURN_REGIONS
from workers.core.schemas import Priority
from workers.core.store import new_id

TASKS: dict[str, Callable[..., Task]] = {
    "plan_slide": lambda job_id: Task(job_id, "plan"),
    "segment_region": lambda job_id, index: Task(job_id, "region", index),
    "finish_slide": lambda job_id: Task(job_id, "finish"),
}


@pytest.fixture
def queued_least() -> None:
    """As it is."""


def asked(jobs: Jobs, tenant: str, priority: Priority = "interactive") -> str:
    request = REQUEST.model_copy(update={"priority": priority})
    job_id = new_id()
    jobs.store.save_request(job_id, request, datetime.now(UTC), tenant)
    jobs.submit(job_id, request, tenant=tenant)
    return job_id


def step(jobs: Jobs, me: Leases, regions: dict[str, int]) -> tuple[str, str] | None:
    """Take the next task out of the queues as a worker does, and do it; plans give so many regions."""
    me.beat()
    for queue in jobs.queues:
        entry = jobs.redis.lpop(queue.key)
        if entry is None:
            continue
        task = queue.fetch_job(entry.decode())
        assert task is not None
        function, _, args, _ = json.loads(task.data)
        job_id, kind = args[0], function.removeprefix("workers.tasks.")
        lease = me.begin(TASKS[kind](*args))
        if lease is None:  # nothing to do, as after a cancel
            return step(jobs, me, regions)
        if kind == "plan_slide":
            me.planned(lease, range(regions[job_id]), regions[job_id], 2.0)
        elif kind == "segment_region":
            me.region_done(lease, 0.5)
            me.measured("digest", 0.5, 1)
        else:
            me.finished(lease)
        return job_id, kind
    return None


def order(jobs: Jobs, regions: dict[str, int], steps: int = 10_000) -> list[tuple[str, str]]:
    """Do all that waits; return it in order."""
    me = worker(jobs)
    done: list[tuple[str, str]] = []
    while len(done) < steps and (task := step(jobs, me, regions)) is not None:
        done.append(task)
    return done


def test_everything_is_done_once(jobs: Jobs) -> None:
    regions = {asked(jobs, tenant): count for tenant, count in (("a", 9), ("a", 1), ("b", 13), ("c", 4), ("c", 2))}
    done = Counter(order(jobs, regions))
    for job_id, count in regions.items():
        assert jobs.view(job_id).state == "succeeded"
        assert [done[job_id, kind] for kind in ("plan_slide", "segment_region", "finish_slide")] == [1, count, 1]
    sweep(jobs)  # which forgets what landed
    assert jobs.redis.hgetall(OUT) == {}
    assert jobs.redis.keys("ldiffusion:turns:*") == []


def test_no_tenant_and_no_small_job_waits_for_a_large_one(jobs: Jobs) -> None:
    large = asked(jobs, "a")
    regions = {large: 300}
    order(jobs, regions, 5)  # it is well under way
    late = {asked(jobs, tenant): 6 for tenant in ("a", "b", "c")}
    done = order(jobs, regions | late, 80)
    for job_id in late:
        assert jobs.view(job_id).state == "succeeded"
    before = done[: 1 + max(place for place, (job_id, _) in enumerate(done) if job_id != large)]
    assert sum(job_id == large for job_id, _ in before) <= 6 * TURN_REGIONS
    runs = [job_id for job_id, kind in done if kind == "segment_region"]
    assert Counter(runs[30:])[large] == len(runs[30:])  # and then it has everything


def test_forty_plans_do_not_hold_up_the_regions_of_the_first(jobs: Jobs) -> None:
    regions = {asked(jobs, "a"): 8 for _ in range(40)}
    kinds = [kind for _, kind in order(jobs, regions, 120)]
    assert "segment_region" in kinds[:4]  # a plan begins, the next one and one for the first turn are queued by then
    for start in range(10, 100, 10):
        assert kinds[start : start + 10].count("segment_region") >= 6
        assert "plan_slide" in kinds[start : start + 10]


def test_batch_jobs_go_when_nothing_else_waits(jobs: Jobs) -> None:
    batch, quick = asked(jobs, "a", "batch"), asked(jobs, "a")
    done = order(jobs, {batch: 20, quick: 20})
    first = [job_id for job_id, _ in done[:22]]
    assert first.count(quick) >= 21
    assert {jobs.view(batch).state, jobs.view(quick).state} == {"succeeded"}


def test_a_job_that_waits_says_its_place_and_when_it_is_likely_to_start(jobs: Jobs) -> None:
    first = asked(jobs, "a")
    order(jobs, {first: 1})  # so that it is known how long things take
    regions = {asked(jobs, "a"): 50}
    order(jobs, regions, 1)
    waiting = [asked(jobs, tenant) for tenant in ("a", "b", "a", "a", "b")]
    worker(jobs)
    told = [jobs.view(job_id) for job_id in waiting]
    assert {view.state for view in told} == {"queued"}
    places = [view.waiting.place if view.waiting else 0 for view in told]
    assert places.count(0) == 1  # its plan is next, and in the queue
    assert sorted(places) == [0, 1, 2, 3, 4]
    for view in told:
        if view.waiting is not None:
            assert view.waiting.starts_in_s is not None
            assert view.waiting.starts_in_s > 0
    ahead = asked(jobs, "c", "batch")
    view = jobs.view(ahead)
    assert view.waiting is None or view.waiting.place > max(places)


def test_a_planned_job_that_waits_is_queued_and_not_at_0_of_n(jobs: Jobs) -> None:
    large = asked(jobs, "a")
    regions = {large: 100}
    order(jobs, regions, 3)
    late = asked(jobs, "a")
    me = worker(jobs)
    drained = jobs.control.get_job_ids()
    assert any(entry.startswith(late) for entry in drained)
    me.planned(begun(me, Task(late, "plan")), range(30), 30, 0.1)
    view = jobs.view(late)
    assert (view.state, view.phase, view.regions_total) == ("queued", None, 30)
    assert view.waiting is not None
    order(jobs, regions | {late: 30}, 8)
    view = jobs.view(late)
    assert (view.state, view.waiting) == ("running", None)
    assert view.regions_done > 0


def test_a_cancel_costs_no_more_where_very_many_regions_wait(jobs: Jobs) -> None:
    def cost(count: int) -> int:
        job_id = running(jobs, count)
        jobs.redis.config_resetstat()
        jobs.cancel(job_id)
        stats = jobs.redis.info("commandstats")
        assert jobs.redis.keys(f"rq:job:{job_id}-region-*") == []
        return sum(stat["calls"] for stat in stats.values())

    cost(10)
    small, large = cost(10), cost(37_000)
    assert abs(small - large) < 10


def test_a_sweep_costs_no_more_where_very_many_regions_wait(jobs: Jobs) -> None:
    def cost() -> int:
        reaper = Reaper(jobs)
        reaper._sweep()
        jobs.redis.config_resetstat()
        reaper._sweep()
        return sum(stat["calls"] for name, stat in jobs.redis.info("commandstats").items() if "config" not in name)

    running(jobs, 10)
    few = cost()
    for _ in range(3):
        running(jobs, 20_000)
    assert cost() < few + 60


def test_a_worker_shows_signs_of_life_however_long_a_sweep_takes(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    held, sweeps = threading.Event(), []

    def sweep_slowly(_reaper: Reaper) -> bool:
        sweeps.append(1)
        return len(sweeps) == 1 or held.wait(30)

    monkeypatch.setattr(Reaper, "sweep", sweep_slowly)
    leases = Leases(jobs, new_id())
    with Heartbeat(leases):
        until(lambda: len(sweeps) == 2)
        jobs.redis.delete(f"ldiffusion:worker:{leases.worker_id}")
        until(lambda: jobs.workers() == 1)
        held.set()


def test_regions_of_a_restored_redis_that_are_nowhere_are_found(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    jobs.redis.delete(OUT, JobKeys(job_id).waiting)
    drain(jobs)
    until(lambda: jobs.regions.count == 3, lambda: sweep(jobs))
    assert sorted(entries(jobs)) == [("segment_region", [job_id, index]) for index in range(3)]


def test_waiting_regions_are_not_taken_for_lost(jobs: Jobs) -> None:
    running(jobs, 50)
    before = entries(jobs)
    until(lambda: not threading.Event().wait(2 * jobs.settings.lease_s))
    for _ in range(3):
        sweep(jobs)
    assert entries(jobs) == before


def test_who_waits_is_handed_out_when_the_queue_is_freed_by_a_cancel(jobs: Jobs) -> None:
    large, late = running(jobs, 100), submitted(jobs)
    me = worker(jobs)
    me.planned(begun(me, Task(late, "plan")), range(5), 5, 0.1)
    jobs.cancel(large)
    assert {args[0] for function, args in entries(jobs) if function == "segment_region"} == {late}
    assert stored(jobs)
    assert dequeue(jobs.redis, jobs.queues, large) == 0


def test_a_tenant_of_whom_nothing_waits_is_passed_over(jobs: Jobs) -> None:
    jobs.redis.zadd(turns_key("interactive", "region"), {"local": 0})  # all it had is out; who looks next removes it
    jobs.turns.feed()
    assert not jobs.redis.exists(turns_key("interactive", "region"))
    job_id = asked(jobs, "local")
    assert entries(jobs) == [("plan_slide", [job_id])]


def test_who_ended_or_was_planned_already_is_passed_over(jobs: Jobs) -> None:
    ended, planned, other = (running(jobs, 3) for _ in range(3))
    drain(jobs)
    for job_id in (ended, planned, other):
        jobs.redis.delete(JobKeys(job_id).waiting)
        jobs.redis.rpush(JobKeys(job_id).waiting, 0, 1)
    jobs.redis.hset(JobKeys(ended).record, "state", "failed")
    jobs.redis.delete(turns_key("interactive", "plan", "local"), turns_key("interactive", "region", "local"))
    jobs.redis.zadd(turns_key("interactive", "plan"), {"local": 0})
    jobs.redis.zadd(turns_key("interactive", "plan", "local"), {planned: 0})
    jobs.redis.zadd(turns_key("interactive", "region"), {"local": 0})
    jobs.redis.zadd(turns_key("interactive", "region", "local"), {ended: 0, other: 1})
    jobs.turns.feed()
    assert entries(jobs) == [("segment_region", [other, index]) for index in (0, 1)]
    assert jobs.redis.lrange(JobKeys(planned).waiting, 0, -1) == [b"0", b"1"]
    assert jobs.redis.keys("ldiffusion:turns:*:local") == []


def test_a_first_turn_is_told_once(jobs: Jobs) -> None:
    job_id = running(jobs, 30)
    order(jobs, {job_id: 30}, 6)
    told = [json.loads(fields[b"data"]) for _, fields in jobs.redis.xrange(f"ldiffusion:events:{job_id}")]
    states = [each["state"] for each in told if each["regions_total"]]
    assert states[:2] == ["queued", "running"]
    assert sum(each["state"] == "running" and not each["regions_done"] for each in told) == 1
