"""The simulation of many workers, where it is known what has to come out."""

from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import scaling_costs, scaling_turns
from benchmarks.scaling_costs import Costs, Exchange, Scene
from benchmarks.scaling_simulation import Simulation, landings_of
from benchmarks.scaling_turns import TURN_REGIONS, Job
from workers.core.queue import turns
from workers.core.settings import Settings

seconds = st.floats(0.001, 5.0)
few = st.integers(1, 12)


def costs_of(gap_s: float = 0.0, op_s: float = 0.0, plan_s: float = 0.0, finish_s: float = 0.0) -> Costs:
    """Return costs of a protocol of five exchanges, two of them a transaction on keys of the job."""
    landed = Exchange(gap_s, 3, written=frozenset({"JOB:todo"}), commits=True, effect="landed")
    return Costs(
        claim=((Exchange(gap_s, 2),),),
        hand_out=(
            Exchange(gap_s, 1, watched=frozenset({"turn"})),
            Exchange(gap_s, 2, written=frozenset({"turn"}), commits=True, effect="handed out"),
        ),
        start=((Exchange(gap_s, 1),),),
        land=((Exchange(gap_s, 1, watched=frozenset({"JOB:todo"})), landed),),
        op_s=op_s,
        plan_s=plan_s,
        finish_s=finish_s,
    )


def ended_at(costs: Costs, scene: Scene, jobs: list[Job]) -> tuple[float, list[Job]]:
    """Run jobs to their ends; return when the last one was over, and which were, in order."""
    over: list[tuple[float, Job]] = []
    simulation = Simulation(costs, scene)
    simulation.on_end = lambda job: over.append((simulation.now, job))
    for job in jobs:
        simulation.submit(job)
    simulation.run()
    return over[-1][0], [job for _, job in over]


@given(regions=few, chunk_s=seconds, gap_s=seconds, op_s=seconds, plan_s=seconds, finish_s=seconds)
def test_one_worker_takes_the_sum_of_its_times(
    regions: int, chunk_s: float, gap_s: float, op_s: float, plan_s: float, finish_s: float
) -> None:
    end, _ = ended_at(costs_of(gap_s, op_s, plan_s, finish_s), Scene(1, chunk_s), [Job(regions)])
    asked, ops = 4, 7  # of a region: questions with a gap before each, commands besides the pop
    control = plan_s + finish_s + 2 * op_s + ceil(regions / TURN_REGIONS) * (2 * gap_s + 3 * op_s)
    assert end == pytest.approx(control + regions * (chunk_s + asked * gap_s + (ops + 1) * op_s))


@settings(max_examples=20)
@given(workers=few, rounds=st.integers(1, 4), chunk_s=seconds)
def test_without_gaps_and_redis_nothing_is_lost(workers: int, rounds: int, chunk_s: float) -> None:
    landed = landings_of(costs_of(), Scene(workers, chunk_s), workers * rounds)
    assert landed[-1] == pytest.approx(rounds * chunk_s)
    assert len(landed) == workers * rounds


@settings(max_examples=10)
@given(workers=st.integers(10, 30), op_s=st.floats(0.001, 0.1))
def test_redis_serves_no_more_than_its_rate(workers: int, op_s: float) -> None:
    alone = Costs(
        claim=((Exchange(ops=5),),), hand_out=(Exchange(effect="handed out"),), start=(),
        land=((Exchange(ops=3, effect="landed"),),), op_s=op_s,
    )  # fmt: skip
    regions = 20 * workers
    landed = landings_of(alone, Scene(workers, 0.0), regions)
    per_region = 5 + 3 + 1 + 1 / TURN_REGIONS  # with the pop
    rate = (regions - 1) / (landed[-1] - landed[0])
    assert rate <= 1 / (per_region * op_s) * (1 + 2 * workers / regions)
    assert rate >= 1 / (per_region * op_s) * 0.9


@settings(max_examples=20)
@given(workers=few, cores=st.integers(1, 8), rounds=st.integers(1, 4), chunk_s=seconds)
def test_who_burns_shares_the_cores(workers: int, cores: int, rounds: int, chunk_s: float) -> None:
    landed = landings_of(costs_of(), Scene(workers, chunk_s, burns=True, cores=cores), workers * rounds)
    assert landed[-1] == pytest.approx(rounds * chunk_s * max(1.0, workers / cores))


@settings(max_examples=10)
@given(workers=st.integers(1, 20), regions=st.integers(1, 30), op_s=st.floats(1e-5, 0.05), chunk_s=st.floats(0, 1))
def test_each_region_lands_once_however_often_transactions_are_refused(
    workers: int, regions: int, op_s: float, chunk_s: float
) -> None:
    jobs = [Job(regions, tenant) for tenant in (0, 1, 1)]
    simulation = Simulation(costs_of(op_s=op_s), Scene(workers, chunk_s))
    for job in jobs:
        simulation.submit(job)
    simulation.run()
    assert len(simulation.landings) == 3 * regions
    assert [job.left for job in jobs] == [0, 0, 0]
    assert all(before <= after for before, after in pairwise(simulation.landings))


def test_those_who_change_the_same_keys_at_once_try_again() -> None:
    crowd = Simulation(costs_of(op_s=0.01), Scene(10, 0.1))
    crowd.submit(Job(50))
    crowd.run()
    alone = Simulation(costs_of(op_s=0.01), Scene(1, 0.1))
    alone.submit(Job(50))
    alone.run()
    assert crowd.spent["repeats"] > 0
    assert alone.spent["repeats"] == 0
    assert crowd.spent["ops"] > alone.spent["ops"]


@settings(max_examples=10)
@given(workers=few, chunk_s=seconds)
def test_a_small_job_that_comes_late_does_not_wait_for_a_large_one(workers: int, chunk_s: float) -> None:
    large, small = Job(200, tenant=0), Job(1, tenant=1)
    _, over = ended_at(costs_of(), Scene(workers, chunk_s), [large, small])
    assert over == [small, large]


@given(workers=few, net_s=seconds)
def test_the_way_to_redis_is_paid_for_each_question(workers: int, net_s: float) -> None:
    landed = landings_of(costs_of(), Scene(1, 0.5, net_s=net_s), workers)
    near = landings_of(costs_of(), Scene(1, 0.5), workers)
    questions = 4 + 1  # of a region, and its pop
    turns_s = 2 * net_s * ceil(workers / TURN_REGIONS)
    # the plan's pop, and of all regions what they ask until the last of them has landed
    assert landed[-1] - near[-1] == pytest.approx(net_s * (1 + questions * workers) + turns_s)


def test_rules_are_those_of_the_product() -> None:
    assert scaling_turns.QUEUED_LEAST == turns.QUEUED_LEAST
    assert scaling_turns.TURN_REGIONS == turns.TURN_REGIONS
    assert Settings.model_fields["heartbeat_s"].default == scaling_costs.BEAT_S


def test_chunks_of_many_lengths_take_as_long_in_the_mean() -> None:
    regions, chunk_s = 400, 0.5
    even, spread = (landings_of(costs_of(), Scene(1, chunk_s, spread=part), regions)[-1] for part in (0.0, 0.5))
    assert even != spread
    assert spread == pytest.approx(even, rel=0.05)


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_worker_that_waits_is_given_what_comes(workers: int) -> None:
    landed = landings_of(costs_of(), Scene(workers, 1.0), 8)
    assert landed[-1] == ceil(8 / workers)
