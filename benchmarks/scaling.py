"""How work grows with workers: `python -m benchmarks.scaling [--workers 1 --workers 2 --workers 4] [--chunks 60]`.

Real worker processes do a real job; their model alone is a stub that sleeps, or burns CPU time, so long for each chunk.
Regions a second are those of the steady middle of the job, and Redis's commands those of all of it, less what idle
workers have it do in the same time. What one worker asked Redis for a region feeds a simulation
(`benchmarks.scaling_simulation`), which counts as valid if it is within 10 % of what was measured of each fleet; it is
then drawn to many workers on hosts of their own, and to the slides of a day.

`--keep FILE` writes what was measured, and `--from FILE` draws from it again without measuring.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import NamedTuple

import click
from pydantic import TypeAdapter

from benchmarks.report import figure
from benchmarks.scaling_costs import Costs, Scene
from benchmarks.scaling_fleet import Run, fleet_of, regions_for, roster_s, steady
from benchmarks.scaling_outlook import HOPELESS, Load, Prices, Prospect, bill, bottleneck, prospect, workers_for
from benchmarks.scaling_simulation import landings_of
from benchmarks.scaling_trace import costs_in, listening
from benchmarks.scaling_turns import TURN_REGIONS
from workers.core.command_line import CONTEXT

FLEETS = (1, 8, 16, 32, 64, 128, 256)
JUDGED = 64
VALID = 0.10
TRACED = 16
"""Regions of the job of which each command is heard."""

SIMULATED_S = 20.0
WAYS = {"sleep": "", "burn": "_burning"}
"""What a chunk does → how the names of its figures end."""


class Measured(NamedTuple):
    """What was measured of chunks of one kind; runs by the number of workers."""

    seconds: float
    burns: bool
    runs: dict[int, Run]
    costs: Costs

    def rate(self, workers: int) -> float:
        """Return regions a second."""
        return steady(self.runs[workers].landings_s, workers)

    def simulated(self, workers: int) -> float:
        """Return what the simulation says of that, on the cores of this machine."""
        scene = Scene(workers, self.seconds, self.burns, len(os.sched_getaffinity(0)))
        return steady(tuple(landings_of(self.costs, scene, self.runs[workers].regions)), workers)


def measure(fleets: Sequence[int], chunks: int, seconds: float, idle_s: float, url: str, *, burns: bool) -> Measured:
    """Run a job with each number of workers; with one, also listen to what it asks."""
    runs: dict[int, Run] = {}
    costs = None
    for workers in fleets:
        with fleet_of(workers, seconds, burns=burns, redis_url=url) as fleet:
            runs[workers] = run = fleet.run(regions_for(chunks, workers), idle_s)
            if workers == 1:
                jobs: list[str] = []
                with listening(fleet.jobs.redis, jobs) as heard:
                    jobs.append(fleet.submit(TRACED))
                    fleet.wait(jobs[0])
                op_s = run.load.redis_s / run.load.ops
                costs = costs_in(heard, seconds, 1 / steady(run.landings_s, 1), op_s)
                costs = replace(
                    costs, roster_s=roster_s(fleet.jobs.redis), plan_s=run.plan_s, finish_s=run.finish_s,
                    beat_ops=run.idle_ops_s * fleet.jobs.settings.heartbeat_s,
                )  # fmt: skip
    if costs is None:
        raise click.ClickException("one worker has to be among --workers: the simulation is fed with it")
    return Measured(seconds, burns, runs, costs)


def show(measured: Measured, ends: str) -> bool:
    """Print what was measured, and whether the simulation is valid; return that."""
    print("| workers | chunks/s | efficiency | simulated chunks/s | error | Redis commands a chunk | bytes in | out |")
    print("|---|---|---|---|---|---|---|---|")
    errors = []
    for workers, run in measured.runs.items():
        rate, simulated = measured.rate(workers), measured.simulated(workers)
        errors.append(simulated / rate - 1)
        each = (part / run.regions for part in (run.load.ops, run.load.bytes_in, run.load.bytes_out))
        numbers = f"{rate / workers / measured.rate(1):.3f} | {simulated:.2f} | {100 * errors[-1]:+.1f} %"
        print(f"| {workers} | {rate:.2f} | {numbers} | " + " | ".join(f"{part:.0f}" for part in each) + " |")
    is_valid = all(abs(error) <= VALID for error in errors)
    print(f"the simulation is {'valid' if is_valid else 'NOT valid: more than 10 % off'}\n")
    if 2 in measured.runs:
        figure(f"scaling.efficiency_2{ends}", measured.rate(2) / 2 / measured.rate(1), "ratio")
    figure(f"scaling.simulation_error{ends}", max(map(abs, errors)), "ratio")
    return is_valid


def show_redis(measured: Measured) -> None:
    """Print what Redis did for a chunk of one worker."""
    run, costs = measured.runs[1], measured.costs
    calls = sorted(run.load.calls.items(), key=lambda each: -each[1])
    print("commands a chunk: " + ", ".join(f"{name} {count / run.regions:.1f}" for name, count in calls[:24]))
    steps = {"pop and lease": costs.claim, "hand out": (costs.hand_out,), "begin": costs.start, "land": costs.land}
    sums = {name: sum(one.ops for segment in step for one in segment) for name, step in steps.items()}
    parts = ", ".join(f"{name} {count + (name[0] == 'p')}" for name, count in sums.items())
    print(f"of one in the middle that hands out a turn, as one of {TURN_REGIONS} does: {parts}")
    questions = 1 + sum(often for _, often in costs.asked)
    lock = sum((bool(one.watched) or one.commits) * often for one, often in costs.asked)
    print(
        f"questions a chunk: {questions:g}, {lock:g} of them to watch or commit; {1e6 * costs.op_s:.1f} µs a command,"
    )
    print(
        f"{1e6 * costs.roster_s:.2f} µs more for each worker in a look at all; {1e3 * costs.alone_s():.1f} ms a chunk"
    )
    print(f"beside its computation; plan {costs.plan_s:.2f} s, finish {costs.finish_s:.2f} s\n")
    figure("scaling.redis_ops_per_chunk", run.load.ops / run.regions, "commands")
    figure("scaling.redis_bytes_per_chunk", (run.load.bytes_in + run.load.bytes_out) / run.regions, "bytes")


def outlook(costs: Costs, scene: Scene, load: Load) -> list[Prospect]:
    """Print and return what more workers are like."""
    found = []
    print("| workers | chunks/s | efficiency | Redis busy | commands/s | waits for Redis | repeats | no task |")
    print("|---|---|---|---|---|---|---|---|")
    for workers in FLEETS:
        jobs = max(load.jobs, workers)
        found.append(one := prospect(costs, replace(scene, workers=workers), replace(load, jobs=jobs), SIMULATED_S))
        lost = " | ".join(f"{100 * one.lost[name]:.1f} %" for name in ("queueing", "repeats", "idle"))
        busy = f"{100 * one.redis_busy:.1f} % | {one.redis_ops_s:.0f}"
        print(f"| {workers} | {one.chunks_per_s:.1f} | {one.efficiency:.3f} | {busy} | {lost} |")
        if workers >= JUDGED and one.efficiency < HOPELESS:
            break
    name, workers = bottleneck(found)
    print(f"first bottleneck: {name}, from {workers} workers on\n")
    return found


def show_day(costs: Costs, scene: Scene, load: Load, slides: float, share: float, prices: Prices) -> None:
    """Print what so many slides a day take and cost."""
    try:
        found = workers_for(costs, scene, load, slides, share)
    except ValueError as error:
        print(f"{slides:g} slides a day: {error}")
        return
    one = bill(prices, found.workers, slides)
    print(f"{slides:g} slides a day of {load.regions} chunks of {scene.chunk_s:g} s: {found.workers} workers, busy")
    print(f"for {100 * share:.0f} % of the day, Redis busy for {100 * share * found.redis_busy:.1f} % of it with")
    print(f"{share * found.redis_ops_s:.0f} commands/s, {slides * prices.slide_gib:.0f} GiB read from the storage")
    print(f"a slide costs {one.total:.4f}: {one.work:.4f} for work, {one.stored:.4f} stored, {one.read:.4f} read")
    figure("scaling.workers_10000_a_day" if slides == 10_000 else "scaling.workers_a_day", found.workers, "workers")
    figure("scaling.cost_per_slide", one.total, "of the prices given")


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--workers", "fleets", multiple=True, type=click.IntRange(min=1), default=(1, 2, 4), show_default=True)
@click.option("--chunks", type=click.IntRange(min=2), default=60, show_default=True, help="Of each worker's middle.")
@click.option("--seconds", type=float, default=0.5, show_default=True, help="Of a chunk.")
@click.option(
    "--idle-seconds", type=float, default=15.0, show_default=True, help="In which idle workers are looked at."
)
@click.option("--way", "ways", multiple=True, type=click.Choice(list(WAYS)), default=tuple(WAYS), help="Only these.")
@click.option("--redis-url", envvar="LDIFFUSION_REDIS_URL", default="", help="Of a server that nobody else uses.")
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="Gets what was measured.")
@click.option(
    "--from", "kept", type=click.Path(exists=True, path_type=Path), help="Measure nothing: what --keep wrote."
)
@click.option("--chunk-seconds", type=float, help="Of a chunk in the outlook; else --seconds.")
@click.option("--network-ms", type=float, default=0.2, show_default=True, help="To Redis and back, in the outlook.")
@click.option(
    "--spread",
    type=float,
    default=0.5,
    show_default=True,
    help="Of chunks, as a part of their seconds, in the outlook.",
)
@click.option("--regions", type=int, default=400, show_default=True, help="Chunks of a slide.")
@click.option("--jobs", type=int, default=32, show_default=True, help="Unfinished at once; not fewer than workers.")
@click.option("--tenants", type=int, default=4, show_default=True)
@click.option("--slides-a-day", type=float, default=10_000, show_default=True)
@click.option("--busy-share", type=float, default=0.7, show_default=True, help="Of the workers' day.")
@click.option("--price-worker-hour", type=float, default=0.05, show_default=True)
@click.option("--price-gib-month", type=float, default=0.02, show_default=True)
@click.option("--price-gib-read", type=float, default=0.0, show_default=True)
@click.option("--slide-gib", type=float, default=1.0, show_default=True)
@click.option("--result-gib", type=float, default=0.1, show_default=True)
@click.option("--months", type=float, default=1.0, show_default=True, help="For which both are stored.")
def main(
    fleets: tuple[int, ...], chunks: int, seconds: float, idle_seconds: float, ways: tuple[str, ...], redis_url: str,
    keep: Path | None, kept: Path | None, chunk_seconds: float | None, network_ms: float, spread: float,
    regions: int, jobs: int, tenants: int, slides_a_day: float, busy_share: float, price_worker_hour: float,
    price_gib_month: float, price_gib_read: float, slide_gib: float, result_gib: float, months: float,
) -> None:  # fmt: skip
    stored = TypeAdapter(dict[str, Measured])
    if kept is None:
        found = {
            way: measure(fleets, chunks, seconds, idle_seconds, redis_url, burns=way == "burn")
            for way in dict.fromkeys(ways)
        }
    else:
        found = stored.validate_json(kept.read_bytes())
    if keep is not None:
        keep.write_bytes(stored.dump_json(found))
    valid = []
    for way, measured in found.items():
        print(f"\nchunks that {way} {measured.seconds:g} s, on {len(os.sched_getaffinity(0))} cores\n")
        valid.append(show(measured, WAYS[way]))
    measured = found.get("sleep", measured)
    show_redis(measured)
    scene = Scene(1, chunk_seconds or measured.seconds, measured.burns, inf, network_ms / 1000, spread)
    load = Load(regions, jobs, tenants)
    prospects = outlook(measured.costs, scene, load)
    judged = next(each for each in prospects if each.workers == JUDGED)
    if not all(valid):
        print("none of this counts: the simulation is not valid\n")
    prices = Prices(price_worker_hour, price_gib_month, price_gib_read, slide_gib, result_gib, months)
    show_day(measured.costs, scene, load, slides_a_day, busy_share, prices)
    figure(f"scaling.simulated_efficiency_{JUDGED}", judged.efficiency, "ratio")


if __name__ == "__main__":
    main()
