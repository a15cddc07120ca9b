"""What is in the queue, counted by Redis, against a slow walk over what clients are told; sums of what workers did."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from queue_fixtures import REQUEST, begun, running, stored, submitted, worker
from redis.exceptions import ConnectionError as RedisAway

from workers.core.errors.base import LDiffusionError, QueueUnavailable, SlideUnreadable
from workers.core.queue import heartbeat
from workers.core.queue.census import read_tallies, take_census
from workers.core.queue.heartbeat import state_key
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import TALLIES as SUMS
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.leases import Leases
from workers.core.store import new_id
from workers.core.telemetry.status import WorkerStatus
from workers.core.telemetry.tallies import (
    ALIVE_SECONDS,
    ENDS,
    JOBS_ENDED,
    PHASES,
    STARTS,
    TALLIES,
    field_of,
)


@pytest.fixture(autouse=True)
def untold() -> None:
    """Let no count of another test come along."""
    TALLIES.take()


def sums(jobs: Jobs) -> dict[tuple[str, ...], float]:
    return {(tally.name, *labels): value for tally, labels, value in read_tallies(jobs)}


def test_jobs_are_counted_by_state_as_clients_see_them(jobs: Jobs) -> None:
    assert take_census(jobs).standings == ()
    batch = REQUEST.model_copy(update={"priority": "batch"})
    for hours in (3, 5):
        job_id = stored(jobs, request=batch)
        jobs.submit(job_id, batch, datetime.now(UTC) - timedelta(hours=hours))
    planned, at_work = running(jobs, 7), running(jobs, 4)
    jobs.redis.hdel(JobKeys(planned).record, "has_turn")  # planned, and waits for its turn
    leases = worker(jobs)
    leases.begin(Task(at_work, "region", 0))
    leases.begin(Task(submitted(jobs), "plan"))
    running(jobs, 0)  # finishes
    jobs.fail(submitted(jobs), LDiffusionError("made"))
    found = take_census(jobs).standings
    views = Counter((view.state, view.request.priority) for view in jobs.active())
    assert {(each.state, each.priority): each.jobs for each in found} == views
    assert views["queued", "batch"] == 2
    assert {state for state, _ in views} == {"queued", "planning", "running", "finishing"}
    for each in found:
        own = [view for view in jobs.active() if (view.state, view.request.priority) == (each.state, each.priority)]
        assert each.tasks == sum(jobs.redis.llen(JobKeys(view.id).waiting) for view in own)
        oldest = (datetime.now(UTC) - min(view.created_at for view in own)).total_seconds()
        assert oldest - 5 < each.oldest_s <= oldest
    assert jobs.view(planned).state == "queued"


def test_queues_tell_how_long_the_next_entry_has_waited(jobs: Jobs) -> None:
    running(jobs, 3)
    jobs.submit(stored(jobs), REQUEST)
    time.sleep(0.05)
    found = {each.queue: each for each in take_census(jobs).queues}
    for queue in jobs.queues:
        assert found[queue.name].tasks == queue.count
        assert (found[queue.name].oldest_s >= 0.05) == bool(queue.count)
    assert sum(each.tasks > 0 for each in found.values()) == 2


def test_workers_say_how_they_are_until_they_fall_silent_or_leave(jobs: Jobs) -> None:
    telling = Leases(jobs, new_id(), WorkerStatus("cpu", lambda: 5))
    telling.beat()
    silent = worker(jobs)  # of an older version
    workers = take_census(jobs).workers
    assert workers.keys() == {telling.worker_id, silent.worker_id}
    assert workers[silent.worker_id] is None
    state = workers[telling.worker_id]
    assert state is not None
    assert (state.memory_bytes, state.memory_max_bytes, state.model) == (5, telling.memory_bytes, None)
    jobs.redis.set(state_key(telling.worker_id), '{"made": "up"}')
    assert take_census(jobs).workers[telling.worker_id] is None
    telling.retire()
    assert take_census(jobs).workers.keys() == {silent.worker_id}
    assert jobs.redis.exists(state_key(telling.worker_id)) == 0


def test_what_workers_count_is_added_up_and_outlives_them(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.core.telemetry.tallies.TELL_S", 0)
    for number in (1, 2):
        leases = Leases(jobs, new_id(), WorkerStatus("cpu"))
        TALLIES.add(PHASES, "read", by=number)
        leases.beat()
        TALLIES.add(PHASES, "read", by=10)
        leases.retire()
    told = sums(jobs)
    assert told["phases", "read"] == 23
    assert told["worker_starts",] == 2
    assert 0 < told["worker_seconds",] < 60


def test_what_could_not_be_told_is_told_later(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = Leases(jobs, new_id(), WorkerStatus("cpu"))
    TALLIES.add(PHASES, "read")

    class Away:
        def pipeline(self) -> None:
            raise RedisAway

    with pytest.raises(RedisAway):
        heartbeat.tell_tallies(Away(), WorkerStatus("cpu"))
    leases.retire()
    told = sums(jobs)
    assert (told["phases", "read"], told["worker_starts",]) == (1, 2)
    assert field_of(ALIVE_SECONDS, ()).encode() in jobs.redis.hgetall(SUMS)


def test_a_silent_worker_tells_nothing_of_what_it_counts(jobs: Jobs) -> None:
    TALLIES.add(STARTS)
    worker(jobs).retire()
    assert sums(jobs) == {}


def test_every_end_of_a_job_is_counted_once(jobs: Jobs) -> None:
    canceled, failed, done = submitted(jobs), submitted(jobs), running(jobs, 0)
    for _ in range(2):
        jobs.cancel(canceled)
        jobs.fail(failed, SlideUnreadable("made"))
    leases = worker(jobs)
    leases.finished(begun(leases, Task(done, "finish")))
    jobs.fail(done, LDiffusionError("too late"))
    assert sums(jobs) == {
        (JOBS_ENDED.name, "canceled", ""): 1,
        (JOBS_ENDED.name, "failed", "slide_unreadable"): 1,
        (JOBS_ENDED.name, "succeeded", ""): 1,
    }


def test_a_worker_that_was_killed_is_counted_by_its_signal(jobs: Jobs) -> None:
    heartbeat.note_end(jobs.redis, new_id(), "SIGKILL")
    assert sums(jobs) == {(ENDS.name, "SIGKILL"): 1}


def test_counts_of_another_version_are_passed_over(jobs: Jobs) -> None:
    jobs.redis.hset(SUMS, mapping={"made up": 1, '["regions"]': 2, '["phases", "plan"]': 3})
    assert sums(jobs) == {("phases", "plan"): 3}


def test_a_queue_that_is_away_is_told(jobs: Jobs) -> None:
    away = Jobs("redis://127.0.0.1:1", jobs.settings)
    for ask in (take_census, read_tallies):
        with pytest.raises(QueueUnavailable):
            ask(away)
