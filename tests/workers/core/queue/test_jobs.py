"""Jobs against a real queue server. No slides here: tasks are begun and ended by hand."""

import json
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from queue_fixtures import (
    DEADLINE_S,
    REQUEST,
    begun,
    drain,
    entries,
    finishing,
    running,
    stored,
    submitted,
    sweep,
    worker,
    write_result,
)

from server.catalogue.catalogue import Catalogue
from server.catalogue.listing import list_jobs
from workers.core.errors.base import JobCanceled, JobNotFound, MppMissing, QueueUnavailable
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.lease import Lease, Superseded
from workers.core.queue.leases import Leases
from workers.core.schemas import JobRequest, JobView
from workers.core.settings import Settings
from workers.core.store import new_id

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
        data = fields[b"data"]
        function, instance, args, kwargs = json.loads(data if data.startswith(b"[") else zlib.decompress(data))
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


def test_later_jobs_do_not_wait_for_the_tasks_of_one_that_ended(jobs: Jobs) -> None:
    first, ended, last = (running(jobs, count) for count in (3, 500, 2))
    waiting = submitted(jobs)
    drained = jobs.control.get_job_ids()
    jobs.cancel(ended)
    assert entries(jobs)[-5:] == [
        ("segment_region", [job_id, i]) for job_id, n in ((first, 3), (last, 2)) for i in range(n)
    ]
    assert [job_id for job_id in drained if not job_id.startswith(ended)] == jobs.control.get_job_ids()
    assert any(job_id.startswith(waiting) for job_id in jobs.control.get_job_ids())
    assert jobs.redis.keys(f"rq:job:{ended}-*") == []
    assert len(jobs.redis.keys(f"rq:job:{first}-region-*")) == 3


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
    assert list_jobs(Catalogue(jobs), 10)[0] == ()
    assert jobs.redis.keys("ldiffusion:job:*") == []


# --- no Redis ---------------------------------------------------------------------------------------------------------


def test_without_redis_every_call_says_so(queue_settings: Settings, tmp_path: Path) -> None:
    jobs = Jobs(f"unix://{tmp_path}/nobody.sock", queue_settings)
    job_id = stored(jobs)
    calls: list[Callable[[], object]] = [
        jobs.ping, jobs.workers, lambda: jobs.submit(job_id, REQUEST), lambda: jobs.view(job_id),
        lambda: list_jobs(Catalogue(jobs), 5)[0], lambda: jobs.cancel(job_id), lambda: jobs.forget(job_id),
        jobs.active, lambda: Leases(jobs, "me").beat(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(QueueUnavailable, match="does not answer"):
            call()
    with pytest.raises(QueueUnavailable, match="No queue address"):
        Jobs("", queue_settings)


def test_views_are_whole(jobs: Jobs) -> None:
    view = jobs.view(submitted(jobs))
    assert view == JobView(id=view.id, state="queued", request=REQUEST, created_at=view.created_at)
