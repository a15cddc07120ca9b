"""How soon a slide shows something: `python -m benchmarks.preview SLIDE [--mpp 0.5] [--model nuclei-fast]`.

A server with `workers` workers that have had a small job of the model before. A job of the whole slide is submitted;
measured are the seconds until its coarse preview lies there, and until its first region does. When the job is done, the
preview is compared with it: the correlation, over the cells, of the objects per mm² of both. The preview may take 10 s
and should correlate with 0.9, the first region may take 3 s.
"""

import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pyarrow.parquet as pq

from benchmarks.recovery import Bench, served, wait_for
from benchmarks.report import figure
from benchmarks.roi import square_in
from workers import segment
from workers.core.command_line import CONTEXT
from workers.core.label_layout import LABELS, chunks_of_row
from workers.core.model.catalogue import find_model
from workers.core.objects.coarse import COARSE, CoarsePreview
from workers.core.schemas import FINAL_STATES, JobRequest
from workers.core.slides.readers.registry import open_slide
from workers.core.store import Store, new_id

AIMS = {"preview.seconds": "<= 10", "preview.correlation": ">= 0.9", "preview.first_region_s": "<= 3"}


class Shown(NamedTuple):
    """What one job showed.

    Args:
        preview_s: Seconds from submit to the coarse preview.
        region_s: Seconds to the first region.
        preview: The coarse preview.
        job_id: The job, once it has succeeded.
    """

    preview_s: float
    region_s: float
    preview: CoarsePreview
    job_id: str


def store_slide(store: Store, path: Path, request: JobRequest, model_mpp: float) -> tuple[str, JobRequest]:
    """Store a slide as an upload does; return its id, and the request of a small square of its tissue."""
    with open_slide(path) as slide:
        info = segment.describe(path, slide)
        square = square_in(slide, request.mpp, model_mpp)
    with store.incoming() as folder:
        shutil.copyfile(path, folder / f"original{path.suffix}")
        store.commit_slide(info, folder)
    return info.id, request.model_copy(update={"roi": square, "slide_id": info.id})


def submit(bench: Bench, request: JobRequest) -> str:
    """Ask for a job."""
    job_id = new_id()
    bench.jobs.store.save_request(job_id, request, datetime.now(UTC))
    bench.jobs.submit(job_id, request)
    return job_id


def finish(bench: Bench, job_id: str) -> None:
    """Wait for the end of a job, which has to be a success."""
    while (view := bench.jobs.view(job_id)).state not in FINAL_STATES:
        time.sleep(0.5)
    if view.state != "succeeded":
        raise click.ClickException(f"the job is {view.state}: {view.error}")


def measure(bench: Bench, request: JobRequest) -> Shown:
    """Run a job of a whole slide."""
    began = time.monotonic()
    job_id = submit(bench, request)
    folder, shown = bench.jobs.store.job_dir(job_id), dict[str, float]()

    def both() -> CoarsePreview | None:
        now = time.monotonic() - began
        if "region" not in shown and any(chunks_of_row(folder, LABELS, row) for row in range(64)):
            shown["region"] = now
        if "preview" not in shown and (folder / COARSE).exists():
            shown["preview"] = now
        return CoarsePreview.model_validate_json((folder / COARSE).read_bytes()) if len(shown) == 2 else None

    preview = wait_for(both, "a preview and a region")
    finish(bench, job_id)
    return Shown(shown["preview"], shown["region"], preview, job_id)


def correlation(preview: CoarsePreview, folder: Path) -> float | None:
    """Return how the objects per mm² of the cells correlate with those of the finished job; None if none are told."""
    if preview.per_mm2 is None:
        return None
    table = pq.read_table(folder / "objects.parquet", columns=["x", "y"])
    edges = [
        np.arange(n + 1) * side for n, side in zip((preview.rows, preview.columns), preview.cell_px[::-1], strict=True)
    ]
    counts = np.histogram2d(table["y"].to_numpy(), table["x"].to_numpy(), bins=edges)[0].ravel()
    told = [index for index, value in enumerate(preview.per_mm2) if value is not None]
    expected = np.array([preview.per_mm2[index] for index in told], float)
    return float(np.corrcoef(expected, counts[told])[0, 1])


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--mpp", type=float, help="µm per level-0 pixel, where the slide does not say.")
@click.option("--model", default="nuclei-fast", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def main(slide: Path, mpp: float | None, model: str, workers: int) -> None:
    with tempfile.TemporaryDirectory() as name, served(Path(name), workers, model) as bench:
        store, card = bench.jobs.store, find_model(bench.jobs.settings.models_dir, model)
        slide_id, small = store_slide(store, slide, JobRequest(slide_id="", model=model, mpp=mpp), card.mpp)
        for job_id in [submit(bench, small) for _ in range(2 * workers)]:
            finish(bench, job_id)
        shown = measure(bench, JobRequest(slide_id=slide_id, model=model, mpp=mpp))
        alike = correlation(shown.preview, store.job_dir(shown.job_id))
    samples = f"{shown.preview.samples} samples, {shown.preview.samples_mm2} mm²"
    print(f"{model} on {slide.name}, {workers} workers: {samples}")
    found = {"preview.seconds": shown.preview_s, "preview.correlation": alike, "preview.first_region_s": shown.region_s}
    for title, value in found.items():
        print(f"{title:<24}{'-' if value is None else f'{value:.2f}':>8}   {AIMS[title]}")
    for title, value in found.items():
        if value is not None:
            figure(title, value, "s" if title.endswith("s") else "")


if __name__ == "__main__":
    main()
