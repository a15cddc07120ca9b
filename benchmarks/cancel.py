"""What the cancel of a very large job takes: `python -m benchmarks.cancel [--regions 37000]`.

A job at work with a file for each region in the arrays that every job has is canceled by the call that the gateway
makes. The call is over when the job has ended for everybody and none of its regions is served. Its files are removed
after that, by a thread; how long this takes stands beside. All of it is measured at a tenth of the regions too: the
call should take as long there.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from benchmarks.report import figure
from server.process.embedded_redis import EmbeddedRedis
from workers.core.command_line import CONTEXT
from workers.core.label_layout import CONFIDENCE, LABELS, chunk_path
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.queue.leases import Leases
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import new_id

COLUMNS = 200
CHUNK = bytes(200)
"""As a region without tissue has it, deflated: most files of a large slide are as small."""

PATIENCE_S = 300.0


class Cancel(NamedTuple):
    """What one cancel took."""

    wall_ms: float
    cpu_ms: float
    removal_s: float


def job_of(jobs: Jobs, regions: int) -> str:
    """Make a job at work: all its regions wait, and the files of all lie there."""
    job_id = new_id()
    request = JobRequest(slide_id=new_id(), model="nuclei")
    jobs.store.save_request(job_id, request, datetime.now(UTC))
    jobs.submit(job_id, request)
    planner = Leases(jobs, new_id())
    planner.beat()
    lease = planner.begin(Task(job_id, "plan"))
    if lease is None:
        raise click.ClickException("the plan of the job is not to be had")
    planner.planned(lease, range(regions), regions, 0.5)
    planner.retire()
    for region in range(regions):
        for name in (LABELS, CONFIDENCE):
            path = chunk_path(jobs.store.job_dir(job_id), name, *divmod(region, COLUMNS))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CHUNK)
    return job_id


def measure(jobs: Jobs, regions: int) -> Cancel:
    """Cancel a job of so many regions."""
    job_id = job_of(jobs, regions)
    began, cpu = time.perf_counter(), time.process_time()
    view = jobs.cancel(job_id)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    if view.state != "canceled":
        raise click.ClickException(f"the job is {view.state}")
    while any(jobs.store.trash.folder.iterdir()):
        if time.perf_counter() - began > PATIENCE_S:
            raise click.ClickException("its files are still there")
        time.sleep(0.01)
    return Cancel(1000 * wall_s, 1000 * cpu_s, time.perf_counter() - began)


@click.command(context_settings=CONTEXT)
@click.option("--regions", type=click.IntRange(min=10), default=37_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True)
def main(regions: int, repeat: int) -> None:
    """Measure the cancel of jobs with a tenth of the regions, and with all of them."""
    took: dict[int, list[Cancel]] = {}
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as queue:
        jobs = Jobs(queue.url, Settings(data_dir=Path(folder), redis_url=queue.url))
        for size in (regions // 10, regions):
            took[size] = [measure(jobs, size) for _ in range(repeat)]
        jobs.close()
    print(
        "| regions | cancel, ms | CPU of this process meanwhile, ms | until all files are gone, s |\n|---|---|---|---|"
    )
    for size, each in took.items():
        walls, cpus, removals = ([getattr(one, name) for one in each] for name in Cancel._fields)
        print(f"| {size} | {median(walls):.1f} | {median(cpus):.1f} | {median(removals):.2f} |")
    small, large = ([one.wall_ms for one in each] for each in took.values())
    figure("cancel.wall_ms", median(large), "ms", (min(large), max(large)))
    figure("cancel.growth", median(large) / median(small), "x")


if __name__ == "__main__":
    main()
