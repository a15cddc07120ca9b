"""From the death of a worker to the second start of what it held: `python -m benchmarks.recovery [--kills 20]`.

Workers with a real model are killed in the middle of regions, as a crash or a lack of memory does it (SIGKILL):

- supervised: one of two workers of `ldiffusion serve`;
- foreign: one of two that nobody supervises, so that only the other is left;
- lone: the only worker of `ldiffusion serve`, which has to come back first, with its model.

At the end no region may be missing: `recovery.lost_regions` counts those of jobs that did not succeed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import tifffile

from benchmarks.report import Figure, figure
from server.process.children import module_command, module_environment
from server.process.embedded_redis import EmbeddedRedis
from server.process.serve import read_address
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys
from workers.core.queue.lease import holder_of
from workers.core.schemas import FINAL_STATES, JobRequest
from workers.core.settings import Settings
from workers.core.sizing.memory import region_side
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.store import Store, new_id

REGION_PX = 256
"""Rounded up to whole tiles of the model, as for every job."""

ROW = 6
"""So many regions in a row, and rows: a job has enough of them for all kills, so the workers are never without."""

LEFT = 8
"""Another job is asked for when no more regions are left: it is planned before they are done."""

GRAIN_PX = 8
WAIT_S = 600.0
POLL_S = 0.05

T = TypeVar("T")


def wait_for(found: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(POLL_S)
    raise click.ClickException(f"{what}: not within {WAIT_S:.0f} s")


def add_slide(store: Store, side_px: int) -> str:
    """Store a made slide that is tissue all over, 0.5 µm per pixel; return its id."""
    side = side_px // GRAIN_PX
    grains = np.random.default_rng(7).integers(90, 210, (side, side, 3), dtype=np.uint8)
    pixels = np.kron(grains, np.ones((GRAIN_PX, GRAIN_PX, 1), np.uint8))
    with store.incoming() as folder:
        path = folder / "original.tif"
        resolution = (20_000, 20_000)
        tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", resolution=resolution, resolutionunit=3)
        with open_slide(path) as slide:
            info = SlideInfo(
                id=new_id(),
                filename="made.tif",
                size_bytes=path.stat().st_size,
                sha256="a" * 64,
                vendor=slide.vendor,
                backend=slide.backend,
                geometry=slide.geometry,
                created_at=datetime.now(UTC),
            )
        store.commit_slide(info, folder)
    return info.id


@dataclass
class Bench:
    """A queue with work in it, and what was measured.

    Args:
        jobs: The queue.
        model: Name of the model.
    """

    jobs: Jobs
    model: str
    slide_id: str = ""
    asked: list[str] = field(default_factory=list)

    def keep_busy(self) -> list[str]:
        """Return the jobs that have not ended; ask for another one if hardly a region is left."""
        views = [self.jobs.view(job_id) for job_id in self.asked]
        going = [view for view in views if view.state not in FINAL_STATES]
        if sum((view.regions_total or LEFT) - view.regions_done for view in going) < LEFT:
            card = find_model(self.jobs.settings.models_dir, self.model)
            side_px = ROW * region_side(REGION_PX, card.tile_px)
            self.slide_id = self.slide_id or add_slide(self.jobs.store, side_px)
            request = JobRequest(  # each pixel of the slide is one of the plane
                slide_id=self.slide_id, model=self.model, mpp=card.mpp, region_px=REGION_PX, tissue=False,
                outputs=("statistics.json",),
            )  # fmt: skip
            self.asked.append(new_id())
            self.jobs.store.save_request(self.asked[-1], request, datetime.now(UTC))
            self.jobs.submit(self.asked[-1], request)
        return [view.id for view in going]

    def kill_one(self) -> float:
        """Kill the worker of a region that was begun once; return the seconds until the region is begun again."""
        while True:
            job_id, task, lease = wait_for(self._begun, "a region that is begun")
            name = f"rq:worker:{holder_of(lease)}"
            os.kill(int(self.jobs.redis.hget(name, "pid")), signal.SIGKILL)
            killed = time.monotonic()
            keys = JobKeys(job_id)
            if (self.jobs.redis.hget(keys.leases, task) or b"").decode() != lease:
                continue  # it was done in the very moment

            def again(keys: JobKeys = keys, task: str = task) -> bool | None:
                return int(self.jobs.redis.hget(keys.attempts, task) or 0) > 1 or None

            wait_for(again, f"{task} begun again")
            return time.monotonic() - killed

    def lost(self) -> int:
        """Wait for every job; return the number of regions of those that did not succeed."""
        count = 0
        for job_id in self.asked:
            wait_for(partial(self._has_ended, job_id), f"the end of {job_id}")
            view = self.jobs.view(job_id)
            print(f"job {job_id}: {view.state}, {view.regions_done} of {view.regions_total} regions")
            count += 0 if view.state == "succeeded" else (view.regions_total or 1) - view.regions_done
        return count

    def _has_ended(self, job_id: str) -> bool | None:
        return self.jobs.view(job_id).state in FINAL_STATES or None

    def _begun(self) -> tuple[str, str, str] | None:
        for job_id in self.keep_busy():
            for task, lease in self.jobs.redis.hgetall(JobKeys(job_id).leases).items():
                if task.startswith(b"region") and lease.endswith(b":1"):
                    return job_id, task.decode(), lease.decode()
        return None


@contextmanager
def served(folder: Path, workers: int, model: str) -> Iterator[Bench]:
    """Give the queue of an `ldiffusion serve` with so many workers."""
    options = ["--data-dir", str(folder), "--port", "0", "--workers", str(workers)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            module_command("server.cli.main", "serve", *options), env=module_environment(), stdout=log, stderr=log
        )
    try:
        wait_for(lambda: read_address(folder), "a server that is ready")
        url = EmbeddedRedis(folder).url
        jobs = Jobs(url, Settings(data_dir=folder, redis_url=url))
        yield Bench(jobs, model)
        jobs.close()
    finally:
        process.terminate()
        process.wait()


def measure_served(workers: int, model: str, kills: int) -> tuple[list[float], int]:
    """Kill workers of a server; return the seconds of each recovery, and the regions that were lost."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), workers, model) as bench:
        seconds = [bench.kill_one() for _ in range(kills)]
        return seconds, bench.lost()


def measure_foreign(model: str, kills: int) -> tuple[list[float], int]:
    """Kill one of two workers that nobody supervises; after each recovery another one is started."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as queue:
        settings = Settings(data_dir=Path(folder), redis_url=queue.url, workers=2)
        jobs, processes = Jobs(queue.url, settings), []
        bench = Bench(jobs, model)
        try:
            seconds = []
            for _ in range(kills):
                while jobs.workers() < 2:
                    processes.append(subprocess.Popen(module_command("workers"), env=module_environment(settings)))
                    known = jobs.workers()
                    wait_for(lambda known=known: jobs.workers() > known or None, "a worker")  # type: ignore[misc]
                seconds.append(bench.kill_one())
            return seconds, bench.lost()
        finally:
            for process in processes:
                process.kill()
                process.wait()
            jobs.close()


@click.command(context_settings=CONTEXT)
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True, help="Workers killed in each way.")
@click.option("--model", default="nuclei-fast", show_default=True, help="Model of supervised and foreign workers.")
@click.option("--lone-model", default="nuclei", show_default=True, help="Model of the lone worker.")
@click.option("--way", "ways", multiple=True, type=click.Choice(["supervised", "foreign", "lone"]), help="Only these.")
def main(kills: int, model: str, lone_model: str, ways: tuple[str, ...]) -> None:
    """Measure how soon work goes on after a worker was killed, and that none is lost."""
    measured: dict[str, tuple[str, Callable[[], tuple[list[float], int]]]] = {
        "supervised": ("recovery.supervised_max_s", lambda: measure_served(2, model, kills)),
        "foreign": ("recovery.foreign_max_s", lambda: measure_foreign(model, kills)),
        "lone": ("recovery.lone_real_model_max_s", lambda: measure_served(1, lone_model, kills)),
    }
    figures, lost = [], 0
    for way in ways or measured:
        name, measure = measured[way]
        began = time.monotonic()
        seconds, missing = measure()
        lost += missing
        took_s = time.monotonic() - began
        print(f"{way}: {' '.join(f'{value:.1f}' for value in sorted(seconds))} s; all of it took {took_s:.0f} s")
        figures.append(Figure(name, max(seconds), "s", (min(seconds), max(seconds))))
    for each in (*figures, Figure("recovery.lost_regions", lost, "")):
        figure(*each)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    main()
