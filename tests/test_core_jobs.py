"""Jobs, leases and the janitor against a real queue server. No slides here: a task is begun and ended by hand."""

import json
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from workers.core.errors import JobCanceled, JobNotFound, MppMissing, QueueUnavailable
from workers.core.janitor import Heartbeat, Janitor
from workers.core.jobs import Jobs
from workers.core.leases import Lease, Leases, Superseded
from workers.core.queue_names import CONTROL_QUEUE, JANITOR_LOCK, REGION_QUEUE, JobKeys, Task
from workers.core.queue_worker import QueueWorker
from workers.core.schemas import JobRequest, JobView, Provenance
from workers.core.settings import Settings
from workers.core.store import new_id

REQUEST = JobRequest(slide_id=new_id(), model="made", mpp=0.5)
DEADLINE_S = 20


@pytest.fixture
def settings(tmp_path: Path, gateway_queue: str) -> Settings:
    with redis.Redis.from_url(gateway_queue) as connection:
        connection.flushall()
    return Settings(data_dir=tmp_path / "data", redis_url=gateway_queue, heartbeat_s=0.05, lease_s=0.3, task_retries=1)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    queue = Jobs(settings.redis_url, settings)
    yield queue
    queue.close()


def stored(jobs: Jobs, created_at: datetime | None = None, request: JobRequest = REQUEST) -> str:
    """A job on disk that Redis has not heard of."""
    job_id = new_id()
    jobs.store.save_request(job_id, request, created_at or datetime.now(UTC))
    return job_id


def submitted(jobs: Jobs) -> str:
    job_id = stored(jobs)
    jobs.submit(job_id, REQUEST)
    return job_id


def worker(jobs: Jobs) -> Leases:
    leases = Leases(jobs, new_id())
    leases.beat()
    return leases


def begun(leases: Leases, task: Task) -> Lease:
    lease = leases.begin(task)
    assert lease is not None
    return lease


def running(jobs: Jobs, count: int) -> str:
    """A job whose plan has `count` regions."""
    job_id = submitted(jobs)
    planner = worker(jobs)
    planner.planned(begun(planner, Task(job_id, "plan")), range(count), count, 0.5)
    planner.retire()
    return job_id


def finishing(jobs: Jobs) -> str:
    return running(jobs, 0)


def entries(jobs: Jobs) -> list[tuple[str, list[Any]]]:
    """(function, arguments) of everything queued, control first."""
    found = []
    for queue in (jobs.control, jobs.regions):
        for entry in queue.get_jobs():
            function, _, args, _ = json.loads(entry.data)
            found.append((function.removeprefix("workers.tasks."), args))
    return found


def drain(jobs: Jobs) -> None:
    """Take everything out of the queue, as workers do that die right after."""
    jobs.redis.delete(jobs.control.key, jobs.regions.key)


def sweep(jobs: Jobs) -> None:
    jobs.redis.delete(JANITOR_LOCK)
    assert Janitor(jobs).sweep()


def until(condition: Callable[[], bool], step: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        step()
        time.sleep(0.01)


def write_result(jobs: Jobs, job_id: str) -> None:
    now = datetime.now(UTC)
    result = Provenance(
        job_id=job_id, slide_id=REQUEST.slide_id, slide_sha256="0" * 64, slide_filename="a.svs", model="made",
        model_digest="0" * 64, mpp_x=0.5, mpp_y=0.5, mpp_source="request", model_mpp=0.5, seed=0, region_px=256,
        halo_px=16, regions=7, backend="openslide", versions={}, timings_s={}, files={}, created_at=now,
        finished_at=now,
    )  # fmt: skip
    jobs.store.write_json(jobs.store.job_dir(job_id) / "result.json", result)


# --- life of a job ----------------------------------------------------------------------------------------------------


def test_a_job_goes_from_queued_to_succeeded(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    me = worker(jobs)
    assert jobs.view(job_id).state == "queued"
    assert entries(jobs) == [("plan_slide", [job_id])]

    plan = begun(me, Task(job_id, "plan"))
    assert jobs.view(job_id).state == "planning"
    assert jobs.view(job_id).started_at is not None
    assert jobs.view(job_id).regions_total is None

    drain(jobs)
    me.planned(plan, [3, 5], 2, 0.5)
    assert (jobs.view(job_id).state, jobs.view(job_id).regions_total) == ("running", 2)
    assert entries(jobs) == [("segment_region", [job_id, 3]), ("segment_region", [job_id, 5])]

    drain(jobs)
    me.region_done(begun(me, Task(job_id, "region", 5)), 1.25)
    assert (jobs.view(job_id).state, jobs.view(job_id).regions_done) == ("running", 1)
    assert entries(jobs) == []
    me.region_done(begun(me, Task(job_id, "region", 3)), 1.5)
    assert (jobs.view(job_id).state, jobs.view(job_id).regions_done) == ("finishing", 2)
    assert entries(jobs) == [("finish_slide", [job_id])]

    assert me.timings(job_id) == {"plan": 0.5, "segment": 2.75}
    me.finished(begun(me, Task(job_id, "finish")))
    view = jobs.view(job_id)
    assert (view.state, view.regions_done, view.regions_total, view.error) == ("succeeded", 2, 2, None)
    assert view.finished_at is not None
    assert jobs.redis.keys(f"{JobKeys(job_id).record}:*") == []


def test_a_job_without_tissue_goes_straight_to_the_finish(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    assert (jobs.view(job_id).state, jobs.view(job_id).regions_total) == ("finishing", 0)
    assert ("finish_slide", [job_id]) in entries(jobs)


def test_regions_that_landed_before_are_counted_and_not_queued(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    me = worker(jobs)
    drain(jobs)
    me.planned(begun(me, Task(job_id, "plan")), [4], 3, 0.5)
    assert (jobs.view(job_id).regions_done, jobs.view(job_id).regions_total) == (2, 3)
    assert entries(jobs) == [("segment_region", [job_id, 4])]


def test_submitting_twice_queues_once_and_changes_nothing(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    before = jobs.view(job_id), entries(jobs)
    jobs.submit(job_id, JobRequest(slide_id=new_id()))
    assert (jobs.view(job_id), entries(jobs)) == before


def test_the_queue_holds_ids_as_json_and_no_pickle(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    found = list(jobs.redis.keys("rq:job:*"))
    assert len(found) == 3
    for key in found:
        fields = jobs.redis.hgetall(key)
        function, instance, args, kwargs = json.loads(zlib.decompress(fields[b"data"]))
        assert function.startswith("workers.tasks.")
        assert (instance, args[0], kwargs) == (None, job_id, {})
        assert not any(value.startswith(b"\x80") for value in fields.values())  # how every pickle since 2.0 begins


def test_planned_twice_by_two_workers_counts_once(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    slow, quick = Leases(jobs, new_id()), worker(jobs)
    plan = begun(slow, Task(job_id, "plan"))  # it never showed a sign of life
    drain(jobs)
    quick.planned(begun(quick, Task(job_id, "plan")), [0, 1], 2, 0.5)
    with pytest.raises(Superseded):
        slow.planned(plan, [0, 1], 2, 0.5)
    assert len(entries(jobs)) == 2


def test_finish_is_queued_once_whoever_lands_last(jobs: Jobs) -> None:
    for _ in range(15):
        job_id = running(jobs, 2)
        hands = [worker(jobs), worker(jobs)]
        leases = [begun(hand, Task(job_id, "region", index)) for index, hand in enumerate(hands)]
        drain(jobs)
        together = threading.Barrier(2)

        def land(hand: Leases, lease: Lease, together: threading.Barrier = together) -> None:
            together.wait(DEADLINE_S)
            hand.region_done(lease, 0.1)

        threads = [threading.Thread(target=land, args=pair) for pair in zip(hands, leases, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert entries(jobs) == [("finish_slide", [job_id])]
        assert jobs.view(job_id).state == "finishing"


def test_progress_never_goes_back(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "region", 1))
    me.region_done(lease, 0.1)
    with pytest.raises(Superseded):
        me.region_done(lease, 0.1)
    assert me.begin(Task(job_id, "region", 1)) is None
    assert jobs.view(job_id).regions_done == 1


def test_eta_follows_the_measured_rate(jobs: Jobs) -> None:
    job_id = running(jobs, 10)
    me = worker(jobs)
    assert jobs.view(job_id).eta_s is None
    for index in range(4):
        me.region_done(begun(me, Task(job_id, "region", index)), 0.1)
    since = datetime.now(UTC) - timedelta(seconds=40)
    jobs.redis.hset(JobKeys(job_id).record, "first_region_at", since.isoformat())
    assert jobs.view(job_id).eta_s == pytest.approx(60, abs=5)  # 4 in 40 s, 6 to go


# --- cancel and fail --------------------------------------------------------------------------------------------------


def test_cancel_is_final_wherever_the_job_stands(jobs: Jobs) -> None:
    me = worker(jobs)
    for job_id, task in [
        (submitted(jobs), "plan"), (running(jobs, 2), "region"), (finishing(jobs), "finish")
    ]:  # fmt: skip
        lease = begun(me, Task(job_id, task))  # type: ignore[arg-type]
        (jobs.store.job_dir(job_id) / "labels.zarr").mkdir()
        (jobs.store.job_dir(job_id) / "overlay.ome.tif").write_bytes(b"half")
        assert jobs.cancel(job_id).state == "canceled"
        assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == ["ended.json", "job.json"]
        with pytest.raises(JobCanceled):
            me.check(lease)
        report: Callable[[], None] = {
            "plan": lambda lease=lease: me.planned(lease, [0], 1, 0.1),
            "region": lambda lease=lease: me.region_done(lease, 0.1),
            "finish": lambda lease=lease: me.finished(lease),
        }[task]
        with pytest.raises(JobCanceled):
            report()
        assert me.begin(Task(job_id, task)) is None  # type: ignore[arg-type]
        jobs.fail(job_id, MppMissing("Too late."))
        sweep(jobs)
        view = jobs.cancel(job_id)
        assert (view.state, view.error) == ("canceled", None)


def test_how_many_regions_were_done_stays_after_the_end(jobs: Jobs) -> None:
    job_id = running(jobs, 3)
    me = worker(jobs)
    me.region_done(begun(me, Task(job_id, "region", 1)), 0.1)
    view = jobs.cancel(job_id)
    assert (view.regions_done, view.regions_total) == (1, 3)


def test_a_failed_job_shows_its_error_and_stays_failed(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    error = MppMissing("The slide does not say it.", accepted="mpp")
    jobs.fail(job_id, error)
    view = jobs.view(job_id)
    assert view.state == "failed"
    assert view.error is not None
    assert view.error.model_dump() == error.as_dict()
    assert jobs.cancel(job_id).state == "failed"


def test_a_succeeded_job_cannot_be_canceled(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "finish"))
    write_result(jobs, job_id)
    me.finished(lease)
    assert jobs.cancel(job_id).state == "succeeded"
    assert (jobs.store.job_dir(job_id) / "result.json").exists()


def test_a_forgotten_job_is_gone_and_its_tasks_stop(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "region", 0))
    jobs.forget(job_id)
    jobs.store.delete_job(job_id)
    with pytest.raises(JobNotFound):
        jobs.view(job_id)
    with pytest.raises(Superseded):
        me.check(lease)
    assert jobs.list(10) == ()
    assert jobs.redis.keys("ldiffusion:job:*") == []


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
    assert {view.id for view in jobs.list(10)} == {canceled, failed, done, lost}
    with pytest.raises(JobNotFound):
        jobs.view(new_id())
    with pytest.raises(JobNotFound):
        jobs.view("../../etc")


def test_a_job_on_disk_that_redis_does_not_know_is_submitted_by_the_janitor(jobs: Jobs) -> None:
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
    assert [view.id for view in jobs.list(10)] == ids[::-1]
    assert [view.id for view in jobs.list(2)] == [ids[4], ids[3]]


def test_active_jobs_of_a_slide(jobs: Jobs) -> None:
    first, second, ended = submitted(jobs), running(jobs, 2), submitted(jobs)
    jobs.cancel(ended)
    assert set(jobs.active_jobs_of(REQUEST.slide_id)) == {first, second}
    assert jobs.active_jobs_of(new_id()) == ()


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
        deaths += 1
        sweep(jobs)
    assert deaths == jobs.settings.task_retries + 1
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code, view.error.value) == ("failed", "job_lost", "region-1")
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
    jobs.redis.delete(JANITOR_LOCK)
    slow = Jobs(jobs.settings.redis_url, jobs.settings.model_copy(update={"heartbeat_s": 60.0}))
    assert [Janitor(slow).sweep() for _ in range(3)] == [True, False, False]
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


# --- what a worker runs -----------------------------------------------------------------------------------------------


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


# --- no Redis ---------------------------------------------------------------------------------------------------------


def test_without_redis_every_call_says_so(settings: Settings, tmp_path: Path) -> None:
    jobs = Jobs(f"unix://{tmp_path}/nobody.sock", settings)
    job_id = stored(jobs)
    calls: list[Callable[[], object]] = [
        jobs.ping, jobs.workers, lambda: jobs.submit(job_id, REQUEST), lambda: jobs.view(job_id),
        lambda: jobs.list(5), lambda: jobs.cancel(job_id), lambda: jobs.forget(job_id),
        lambda: jobs.active_jobs_of(job_id), lambda: Leases(jobs, "me").beat(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(QueueUnavailable, match="does not answer"):
            call()
    with pytest.raises(QueueUnavailable, match="No queue address"):
        Jobs("", settings)


def test_views_are_whole(jobs: Jobs) -> None:
    view = jobs.view(submitted(jobs))
    assert view == JobView(id=view.id, state="queued", request=REQUEST, created_at=view.created_at)
