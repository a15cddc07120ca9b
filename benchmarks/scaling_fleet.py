"""Real workers on a real queue, for `benchmarks.scaling`: started, given a job, and what Redis did meanwhile."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import click
import psutil

from benchmarks.recovery import add_slide, wait_for
from server.process.children import module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from workers.core.queue.events import events_key
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import new_id

MODEL, TILE_PX = "scaling", 256
LEAD = 3
"""Regions for each worker before and after the steady middle: first tasks import what they need, last ones wait."""

OURS = ("info", "xrevrange", "xrange", "monitor", "ping")
"""Commands by which this process looks; no worker uses them."""

ROSTER = 256
"""Scratch members by which it is measured what a look at all workers costs for each of them."""


class Load(NamedTuple):
    """What a server has done since it was started; `less` makes it what it did meanwhile.

    Attributes:
        at: When, monotonic, seconds.
        ops: Commands, those within transactions and scripts included, the looks of this process left out.
        bytes_in: Bytes that it was sent.
        bytes_out: Bytes that it sent.
        redis_s: CPU seconds of it.
        calls: Command → how often.
    """

    at: float
    ops: float
    bytes_in: float
    bytes_out: float
    redis_s: float
    calls: dict[str, float]

    def less(self, other: "Load") -> "Load":
        """Return what this is more than another one."""
        return self._each(other, 1.0)

    def less_idle(self, idle: "Load") -> "Load":
        """Return what it would have been less if nothing but what idle workers do had gone on in the same time."""
        return self._each(idle, self.at / idle.at)._replace(at=self.at)

    def _each(self, other: "Load", share: float) -> "Load":
        return Load(
            self.at - share * other.at,
            self.ops - share * other.ops,
            self.bytes_in - share * other.bytes_in,
            self.bytes_out - share * other.bytes_out,
            self.redis_s - share * other.redis_s,
            {name: count - share * other.calls.get(name, 0.0) for name, count in self.calls.items()},
        )


class Run(NamedTuple):
    """What one job took.

    Attributes:
        landings_s: When its regions landed, seconds, by the clock of Redis, ascending.
        regions: How many it has.
        load: What the server did for it, less what idle workers have it do in the same time.
        idle_ops_s: Commands a second while the workers had nothing to do.
        worker_cpu_s: CPU seconds of all workers and their children meanwhile.
        plan_s: Seconds from the order until its regions waited.
        finish_s: Seconds from the last landing to the end.
    """

    landings_s: tuple[float, ...]
    regions: int
    load: Load
    idle_ops_s: float
    worker_cpu_s: float
    plan_s: float
    finish_s: float


def look(redis: Any) -> Load:
    """Return what a server has done so far."""
    stats, calls, cpu = (redis.info(section) for section in ("stats", "commandstats", "cpu"))
    counts = {name.removeprefix("cmdstat_"): each["calls"] for name, each in calls.items()}
    counts = {name: float(count) for name, count in counts.items() if name.partition("|")[0] not in OURS}
    net = stats["total_net_input_bytes"], stats["total_net_output_bytes"]
    cpu_s = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return Load(time.monotonic(), sum(counts.values()), *net, cpu_s, counts)


def write_model(models_dir: Path) -> None:
    """Write the card of a model without weights: one region is one small tile."""
    classes = [{"index": index, "name": f"class {index}", "color": [index] * 3} for index in range(2)]
    card = {
        "format": 1, "name": MODEL, "title": "Takes time", "mpp": 0.5, "classes": classes, "tile_px": TILE_PX,
        "halo_px": 0, "stride_px": 16, "license": "none", "intended_use": "none", "weights_sha256": "0" * 64,
        "network": {},
    }  # fmt: skip
    (models_dir / MODEL).mkdir(parents=True)
    (models_dir / MODEL / "config.json").write_text(json.dumps(card))


class Fleet:
    """A queue with workers that wait.

    Args:
        jobs: The queue.
        processes: The workers.
    """

    def __init__(self, jobs: Jobs, processes: list["subprocess.Popen[bytes]"]) -> None:
        self.jobs = jobs
        self.processes = processes
        self._slides: dict[int, str] = {}

    def submit(self, regions: int) -> str:
        """Ask for a job of at least so many regions, a square of them; return its id."""
        side = ceil_root(regions)
        if side not in self._slides:
            self._slides[side] = add_slide(self.jobs.store, side * TILE_PX)
        request = JobRequest(
            slide_id=self._slides[side], model=MODEL, region_px=TILE_PX, tissue=False, outputs=("statistics.json",)
        )
        job_id = new_id()
        self.jobs.store.save_request(job_id, request, datetime.now(UTC))
        self.jobs.submit(job_id, request)
        return job_id

    def idle(self, seconds: float) -> Load:
        """Return what the server does in some time in which there is nothing to do."""
        before = look(self.jobs.redis)
        time.sleep(seconds)
        return look(self.jobs.redis).less(before)

    def run(self, regions: int, idle_s: float) -> Run:
        """Run one job alone, to its end.

        Args:
            regions: How many, at least.
            idle_s: Seconds in which the idle workers are looked at before.
        """
        idle = self.idle(idle_s)
        before, cpu, began = look(self.jobs.redis), self._cpu_s(), self._now()
        job_id = self.submit(regions)
        self.wait(job_id)
        load = look(self.jobs.redis).less(before)
        cpu = self._cpu_s() - cpu
        states, landings = self._history(job_id)
        total = ceil_root(regions) ** 2
        return Run(
            landings, total, load.less_idle(idle), idle.ops / idle.at, cpu,
            states["running"] - began, states["succeeded"] - landings[-1],
        )  # fmt: skip

    def wait(self, job_id: str) -> None:
        """Wait for the end of a job."""
        wait_for(partial(self._has_ended, job_id), "the end of the job")

    def _has_ended(self, job_id: str) -> bool | None:
        (last,) = self.jobs.redis.xrevrange(events_key(job_id), count=1)
        state = json.loads(last[1][b"data"])["state"]
        if state in ("failed", "canceled"):
            raise click.ClickException(f"the job {state}: {self.jobs.view(job_id).error}")
        return state == "succeeded" or None

    def _history(self, job_id: str) -> tuple[dict[str, float], tuple[float, ...]]:
        """Return when each state was first told, and when regions landed, as far as the events go back."""
        states: dict[str, float] = {}
        landings, done = [], 0
        for entry, fields in self.jobs.redis.xrange(events_key(job_id)):
            at, told = int(entry.partition(b"-")[0]) / 1000, json.loads(fields[b"data"])
            state = "running" if told["regions_total"] is not None and told["state"] == "queued" else told["state"]
            states.setdefault(state, at)
            landings += [at] * max(0, told["regions_done"] - done)
            done = max(done, told["regions_done"])
        return states, tuple(landings)

    def _cpu_s(self) -> float:
        found = [psutil.Process(process.pid) for process in self.processes]
        found += [child for each in found for child in each.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in found)

    def _now(self) -> float:
        seconds, micros = self.jobs.redis.time()
        return float(seconds + micros / 1e6)


def ceil_root(number: int) -> int:
    """Return the smallest side of a square of so many cells."""
    return isqrt(max(1, number) - 1) + 1


@contextmanager
def fleet_of(workers: int, seconds: float, *, burns: bool, redis_url: str = "") -> Iterator[Fleet]:
    """Start so many workers whose regions take so long, on a server of their own or the one of an address."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = redis_url or stack.enter_context(EmbeddedRedis(folder / "data")).url
        settings = Settings(data_dir=folder / "data", models_dir=folder / "models", redis_url=url, workers=workers)
        write_model(settings.models_dir)
        jobs = Jobs(url, settings)
        stack.callback(jobs.close)
        if jobs.workers():
            raise click.ClickException("another worker is at this queue")
        log = stack.enter_context((folder / "log").open("wb"))
        command = module_command("benchmarks.scaling_worker", str(seconds), *(["--burn"] if burns else []))
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, processes)
        environment = module_environment(settings)
        processes.extend(subprocess.Popen(command, env=environment, stdout=log, stderr=log) for _ in range(workers))
        wait_for(lambda: jobs.workers() == workers or None, f"{workers} workers")
        yield Fleet(jobs, processes)


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    for process in processes:
        process.wait()


def steady(landings_s: tuple[float, ...], workers: int) -> float:
    """Return regions a second in the steady middle of a job: between the landings that have `LEAD` before and after.

    Args:
        landings_s: When they landed, ascending.
        workers: How many there are.
    """
    middle = landings_s[LEAD * workers - 1 : len(landings_s) - LEAD * workers]
    if len(middle) < 2:
        raise click.ClickException("too few regions for a steady middle")
    return (len(middle) - 1) / (middle[-1] - middle[0])


def regions_for(chunks: int, workers: int) -> int:
    """Return the regions of a job whose steady middle has so many for each worker."""
    return workers * (chunks + 2 * LEAD)


def roster_s(redis: Any, repeat: int = 100) -> float:
    """Return CPU seconds of the server for one more worker in a look at all of them, as `memory_of_workers` has it."""
    members = {f"scaling:worker:{number:032d}": 2**30 for number in range(ROSTER)}
    redis.zadd("scaling:workers", members)
    redis.mset(members)
    before = look(redis).redis_s
    for _ in range(repeat):
        redis.mget(redis.zrange("scaling:workers", 0, -1))
    taken = look(redis).redis_s - before
    redis.delete("scaling:workers", *members)
    return max(0.0, taken / repeat / ROSTER)
