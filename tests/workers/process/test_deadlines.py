"""Deadlines of regions and outputs, by their size; and that the watchdog holds to them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import JobLost
from workers.core.queue.jobs import Jobs
from workers.core.queue.rates import Sample, note_regions, s_per_tile, slowest_s_per_tile
from workers.process.deadlines import LEAST_S, TIMES, output_s, region_s
from workers.process.watchdog import OBEY_S, Limits, Watchdog

MOST_S = 3600.0


@given(region_px=st.integers(64, 8192), tile_px=st.integers(64, 1024), slowest=st.none() | st.floats(1e-4, 1e3))
def test_a_region_has_far_more_than_it_takes_and_no_more_than_a_task(
    region_px: int, tile_px: int, slowest: float | None
) -> None:
    allowed = region_s(region_px, tile_px, slowest, MOST_S)
    assert LEAST_S <= allowed <= MOST_S
    if slowest is None:
        assert allowed == MOST_S
    else:
        assert allowed == MOST_S or allowed >= TIMES * slowest * (region_px / tile_px) ** 2


def test_an_output_has_time_by_its_plane() -> None:
    assert output_s(1000, 1000, MOST_S) < LEAST_S + 10
    assert output_s(30_000, 30_000, MOST_S) == LEAST_S + 1800
    assert output_s(200_000, 100_000, MOST_S) == MOST_S


def test_the_slowest_region_of_late_is_remembered(jobs: Jobs) -> None:
    assert slowest_s_per_tile(jobs.redis, "digest") is None
    for seconds in (1.0, 9.0, 1.0, 1.0):
        note_regions(jobs.redis, "digest", [Sample(seconds, 1)])
    slowest, mean = slowest_s_per_tile(jobs.redis, "digest"), s_per_tile(jobs.redis, "digest")
    assert slowest is not None
    assert mean is not None
    assert 8.5 < slowest < 9.0
    assert 1.0 < mean < 2.0
    note_regions(jobs.redis, "digest", [Sample(100.0, 0)])
    assert slowest_s_per_tile(jobs.redis, "digest") == slowest


def test_what_takes_longer_than_it_is_given_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("workers.process.watchdog.time.monotonic", lambda: now)
    watchdog = Watchdog(Limits(memory_bytes=2**60, read_s=60.0, task_s=1000.0), lambda _: None)
    watchdog.allow(300.0)
    now += 300.0 + OBEY_S - 1
    assert watchdog.fault() is None
    watchdog.allow(300.0)  # the next output
    now += 300.0
    assert watchdog.fault() is None
    now += OBEY_S + 1
    fault = watchdog.fault()
    assert isinstance(fault, JobLost)
    assert "longer than 300 s" in fault.message
    watchdog.allow(900.0)
    now += 500.0  # more than the task has
    assert watchdog.fault() is not None
