"""From the costs of one worker to many: efficiency, what stops it first, and what a day of slides takes and costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from benchmarks.scaling_costs import Costs, Scene
from benchmarks.scaling_simulation import Simulation
from benchmarks.scaling_turns import Job

DAY_S, MONTH_DAYS = 86_400, 30.4375
WARM_S = 5.0
"""Simulated before anything counts; jobs are in all states from the beginning."""

LOSSES = {
    "queueing": "Redis: one thread serves one command after the other",
    "repeats": "transactions: others change what they watch, and they begin again",
    "idle": "turns: no region is in the queue when a worker asks",
}
"""What takes time of many workers and none of one."""

LOST = 0.01
"""Part of the workers' time below which nothing is called a bottleneck."""

HOPELESS = 0.5
"""Efficiency below which no more workers are tried."""


class Prospect(NamedTuple):
    """What so many workers are like.

    Attributes:
        workers: How many.
        chunks_per_s: Regions a second.
        efficiency: That, by as many times what one worker does.
        redis_busy: Part of the time in which Redis is at work.
        redis_ops_s: Commands a second.
        lost: Name in `LOSSES` → part of the workers' time.
    """

    workers: int
    chunks_per_s: float
    efficiency: float
    redis_busy: float
    redis_ops_s: float
    lost: dict[str, float]


@dataclass(frozen=True)
class Load:
    """Jobs that are there at once.

    Args:
        regions: Of a slide.
        jobs: Unfinished at any time.
        tenants: Whose they are.
    """

    regions: int
    jobs: int
    tenants: int


def prospect(costs: Costs, scene: Scene, load: Load, seconds: float) -> Prospect:
    """Simulate workers that always have jobs, a new one for each that ends.

    Args:
        costs: What was measured.
        scene: Who works.
        load: At what.
        seconds: For how long, after `WARM_S`.
    """
    simulation = Simulation(costs, scene)
    simulation.on_end = lambda job: simulation.submit(Job(job.regions, job.tenant))
    for number in range(load.jobs):
        waiting = max(1, load.regions * (number + 1) // load.jobs)
        simulation.submit(Job(load.regions, number % load.tenants, waiting))
    simulation.run(WARM_S)
    simulation.landings.clear()
    simulation.spent.clear()
    simulation.run(WARM_S + seconds)
    rate = len(simulation.landings) / seconds
    time_s = scene.workers * seconds
    waiting_s = sum(max(0.0, simulation.now - max(since, WARM_S)) for since in simulation.idle_since)
    lost = {name: simulation.spent[name] / time_s for name in LOSSES}
    lost["idle"] += waiting_s / time_s
    return Prospect(
        scene.workers, rate, rate / (scene.workers * alone(costs, scene, load.regions)),
        simulation.spent["served"] / seconds, simulation.spent["ops"] / seconds, lost,
    )  # fmt: skip


def alone(costs: Costs, scene: Scene, regions: int) -> float:
    """Return regions a second of one worker, plans and finishes included."""
    asked = 1 + sum(often for _, often in costs.asked)
    region_s = costs.alone_s() + scene.chunk_s + asked * scene.net_s
    return regions / (regions * region_s + costs.plan_s + costs.finish_s)


def bottleneck(found: Sequence[Prospect]) -> tuple[str, int]:
    """Return what takes most time of the fewest workers of which anything takes `LOST`, and how many they are."""
    for each in found:
        name = max(each.lost, key=lambda name: each.lost[name])
        if each.lost[name] >= LOST:
            return LOSSES[name], each.workers
    return "none", found[-1].workers


@dataclass(frozen=True)
class Prices:
    """What things cost, in any currency, and how much of them a slide takes.

    Args:
        worker_hour: A worker for an hour.
        gib_month: A GiB stored for a month.
        gib_read: A GiB read from the storage.
        slide_gib: Size of a slide, which is read once.
        result_gib: Size of its results.
        months: For how many both are stored.
    """

    worker_hour: float
    gib_month: float
    gib_read: float
    slide_gib: float
    result_gib: float
    months: float


class Bill(NamedTuple):
    """What one slide costs."""

    work: float
    stored: float
    read: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.work + self.stored + self.read


def bill(prices: Prices, workers: int, slides_a_day: float) -> Bill:
    """Return what one slide costs where so many workers run all day for so many slides."""
    return Bill(
        work=workers * 24 * prices.worker_hour / slides_a_day,
        stored=(prices.slide_gib + prices.result_gib) * prices.months * prices.gib_month,
        read=prices.slide_gib * prices.gib_read,
    )


def workers_for(costs: Costs, scene: Scene, load: Load, slides_a_day: float, share: float) -> Prospect:
    """Return the fewest workers that do so many slides a day in a share of their time.

    Simulated at each guess, because efficiency falls with their number.

    Raises:
        ValueError: So many are hardly of use.
    """
    wanted = slides_a_day * load.regions / DAY_S / share
    workers = max(1, round(wanted / alone(costs, scene, load.regions)))
    for _ in range(8):
        found = prospect(costs, replace(scene, workers=workers), replace(load, jobs=max(load.jobs, workers)), 20.0)
        if found.chunks_per_s >= 0.995 * wanted:
            return found
        if found.efficiency < HOPELESS:
            break
        workers = max(workers + 1, round(workers * wanted / max(found.chunks_per_s, wanted / 2)))
    raise ValueError(f"{workers} workers do {found.chunks_per_s:.0f} regions a second, and {wanted:.0f} are wanted")
