"""How long a worker takes to be ready: `python -m benchmarks.start [--repeat 5]`.

In turns, each in a process of its own: Python that imports torch and ends; a worker, from its start until it takes a
task that waits for it, with its model loaded; and `ldiffusion segment --help`, which imports what a run imports before
it looks at its slide. CPU seconds are those of the process and its children until then. One turn before the first does
not count: it fills the page cache. The ratio is of CPU seconds in the same turn.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from benchmarks.report import figure
from server.process.children import module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from workers.core.command_line import CONTEXT
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store, new_id

TORCH = [sys.executable, "-P", "-c", "import torch"]
SEGMENT = module_command("workers.segment", "--help")
WAIT_S = 120.0


class Start(NamedTuple):
    """What a start took."""

    wall_s: float
    cpu_s: float


def run(command: list[str]) -> Start:
    """Run a command to its end."""
    started, before = time.perf_counter(), os.times()
    subprocess.run(command, env=module_environment(), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Start(time.perf_counter() - started, cpu_s)


def start_worker() -> Start:
    """Start a worker whose first task waits: the plan of a job whose slide is not there. It loads the default model."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as queue:
        settings = Settings(data_dir=Path(folder), redis_url=queue.url)
        with closing(Jobs(queue.url, settings)) as jobs:
            request, job_id = JobRequest(slide_id="0" * 32), new_id()
            Store(settings.data_dir).save_request(job_id, request, datetime.now(UTC))
            jobs.submit(job_id, request)
            return _until_it_takes_a_task(settings)


def _until_it_takes_a_task(settings: Settings) -> Start:
    told, tells = os.pipe()
    started = time.perf_counter()
    command = module_command("workers", "--tell-fd", str(tells))
    with subprocess.Popen(
        command, env=module_environment(settings), pass_fds=[tells], stderr=subprocess.DEVNULL
    ) as process:
        os.close(tells)
        try:
            if not os.read(told, 64):
                message = f"the worker ended with status {process.wait()} before it took a task"
                raise click.ClickException(message)
            wall_s = time.perf_counter() - started
            worker = psutil.Process(process.pid)
            cpu_s = sum(sum(each.cpu_times()[:2]) for each in (worker, *worker.children(recursive=True)))
            return Start(wall_s, cpu_s)
        finally:
            os.close(told)
            process.kill()


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


@click.command(context_settings=CONTEXT)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Turns.")
def main(repeat: int) -> None:
    """Measure how long a worker takes to be ready."""
    kinds: dict[str, Callable[[], Start]] = {
        "torch": lambda: run(TORCH),
        "worker": start_worker,
        "segment": lambda: run(SEGMENT),
    }
    turns = [{name: start() for name, start in kinds.items()} for _ in range(repeat + 1)][1:]
    print(f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}; {repeat} turns")
    print(f"{'start':<10}{'wall s':>24}{'CPU s':>24}")
    for name in kinds:
        walls, cpus = ([getattr(turn[name], field) for turn in turns] for field in Start._fields)
        print(f"{name:<10}{middle(walls):>24}{middle(cpus):>24}")
    ratios = [turn["worker"].cpu_s / turn["torch"].cpu_s for turn in turns]
    for name in ("worker", "segment"):
        for field in Start._fields:
            values = [getattr(turn[name], field) for turn in turns]
            unit = "" if field == "wall_s" else "cpu_"
            figure(f"start.{name}_{unit}s", statistics.median(values), "s", (min(values), max(values)))
    figure("start.vs_torch", statistics.median(ratios), "ratio", (min(ratios), max(ratios)))


if __name__ == "__main__":
    main()
