"""Lists in pages, events in Redis, keys that make a request happen once, and who goes first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_fixtures import asked_for, work
from queue_fixtures import REQUEST, begun, drain, entries, finishing, running, stored, submitted, sweep, until, worker

from server.jobs.idempotency import Reservation
from server.jobs.listing import JobFilter, list_jobs
from server.jobs.pagination import Place, after, page, read_cursor, write_cursor
from workers import stages, tasks
from workers.core.errors.base import RequestInvalid
from workers.core.errors.jobs import KeyReused
from workers.core.queue.events import EVENTS_MAX, Progress, add_event, events_key, parse_event_id
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import RATES, Task
from workers.core.schemas import JobRequest
from workers.core.store import new_id

# --- pages ------------------------------------------------------------------------------------------------------------

PLACES = st.builds(Place, st.floats(0, 2e9, allow_nan=False), st.text("0123456789abcdef", min_size=1, max_size=4))


@given(places=st.lists(PLACES, unique=True, max_size=30), limit=st.integers(1, 7))
def test_pages_show_everything_once_the_newest_first(places: list[Place], limit: int) -> None:
    shown: list[Place] = []
    cursor: str | None = None
    for _ in range(len(places) + 1):
        following = after(places, read_cursor(cursor))
        items, cursor = page([(place, place) for place in following[: limit + 1]], limit)
        shown += items
        if cursor is None:
            break
    assert shown == sorted(places, reverse=True)


@pytest.mark.parametrize("text", ["x", "AAAA", "!!!!", "é" * 5, "MTIzNA==x"])
def test_a_cursor_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="cursor"):
        read_cursor(text)
    assert read_cursor(None) is read_cursor("") is None
    assert read_cursor(write_cursor(Place(1.25, "ab"))) == (1.25, "ab")


def test_jobs_of_redis_and_of_the_disk_come_in_one_order_and_in_pages(jobs: Jobs) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [stored(jobs, start + timedelta(hours=hour)) for hour in range(7)]
    for number in (0, 2, 3, 6):
        jobs.submit(ids[number], REQUEST, start + timedelta(hours=number))
    first, cursor = list_jobs(jobs, 3)
    stored(jobs)  # one that comes in between
    second, last = list_jobs(jobs, 4, cursor=read_cursor(cursor))
    assert [view.id for view in first + second] == ids[::-1]
    assert last is None


def test_filters_are_all_of_them(jobs: Jobs) -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    one, other = running(jobs, 1), submitted(jobs)
    aged = stored(jobs, old, JobRequest(slide_id="x" * 32, model="other"))
    jobs.cancel(aged)

    def found(**wanted: Any) -> set[str]:
        return {view.id for view in list_jobs(jobs, 10, JobFilter(**wanted))[0]}

    assert found() == {one, other, aged}
    assert found(states=("running",)) == {one}
    assert found(states=("running", "canceled")) == {one, aged}
    assert found(slide_id=REQUEST.slide_id) == {one, other}
    assert found(model="other") == {aged}
    assert found(since=old + timedelta(hours=1)) == {one, other}
    assert found(states=("queued",), model="other") == set()


# --- events -----------------------------------------------------------------------------------------------------------


def told(jobs: Jobs, job_id: str) -> list[tuple[str, Progress]]:
    return [
        (fields[b"event"].decode(), Progress.model_validate_json(fields[b"data"]))
        for _, fields in jobs.redis.xrange(events_key(job_id))
    ]


def test_every_change_is_told_in_its_order(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    me = worker(jobs)
    for index in (0, 1):
        me.region_done(begun(me, Task(job_id, "region", index)), 0.1, 4)
    lease = begun(me, Task(job_id, "finish"))
    me.announce(lease, "overlay.ome.tif")
    assert jobs.view(job_id).phase == "overlay.ome.tif"
    me.finished(lease)
    found = told(jobs, job_id)
    assert [(kind, progress.state, progress.phase, progress.regions_done) for kind, progress in found] == [
        ("state", "queued", None, 0),
        ("state", "planning", "planning", 0),
        ("state", "queued", None, 0),  # planned, until the turn of its first region
        ("state", "running", "segmenting", 0),
        ("progress", "running", "segmenting", 1),
        ("state", "finishing", None, 2),
        ("progress", "finishing", "overlay.ome.tif", 2),
        ("end", "succeeded", None, 2),
    ]
    rate = found[4][1].tiles_per_s
    assert rate is not None
    assert rate > 0
    assert 0 < jobs.redis.ttl(events_key(job_id)) <= 3600


def test_a_cancel_is_told_as_one(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    jobs.cancel(job_id)
    assert [(kind, progress.state) for kind, progress in told(jobs, job_id)][-1] == ("end", "canceled")
    jobs.forget(job_id)
    assert jobs.redis.exists(events_key(job_id)) == 0


def test_a_stream_is_capped(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    with jobs.redis.pipeline() as pipe:
        for number in range(EVENTS_MAX + 20):
            add_event(pipe, job_id, "progress", Progress(state="running", regions_done=number))
        pipe.execute()
    found = told(jobs, job_id)
    assert len(found) == EVENTS_MAX
    assert found[-1][1].regions_done == EVENTS_MAX + 19


def test_one_job_that_cannot_be_read_hides_no_other(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    broken, torn, good = (stored(jobs) for _ in range(3))
    (jobs.store.job_dir(broken) / "job.json").write_bytes(b'{"id": "\xff')
    (jobs.store.job_dir(torn) / "ended.json").write_text('{"state"')
    assert [view.id for view in list_jobs(jobs, 10)[0]] == [good]
    assert broken in caplog.text
    assert torn in caplog.text
    sweep(jobs)
    assert entries(jobs) == [("plan_slide", [good])]


def test_ids_of_events_are_ids() -> None:
    assert parse_event_id(None) is parse_event_id("") is None
    assert parse_event_id("1700000000000-3") == "1700000000000-3"
    for text in ("$", "+", "7", "1-2-3", "a-b", "1-0\r\n"):
        with pytest.raises(RequestInvalid):
            parse_event_id(text)


def test_the_rate_of_a_model_follows_what_is_measured(jobs: Jobs) -> None:
    me = worker(jobs)
    assert jobs.s_per_tile("d") is None
    me.measured("d", 8.0, 4)
    me.measured("d", 8.0, 0)
    assert jobs.s_per_tile("d") == 2.0
    for _ in range(100):
        me.measured("d", 1.0, 2)
    assert jobs.s_per_tile("d") == pytest.approx(0.5, abs=0.01)
    assert sorted(jobs.redis.hkeys(RATES)) == [b"d", b"d:slowest"]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_stands_for_one_request(jobs: Jobs) -> None:
    first, other = new_id(), new_id()
    assert Reservation(jobs, "job", "k", REQUEST).take(first) == first
    assert Reservation(jobs, "job", "k", REQUEST).take(other) == first
    assert Reservation(jobs, "batch", "k", REQUEST).take(other) == other
    with pytest.raises(KeyReused):
        Reservation(jobs, "job", "k", REQUEST.model_copy(update={"seed": 3})).take(other)
    Reservation(jobs, "job", "k", REQUEST).release()
    assert Reservation(jobs, "job", "k", REQUEST).take(other) == other
    for key in ("", "a b", "é", "x" * 256):
        with pytest.raises(RequestInvalid):
            Reservation(jobs, "job", key, REQUEST)


# --- who goes first ---------------------------------------------------------------------------------------------------


def test_an_interactive_job_overtakes_a_batch_at_its_next_region(
    here: tasks.Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound: Callable[..., Any] = stages.segment_one
    order: list[str] = []
    asked: dict[str, str] = {"batch": asked_for(jobs, slide_id, priority="batch")}

    def watched(slide: Any, plan: Any, *rest: Any) -> Any:
        order.append(plan.job_id)
        if len(order) == 2:
            asked["interactive"] = asked_for(jobs, slide_id, roi=[300, 300, 800, 500])
        return sound(slide, plan, *rest)

    monkeypatch.setattr(stages, "segment_one", watched)
    work(here)
    count = order.count(asked["interactive"])
    assert count >= 2
    assert order[:2] == [asked["batch"]] * 2
    assert order[2 : 2 + count] == [asked["interactive"]] * count
    assert {jobs.view(job_id).state for job_id in asked.values()} == {"succeeded"}


def test_tasks_of_a_batch_go_back_to_the_queue_of_batches(jobs: Jobs) -> None:
    job_id = stored(jobs)
    jobs.submit(job_id, REQUEST.model_copy(update={"priority": "batch"}))
    assert entries(jobs) == []
    planner = worker(jobs)
    planner.planned(begun(planner, Task(job_id, "plan")), [4], 1, 0.1)
    jobs.redis.delete(jobs.batch_control.key, jobs.batch_regions.key)
    until(lambda: jobs.batch_regions.count == 1, lambda: sweep(jobs))
    me = worker(jobs)
    me.region_done(begun(me, Task(job_id, "region", 4)), 0.1)
    assert (jobs.batch_control.count, entries(jobs)) == (1, [])
    other = finishing(jobs)
    assert ("finish_slide", [other]) in entries(jobs)
    drain(jobs)
