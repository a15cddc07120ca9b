"""What Redis forgot and what dead workers left behind, against a real queue server."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from queue_fixtures import (
    REQUEST,
    begun,
    drain,
    entries,
    finishing,
    running,
    stored,
    submitted,
    sweep,
    until,
    worker,
    write_result,
)

from server.catalogue.catalogue import Catalogue
from server.catalogue.listing import list_jobs
from workers.core.errors.base import JobNotFound, MppMissing
from workers.core.queue.heartbeat import note_end
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import REAPER_LOCK, JobKeys, Task
from workers.core.queue.lease import Superseded
from workers.core.queue.leases import Leases
from workers.core.queue.pulse import Heartbeat
from workers.core.queue.reaper import Reaper
from workers.core.store import new_id

# --- what Redis forgot ------------------------------------------------------------------------------------------------


def test_without_redis_data_the_disk_tells(jobs: Jobs) -> None:
    canceled, failed, done = submitted(jobs), submitted(jobs), submitted(jobs)
    jobs.cancel(canceled)
    jobs.fail(failed, MppMissing("The slide does not say it."))
    write_result(jobs, done)
    jobs.redis.flushall()
    lost = stored(jobs)
    assert jobs.view(canceled).state == "canceled"
    assert jobs.view(failed).state == "failed"
    error = jobs.view(failed).error
    assert error is not None
    assert error.code == "mpp_missing"
    assert (jobs.view(done).state, jobs.view(done).regions_total) == ("succeeded", 7)
    assert jobs.view(lost).state == "queued"
    assert {view.id for view in list_jobs(Catalogue(jobs), 10)[0]} == {canceled, failed, done, lost}
    with pytest.raises(JobNotFound):
        jobs.view(new_id())
    with pytest.raises(JobNotFound):
        jobs.view("../../etc")


def test_a_job_on_disk_that_redis_does_not_know_is_submitted_by_the_reaper(jobs: Jobs) -> None:
    created_at = datetime(2026, 1, 2, tzinfo=UTC)
    lost = stored(jobs, created_at)
    canceled, done, broken = submitted(jobs), submitted(jobs), stored(jobs)
    jobs.cancel(canceled)
    write_result(jobs, done)
    (jobs.store.job_dir(broken) / "job.json").write_text("{")
    jobs.redis.flushall()
    sweep(jobs)
    assert entries(jobs) == [("plan_slide", [lost])]
    assert jobs.view(lost).created_at == created_at
    assert (jobs.view(canceled).state, jobs.view(done).state) == ("canceled", "succeeded")
    sweep(jobs)
    assert len(entries(jobs)) == 1


def test_cancel_of_a_job_that_redis_lost_holds(jobs: Jobs) -> None:
    lost = stored(jobs)
    assert jobs.cancel(lost).state == "canceled"
    sweep(jobs)
    assert jobs.view(lost).state == "canceled"
    assert worker(jobs).begin(Task(lost, "plan")) is None


def test_list_is_newest_first_and_bounded(jobs: Jobs) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [stored(jobs, start + timedelta(hours=hour)) for hour in range(5)]
    for job_id in (ids[0], ids[3], ids[4]):
        jobs.submit(job_id, REQUEST, jobs.store.read_request(job_id).created_at)
    assert [view.id for view in list_jobs(Catalogue(jobs), 10)[0]] == ids[::-1]
    assert [view.id for view in list_jobs(Catalogue(jobs), 2)[0]] == [ids[4], ids[3]]


def test_active_jobs(jobs: Jobs) -> None:
    assert jobs.active() == ()
    first, second, ended = submitted(jobs), running(jobs, 2), submitted(jobs)
    jobs.cancel(ended)
    assert {view.id for view in jobs.active()} == {first, second}


# --- workers that die -------------------------------------------------------------------------------------------------


def test_the_task_of_a_silent_worker_goes_back_at_once(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    dead = worker(jobs)
    lease = begun(dead, Task(job_id, "region", 1))
    drain(jobs)
    sweep(jobs)
    assert entries(jobs) == []  # it lives
    dead.retire()
    sweep(jobs)
    assert entries(jobs) == [("segment_region", [job_id, 1])]
    with pytest.raises(Superseded):
        dead.check(lease)


def test_who_saw_a_worker_end_takes_over_at_once(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    dead = worker(jobs)
    begun(dead, Task(job_id, "region", 1))
    drain(jobs)
    jobs.redis.set(REAPER_LOCK, "another's", px=60_000)
    Reaper(jobs).take_over(dead.worker_id)  # its last sign of life still stands, and somebody else has just swept
    assert entries(jobs) == [("segment_region", [job_id, 1])]


def test_a_worker_that_wakes_up_is_told_to_stop(jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    sleeper, other = worker(jobs), worker(jobs)
    old = begun(sleeper, Task(job_id, "region", 0))
    sleeper.retire()
    sweep(jobs)
    new = begun(other, Task(job_id, "region", 0))
    sleeper.beat()
    assert (old.attempt, new.attempt) == (1, 2)
    with pytest.raises(Superseded):
        sleeper.check(old)
    with pytest.raises(Superseded):
        sleeper.region_done(old, 0.1)
    sleeper.release(old)
    other.check(new)
    other.region_done(new, 0.1)
    assert jobs.view(job_id).state == "finishing"


def test_a_task_held_by_a_living_worker_is_not_begun_twice(jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    begun(worker(jobs), Task(job_id, "region", 0))
    assert worker(jobs).begin(Task(job_id, "region", 0)) is None


@pytest.mark.parametrize("kind", ["plan", "region", "finish"])
def test_a_task_that_is_nowhere_goes_back_after_the_lease_time(jobs: Jobs, kind: str) -> None:
    job_id = {"plan": submitted, "region": lambda jobs: running(jobs, 1), "finish": finishing}[kind](jobs)
    drain(jobs)
    sweep(jobs)
    assert entries(jobs) == []  # its worker may be about to say that it has it
    until(lambda: len(entries(jobs)) == 1, lambda: sweep(jobs))
    assert entries(jobs)[0][1][0] == job_id
    assert entries(jobs)[0][0] == {"plan": "plan_slide", "region": "segment_region", "finish": "finish_slide"}[kind]


def test_a_task_that_was_missing_for_a_moment_is_not_queued_twice(jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    drain(jobs)
    sweep(jobs)
    me = worker(jobs)
    begun(me, Task(job_id, "region", 0))
    time.sleep(jobs.settings.lease_s)
    me.beat()
    sweep(jobs)
    sweep(jobs)
    assert entries(jobs) == []


def test_a_task_between_two_tries_is_not_queued_twice(jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    drain(jobs)
    sweep(jobs)  # seen nowhere, long ago
    me = worker(jobs)
    lease = begun(me, Task(job_id, "region", 0))
    time.sleep(jobs.settings.lease_s)
    me.release(lease)  # it failed; RQ is about to queue it
    sweep(jobs)
    assert entries(jobs) == []


def test_what_waits_in_the_queue_waits_in_peace(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    drain(jobs)
    sweep(jobs)
    until(lambda: len(entries(jobs)) == 3, lambda: sweep(jobs))
    before = entries(jobs)
    for _ in range(3):
        time.sleep(jobs.settings.lease_s)
        sweep(jobs)
    assert entries(jobs) == before
    assert jobs.redis.hgetall(JobKeys(job_id).missing) == {}


def test_a_worker_that_dies_while_it_queues_the_finish_loses_nothing(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = running(jobs, 1)
    dead = worker(jobs)
    lease = begun(dead, Task(job_id, "region", 0))
    drain(jobs)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "enqueue", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            dead.region_done(lease, 0.1)
    assert (jobs.view(job_id).state, jobs.view(job_id).regions_done) == ("running", 0)
    dead.retire()
    sweep(jobs)
    assert entries(jobs) == [("segment_region", [job_id, 0])]
    other = worker(jobs)
    other.region_done(begun(other, Task(job_id, "region", 0)), 0.1)
    assert entries(jobs)[0] == ("finish_slide", [job_id])


def test_all_regions_done_and_no_finish_is_mended(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    drain(jobs)
    jobs.redis.delete(JobKeys(job_id).todo)
    until(lambda: len(entries(jobs)) == 1, lambda: sweep(jobs))
    assert entries(jobs) == [("finish_slide", [job_id])]
    assert jobs.view(job_id).state == "finishing"


def test_a_poisonous_region_ends_its_job_not_the_workers(jobs: Jobs) -> None:
    job_id, other = running(jobs, 2), running(jobs, 1)
    deaths = 0
    while jobs.view(job_id).state == "running":
        victim = worker(jobs)
        begun(victim, Task(job_id, "region", 1))
        victim.retire()
        note_end(jobs.redis, victim.worker_id, "SIGKILL")
        deaths += 1
        sweep(jobs)
    assert deaths == jobs.settings.task_retries + 1
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.value) == ("failed", "job_lost", "region-1")
    assert "the last one by SIGKILL" in view.error.message
    assert jobs.view(other).state == "running"


def test_a_task_that_was_begun_too_often_is_not_begun_again(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    me = worker(jobs)
    for _ in range(jobs.settings.task_retries + 1):
        me.release(begun(me, Task(job_id, "region", 0)))
    assert me.begin(Task(job_id, "region", 0)) is None
    error = jobs.view(job_id).error
    assert error is not None
    assert error.code == "job_lost"


def test_one_sweep_per_heartbeat_whoever_asks(jobs: Jobs) -> None:
    jobs.redis.delete(REAPER_LOCK)
    slow = Jobs(jobs.settings.redis_url, jobs.settings.model_copy(update={"heartbeat_s": 60.0}))
    assert [Reaper(slow).sweep() for _ in range(3)] == [True, False, False]
    slow.close()


def test_a_heart_that_beats_keeps_the_lease_and_mends_the_queue(jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    drain(jobs)
    leases = Leases(jobs, new_id())
    with Heartbeat(leases):
        assert jobs.workers() == 1
        until(lambda: entries(jobs) == [("segment_region", [job_id, 0])])
        time.sleep(jobs.settings.lease_s * 1.5)
        assert jobs.workers() == 1
    assert jobs.workers() == 0
