"""What watching costs: `python -m benchmarks.metrics [--jobs 1000]`. CPU time, so that others do not count.

- census: the look at the queue, with so many jobs that have not ended: CPU of this process, and of the queue server,
  which does nothing else meanwhile;
- page: making the text of one scrape of it, of a gateway in which each route was asked for;
- request: what counting adds to one request.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from prometheus_client.exposition import generate_latest
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.report import figure
from server.app import routes_of_rooms
from server.process.embedded_redis import EmbeddedRedis
from server.telemetry.exposition import Shown
from server.telemetry.looks import Disk, Queue, Scene
from server.web.counting.counters import REQUEST_SECONDS, REQUESTS
from server.web.counting.requests import RequestCounts, Templates
from workers.core.command_line import CONTEXT
from workers.core.queue.census import read_tallies, take_census
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import ACTIVE, JobKeys
from workers.core.settings import Settings

ROUNDS = 20
ASKED = 20_000
REGIONS = 50
"""Of each job that wait."""


def fill(jobs: Jobs, count: int) -> None:
    """Have so many jobs that have not ended, each with regions that wait."""
    states = ("queued", "planning", "running", "finishing")
    with jobs.redis.pipeline(transaction=False) as pipe:
        for number in range(count):
            keys = JobKeys(f"{number:032x}")
            fields = {"state": states[number % 4], "priority": ("interactive", "batch")[number % 2]}
            pipe.hset(keys.record, mapping=fields | {"created_at": datetime.now(UTC).isoformat(), "request": "x" * 600})
            pipe.sadd(ACTIVE, keys.job_id)
            pipe.rpush(keys.waiting, *range(REGIONS))
        pipe.execute()


def ask_all_routes() -> None:
    """Count a request to each route, answered and refused."""
    for route in routes_of_rooms():
        if isinstance(route, Route):
            for method in route.methods or ():
                REQUEST_SECONDS.labels(route.path_format, method).observe(0.1)
                for status in ("2xx", "4xx"):
                    REQUESTS.labels(route.path_format, method, status).inc()


def cpu_ms(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the median of the CPU milliseconds of some calls."""
    taken = []
    for _ in range(ROUNDS):
        began = clock()
        work()
        taken.append(1000 * (clock() - began))
    return statistics.median(taken)


def cpu_of_queue_s(jobs: Jobs) -> float:
    told = jobs.redis.info("cpu")
    return float(told["used_cpu_user"] + told["used_cpu_sys"])


async def answer(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def us_of_request(app: ASGIApp) -> float:
    """Return the CPU microseconds of one request."""
    path = f"/v1/jobs/{'0' * 32}/statistics"  # of a route that is late in the list
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": [], "root_path": ""}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Message) -> None: ...

    async def ask() -> None:
        for _ in range(ASKED):
            await app(dict(scope), receive, send)

    began = time.process_time()
    asyncio.run(ask())
    return 1e6 * (time.process_time() - began) / ASKED


@click.command(context_settings=CONTEXT)
@click.option("--jobs", "counts", type=click.IntRange(min=1), multiple=True, default=(100, 1000, 10_000))
def main(counts: tuple[int, ...]) -> None:
    """Measure."""
    ask_all_routes()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as server:
        jobs = Jobs(server.url, Settings(data_dir=Path(folder), redis_url=server.url))
        click.echo(f"{'jobs':>8} {'census, ms':>12} {'of the queue, ms':>18} {'page, ms':>10} {'series':>8}")
        for count in counts:
            jobs.redis.flushall()
            fill(jobs, count)
            before = cpu_of_queue_s(jobs)
            own = cpu_ms(lambda: take_census(jobs))
            queue = 1000 * (cpu_of_queue_s(jobs) - before) / ROUNDS
            scene = Scene(Queue(take_census(jobs), read_tallies(jobs)), Disk(2, 1), 0, 0)
            page = cpu_ms(lambda scene=scene: generate_latest(Shown(scene, "0")))  # type: ignore[misc]
            series = generate_latest(Shown(scene, "0")).decode().count("\nldiffusion_")
            click.echo(f"{count:>8} {own:>12.2f} {queue:>18.2f} {page:>10.2f} {series:>8}")
            figure(f"metrics.census_{count}_ms", own, "ms")
            figure(f"metrics.census_queue_{count}_ms", queue, "ms")
        figure("metrics.page_ms", page, "ms")
        jobs.close()
    added = us_of_request(RequestCounts(answer, Templates(routes_of_rooms()))) - us_of_request(answer)
    figure("metrics.request_us", added, "µs")


if __name__ == "__main__":
    main()
