"""What lists and counts cost the gateway, of few slides and of many: `python -m benchmarks.catalogue [--slides 10000]`.

Two stores are made, of 100 slides and of 10,000, each slide with a finished job and with labels, and a real gateway is
started on each. What is measured is the processor time of the gateway's process, all of its threads, for a request.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import httpx

from benchmarks.gateway_process import queue_of, start_gateway
from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JOBS, JobKeys
from workers.core.schemas import OUTPUTS, JobRequest, Preflight, Provenance, StoredRequest
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideGeometry, SlideInfo, SlideLevel
from workers.core.store import Store, new_id

FEW = 100
REQUESTS = 20
"""Of a measurement."""

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
STAINS = ("HE", "HE", "HE", "PAS", "Ki67")
QUIET_S, CALM = 1.0, 5
BUSY = 0.05
"""Part of a processor above which a gateway is at work on something else."""

PAGE = "limit=50"
ASKED = {
    "slides, newest": f"/v1/slides?{PAGE}",
    "slides by label": f"/v1/slides?{PAGE}&label=stain:HE",
    "slides by label and name": f"/v1/slides?{PAGE}&label=stain:HE&name=case-",
    "slides by SHA-256": "/v1/slides?sha256=" + f"{7:064x}",
    "jobs by model and state": f"/v1/jobs?{PAGE}&model=nuclei&state=succeeded",
    "jobs by label of the slide": f"/v1/jobs?{PAGE}&label=stain:HE",
    "usage": "/v1/usage",
}
JUDGED = "slides by label and name"


def fill(store: Store, jobs: Jobs, count: int) -> None:
    """Write so many slides, each with a finished job that the queue still knows."""
    pipe = jobs.redis.pipeline(transaction=False)
    for number in range(count):
        slide_id, job_id, at = new_id(), new_id(), BEGUN + timedelta(seconds=number)
        _write(store.slide_dir(slide_id), {"slide.json": _slide(slide_id, number, at).model_dump_json()})
        request = JobRequest(slide_id=slide_id, model=("nuclei", "glands")[number % 2])
        stored = StoredRequest(id=job_id, created_at=at, request=request, estimated_bytes=10**7)
        texts = {"job.json": stored.model_dump_json(), "result.json": _result(job_id, request, at).model_dump_json()}
        _write(store.job_dir(job_id), texts | {"size.json": json.dumps({"size_bytes": 10**6 + number})})
        record = {"state": "succeeded", "request": request.model_dump_json(), "created_at": at.isoformat()}
        record |= {"finished_at": (at + timedelta(minutes=5)).isoformat(), "regions_total": "40", "regions_done": "40"}
        pipe.hset(JobKeys(job_id).record, mapping=record | {"preflight": _preflight().model_dump_json()})
        pipe.zadd(JOBS, {job_id: at.timestamp()})
    pipe.execute()


def _write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)


def _slide(slide_id: str, number: int, at: datetime) -> SlideInfo:
    sides = [(100_000 >> level, 80_000 >> level) for level in (0, 2, 4, 6)]
    levels = tuple(SlideLevel(width=w, height=h, downsample=100_000 / w, tile_width=256) for w, h in sides)
    return SlideInfo(
        id=slide_id,
        filename=f"case-{number // 4:05d}-block-{'ab'[number // 2 % 2]}-{STAINS[number % len(STAINS)]}.svs",
        size_bytes=10**9,
        sha256=f"{number:064x}",
        vendor="aperio",
        backend="openslide",
        geometry=SlideGeometry(l0_width=100_000, l0_height=80_000, mpp_x=0.25, mpp_y=0.25, levels=levels),
        labels={
            "case": f"S26-{number // 4:05d}",
            "block": "AB"[number // 2 % 2],
            "stain": STAINS[number % len(STAINS)],
        },
        created_at=at,
    )


def _preflight() -> Preflight:
    return Preflight(regions_max=40, tiles_max=1000, estimated_s=300, estimated_peak_bytes=10**9)


def _result(job_id: str, request: JobRequest, at: datetime) -> Provenance:
    return Provenance(
        job_id=job_id, slide_id=request.slide_id, slide_sha256="0" * 64, slide_filename="a.svs", model=request.model,
        model_digest="0" * 64, mpp_x=0.25, mpp_y=0.25, mpp_source="metadata", model_mpp=0.5, seed=0, region_px=1024,
        halo_px=64, regions=40, backend="openslide", versions={"torch": "2.13.0", "numpy": "2.4.6"},
        timings_s={"plan": 3.0, "segment": 250.0}, files=dict.fromkeys(OUTPUTS, "0" * 64),
        sizes_bytes=dict.fromkeys(OUTPUTS, 10**6), created_at=at, finished_at=at + timedelta(minutes=5),
    )  # fmt: skip


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, of all threads that it has or had."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) answers, which Python does not have


def quiet(pid: int) -> None:
    """Wait until a process has had nothing to do for a while: at its start it reads what is stored."""
    calm = 0
    while calm < CALM:
        before = cpu_s(pid)
        time.sleep(QUIET_S)
        calm = calm + 1 if cpu_s(pid) - before < BUSY * QUIET_S else 0


def measured(client: httpx.Client, path: str, spent_s: Callable[[], float], repeat: int) -> list[float]:
    """Return milliseconds of processor time for a request, of each measurement."""
    found = []
    for _ in range(repeat + 1):  # the first one is for nothing: what is imported and kept on first use
        before = spent_s()
        for _ in range(REQUESTS):
            client.get(path).raise_for_status()
        found.append((spent_s() - before) / REQUESTS * 1e3)
    return found[1:]


def costs_of(settings: Settings, count: int, repeat: int) -> dict[str, list[float]]:
    """Return what is asked → milliseconds, of a gateway over so many slides."""
    jobs = Jobs(settings.redis_url, settings)
    fill(jobs.store, jobs, count)
    jobs.close()
    server = start_gateway(settings)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=120, trust_env=False) as client:
            client.get("/v1/jobs").raise_for_status()
            quiet(server.process.pid)
            spent = lambda: cpu_s(server.process.pid)  # noqa: E731
            return {name: measured(client, path, spent, repeat) for name, path in ASKED.items()}
    finally:
        server.stop()


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--slides", "many", type=click.IntRange(min=FEW), default=10_000, help="slides of the large store")
@click.option("--repeat", type=click.IntRange(min=1), default=5)
@click.option("--url", default="", help="postgresql:// address of the index; else a file")
def main(many: int, repeat: int, url: str) -> None:
    costs = {}
    for count in (FEW, many):
        with tempfile.TemporaryDirectory() as folder, queue_of(Path(folder)) as settings:
            costs[count] = costs_of(settings.model_copy(update={"catalogue_url": url}), count, repeat)
    print(f"{'CPU ms of the gateway':<30}{f'{FEW} slides':>16}{f'{many} slides':>16}{'growth':>9}")
    for name in ASKED:
        one, other = (statistics.median(costs[count][name]) for count in (FEW, many))
        print(f"{name:<30}{one:>16.2f}{other:>16.2f}{other / one:>9.2f}")
    few, large = (costs[count][JUDGED] for count in (FEW, many))
    figure("catalogue.page_ms", statistics.median(large), "ms", (min(large), max(large)))
    growth = statistics.median(large) / statistics.median(few)
    figure("catalogue.growth", growth, "×", (min(large) / max(few), max(large) / min(few)))


if __name__ == "__main__":
    main()
