"""Events in Redis, keys that make a request happen once, and who goes first."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
from pipeline_fixtures import asked_for, work
from queue_fixtures import REQUEST, begun, drain, entries, finishing, running, stored, submitted, sweep, until, worker

from server.jobs.idempotency import Reservation
from workers import stages
from workers.core.errors.base import RequestInvalid
from workers.core.errors.jobs import KeyReused
from workers.core.queue.events import EVENTS_MAX, Progress, add_event, events_key, parse_event_id
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import RATES, Task
from workers.core.queue.rates import TELL_S, Paces
from workers.core.store import new_id
from workers.runtime import Runtime

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


def test_ids_of_events_are_ids() -> None:
    assert parse_event_id(None) is parse_event_id("") is None
    assert parse_event_id("1700000000000-3") == "1700000000000-3"
    for text in ("$", "+", "7", "1-2-3", "a-b", "1-0\r\n"):
        with pytest.raises(RequestInvalid):
            parse_event_id(text)


def test_the_rate_of_a_model_follows_what_is_measured(jobs: Jobs) -> None:
    me = worker(jobs)
    me.paces = Paces(jobs.redis, partial(next, count(step=TELL_S)))
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
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
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
