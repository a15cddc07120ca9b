"""How regions are begun and land: what the scripts leave in Redis, and in how few commands."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from queue_fixtures import REQUEST, begun, drain, running, stored, submitted, sweep, worker

from workers.core.errors.base import JobCanceled
from workers.core.queue import leases
from workers.core.queue.events import Progress, events_key
from workers.core.queue.exchange import decode
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import OUT, JobKeys, Task
from workers.core.queue.lease import Superseded
from workers.core.queue.progress import progress_of
from workers.core.queue.turns import Look


def last_event(jobs: Jobs, job_id: str) -> tuple[str, Progress]:
    ((_, fields),) = jobs.redis.xrevrange(events_key(job_id), count=1)
    return fields[b"event"].decode(), Progress.model_validate_json(fields[b"data"])


@pytest.mark.parametrize("tiles", [0.0, 2.5])
@pytest.mark.parametrize("before", [0, 3])
def test_what_a_landing_tells_is_what_the_record_says(jobs: Jobs, tiles: float, before: int) -> None:
    job_id = submitted(jobs)
    me = worker(jobs)
    me.planned(begun(me, Task(job_id, "plan")), range(7), 7 + before, 0.5)
    keys = JobKeys(job_id)
    since = (datetime.now(UTC) - timedelta(seconds=1000)).isoformat()
    jobs.redis.hset(keys.record, "first_region_at", since)
    for index in range(6):  # the last but one is the last that is told so
        me.region_done(begun(me, Task(job_id, "region", index)), 1.25, tiles)
        kind, told = last_event(jobs, job_id)
        record = decode(jobs.redis.hgetall(keys.record))
        expected = progress_of(record, jobs.redis.scard(keys.todo))
        assert (kind, told.state, told.phase) == ("progress", expected.state, expected.phase)
        assert (told.regions_done, told.regions_total) == (expected.regions_done, expected.regions_total)
        assert told.tiles_per_s == (None if expected.tiles_per_s is None else pytest.approx(expected.tiles_per_s, 0.02))
        assert told.eta_s == pytest.approx(expected.eta_s, 0.02)
    assert float(record["segment_s"]) == 6 * 1.25
    assert float(record["tiles"]) == 6 * tiles


def test_a_job_that_counts_nothing_yet_tells_so(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "region", 0))
    jobs.redis.hdel(JobKeys(job_id).record, "regions_total", "regions_before")  # of a record that was mended by hand
    me.region_done(lease, 0.1)
    _, told = last_event(jobs, job_id)
    assert (told.regions_total, told.tiles_per_s, told.eta_s) == (None, None, None)


def test_first_and_later_tries_of_a_region(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    keys, task = JobKeys(job_id), Task(job_id, "region", 1)
    first, second = worker(jobs), worker(jobs)
    lease = begun(first, task)
    since = jobs.redis.hget(keys.record, "first_region_at").decode()
    assert (lease.attempt, lease.first_region_at) == (1, since)
    assert second.begin(task) is None
    assert jobs.redis.hget(keys.attempts, task.name) == b"1"  # who found it held has not tried
    first.retire()
    again = begun(second, task)
    assert (again.attempt, again.first_region_at) == (2, since)
    assert jobs.redis.hgetall(keys.leases) == {task.name.encode(): again.value.encode()}
    with pytest.raises(Superseded):
        first.region_done(lease, 0.1)
    assert begun(second, task).attempt == 3  # its own: it came back to it
    assert second.begin(task) is None  # a try too many
    assert jobs.view(job_id).state == "failed"


def test_a_try_too_many_by_a_living_worker_is_left_to_it(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    task = Task(job_id, "region", 1)
    me = worker(jobs)
    for _ in range(jobs.settings.task_retries):
        me.release(begun(me, task))
    lease = begun(me, task)
    assert worker(jobs).begin(task) is None
    me.check(lease)
    assert jobs.view(job_id).state == "running"


def test_what_landed_is_forgotten_by_the_next_sweep(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    keys, me = JobKeys(job_id), worker(jobs)
    me.region_done(begun(me, Task(job_id, "region", 0)), 0.1)
    begun(me, Task(job_id, "region", 1))
    sweep(jobs)
    assert set(jobs.redis.hkeys(OUT)) == {f"{job_id} region-{index}".encode() for index in (1, 2)}
    assert jobs.redis.hkeys(keys.leases) == [b"region-1"]


def test_a_task_that_was_missed_and_is_at_work_is_missed_no_more(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    drain(jobs)
    sweep(jobs)
    assert len(jobs.redis.hkeys(JobKeys(job_id).missing)) == 2
    me = worker(jobs)
    begun(me, Task(job_id, "region", 0))
    sweep(jobs)
    assert jobs.redis.hkeys(JobKeys(job_id).missing) == [b"region-1"]


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_a_region_is_handed_out_where_its_job_has_its_place(jobs: Jobs, priority: str) -> None:
    request = REQUEST.model_copy(update={"priority": priority})
    job_id = stored(jobs, request=request)
    jobs.submit(job_id, request)
    me = worker(jobs)
    me.planned(begun(me, Task(job_id, "plan")), range(9), 9, 0.5)
    queue = jobs.regions if priority == "interactive" else jobs.batch_regions
    assert queue.count == 9
    jobs.redis.ltrim(queue.key, 0, 3)
    told = me._scripts.take(Task(job_id, "region", 8), me.worker_id, 3)
    assert told is not None
    assert (told.queued, told.priority) == (4, priority)


def test_a_lease_that_was_just_taken_is_not_asked_for_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("workers.core.queue.leases.time.monotonic", lambda: now)
    job_id = running(jobs, 2)
    me = worker(jobs)
    other, lease = (begun(me, Task(job_id, "region", index)) for index in (0, 1))
    jobs.cancel(job_id)
    me.glance(lease)
    for each in (lease, other):
        with pytest.raises(JobCanceled):
            me.glance(each)
    second = running(jobs, 2)
    late = begun(me, Task(second, "region", 0))
    now += leases.GLANCE_S
    jobs.cancel(second)
    with pytest.raises(JobCanceled):
        me.glance(late)


def test_commands_of_a_region(jobs: Jobs) -> None:
    """As Redis counts them, those inside scripts as well. The pop, its entry and its deletion are RQ's, and three."""
    job_id = running(jobs, 50)
    me = worker(jobs)
    me.region_done(begun(me, Task(job_id, "region", 0)), 0.5, 1)
    me.jobs.turns._looks = {"": Look(1, 0, time.monotonic())}  # as where one worker lives
    jobs.redis.config_resetstat()
    lease = begun(me, Task(job_id, "region", 1))
    taking = calls(jobs)
    jobs.redis.config_resetstat()
    me.glance(lease)
    me.region_done(lease, 0.5, 1)
    assert taking == Counter(["evalsha", "hmget", "hincrby", "hsetnx", "llen"])
    assert calls(jobs) == Counter(["evalsha", "hget", "scard", "srem", "hdel", "hmget", "hset", "xadd"])
    assert jobs.regions.count == 50


def calls(jobs: Jobs) -> Counter[str]:
    told = {name.removeprefix("cmdstat_"): each["calls"] for name, each in jobs.redis.info("commandstats").items()}
    return Counter({name: count for name, count in told.items() if name.partition("|")[0] not in ("config", "info")})
