"""What a worker measured is told now and then, and comes to the same as if each region had been told at once."""

import pytest

from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import RATES, TASK_SECONDS
from workers.core.queue.leases import Leases
from workers.core.queue.rates import TELL_S, Paces, Sample, note_regions, s_per_tile, slowest_s_per_tile
from workers.core.store import new_id

SECONDS = (3.0, 8.0, 1.0, 1.5, 6.0)


def test_what_is_told_together_is_what_was_told_one_by_one(jobs: Jobs) -> None:
    for seconds in SECONDS:
        note_regions(jobs.redis, "single", [Sample(seconds, 2)])
        jobs.turns.took("plan", seconds)
    note_regions(jobs.redis, "joint", [Sample(seconds, 2) for seconds in SECONDS])
    jobs.turns.took("region", *SECONDS)
    told = {name.decode(): float(value) for name, value in jobs.redis.hgetall(RATES).items()}
    assert told["joint"] == pytest.approx(told["single"])
    assert told["joint:slowest"] == pytest.approx(told["single:slowest"])
    took = {name.decode(): float(value) for name, value in jobs.redis.hgetall(TASK_SECONDS).items()}
    assert took["region"] == pytest.approx(took["plan"])


def test_a_worker_tells_the_first_region_at_once_and_then_now_and_then(jobs: Jobs) -> None:
    now = 100.0
    me = Leases(jobs, new_id())
    me.paces = Paces(jobs.redis, lambda: now)
    me.measured("pace", 2.0, 1)
    assert s_per_tile(jobs.redis, "pace") == 2.0
    me.measured("pace", 12.0, 1)
    me.measured("other", 5.0, 1)
    assert (s_per_tile(jobs.redis, "pace"), s_per_tile(jobs.redis, "other")) == (2.0, None)
    now += TELL_S
    me.measured("pace", 12.0, 1)
    assert s_per_tile(jobs.redis, "pace") == pytest.approx(2 + 1 + 0.9)  # a tenth of what is missing, twice
    assert s_per_tile(jobs.redis, "other") == 5.0
    assert float(jobs.redis.hget(TASK_SECONDS, "region")) == pytest.approx(2 + 1 + 0.2 + 0.88)


def test_the_slowest_region_is_asked_for_now_and_then(jobs: Jobs) -> None:
    now = 100.0
    paces = Paces(jobs.redis, lambda: now)
    assert paces.slowest("pace") is None
    note_regions(jobs.redis, "pace", [Sample(4.0, 1)])
    assert paces.slowest("pace") == 4.0
    note_regions(jobs.redis, "pace", [Sample(9.0, 1)])
    assert (paces.slowest("pace"), slowest_s_per_tile(jobs.redis, "pace")) == (4.0, 9.0)
    now += TELL_S
    assert paces.slowest("pace") == 9.0
