"""What is handed out: whole turns, no more than workers need, as entries that RQ would have written."""

import json

import pytest
from queue_fixtures import REQUEST, begun, drain, entries, running, stored, worker

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.queue.turns import LOOK_S, TURN_REGIONS
from workers.core.schemas import Priority


@pytest.fixture
def queued_least() -> None:
    """As it is."""


def test_the_queue_is_as_short_as_workers_need(jobs: Jobs) -> None:
    job_id = running(jobs, 1000)
    assert jobs.regions.count == TURN_REGIONS  # one worker planned it
    hands = [worker(jobs) for _ in range(TURN_REGIONS + 2)]
    jobs.turns.feed()  # as the first of them does
    assert jobs.regions.count == 2 * TURN_REGIONS
    assert len(jobs.redis.keys("rq:job:*-region-*")) == 2 * TURN_REGIONS
    assert entries(jobs)[-8:] == [("segment_region", [job_id, index]) for index in range(8)]
    for index, hand in enumerate(hands):
        jobs.redis.lpop(jobs.regions.key)
        begun(hand, Task(job_id, "region", index))
        assert len(hands) <= jobs.regions.count < len(hands) + TURN_REGIONS


def test_nothing_is_looked_for_while_enough_is_queued(jobs: Jobs) -> None:
    job_id = running(jobs, 1000)
    me = worker(jobs)
    looks = []
    for index in range(3 * TURN_REGIONS):
        jobs.redis.lpop(jobs.regions.key)
        jobs.redis.config_resetstat()
        begun(me, Task(job_id, "region", index))
        looks.append("cmdstat_rpush" in jobs.redis.info("commandstats"))
    assert looks == [False, False, False, True] * 3


def test_a_task_that_is_nothing_to_do_makes_room_too(jobs: Jobs) -> None:
    job_id = running(jobs, 1000)
    me = worker(jobs)
    begun(me, Task(job_id, "region", 0))
    drain(jobs)
    assert worker(jobs).begin(Task(job_id, "region", 0)) is None  # with a living worker
    assert jobs.regions.count == TURN_REGIONS


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_what_is_handed_out_is_what_rq_would_have_queued(jobs: Jobs, priority: Priority) -> None:
    job_id = stored(jobs)
    jobs.submit(job_id, REQUEST.model_copy(update={"priority": priority}))
    with jobs.redis.pipeline() as pipe:
        pipe.multi()
        jobs.enqueue(pipe, Task(job_id, "plan"), priority)
        pipe.execute()
    control = jobs.control if priority == "interactive" else jobs.batch_control
    handed_out, by_rq = (control.fetch_job(entry) for entry in control.get_job_ids())
    assert handed_out is not None
    assert by_rq is not None
    assert handed_out.id != by_rq.id
    varies = ("created_at", "enqueued_at", "data")
    told = [{key: value for key, value in each.to_dict().items() if key not in varies} for each in (handed_out, by_rq)]
    assert told[0] == told[1]
    assert json.loads(handed_out.data) == json.loads(by_rq.data)
    queued_at = [each.enqueued_at for each in (handed_out, by_rq)]
    assert None not in queued_at


def test_new_workers_are_seen_after_a_while(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("workers.core.queue.turns.time.monotonic", lambda: now)
    job_id = running(jobs, 1000)
    hands = [worker(jobs) for _ in range(TURN_REGIONS + 1)]
    drain(jobs)
    begun(hands[0], Task(job_id, "region", 0))
    assert jobs.regions.count == TURN_REGIONS  # as many as the one wants that was there
    now += LOOK_S
    drain(jobs)
    begun(hands[0], Task(job_id, "region", 1))
    assert jobs.regions.count == 2 * TURN_REGIONS
