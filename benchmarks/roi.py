"""What a small region of interest costs: `python -m benchmarks.roi SLIDE [--mpp 0.5] [--model nuclei-paper]`.

The whole slide as one job, then a square of 512 working px in the middle of its tissue as another, `repeat` times, in
one process that has the model in memory and the slide open: as a worker that has had jobs of it before.
`pipeline.roi_overhead` is the CPU seconds of the square's job, with plan, outputs and reading children, divided by what
so much tissue costs as a part of the whole.
"""

import statistics
import tempfile
from contextlib import closing
from pathlib import Path

import click

from benchmarks.pipeline import square_of
from benchmarks.reader_rates import spent
from benchmarks.report import figure
from workers import segment, stages
from workers.core.children.readers import Readers
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model, model_dir
from workers.core.model.precision import choose_precision
from workers.core.roi.polygons import MultiPolygon, Polygon
from workers.core.schemas import JobRequest, Provenance
from workers.core.settings import Settings
from workers.core.slides.slide import Slide
from workers.outputs.statistics import read_statistics
from workers.pipeline.inference import Engine, Segmenter
from workers.pipeline.overview import Overview
from workers.pipeline.tiling import WorkingPlane
from workers.pipeline.tissue import TissueMask

AIM = 3.0


def square_in(slide: Slide, mpp: float | None, model_mpp: float) -> Polygon | MultiPolygon:
    """Return the square around the middle of a slide's tissue, level-0 px."""
    tissue = TissueMask.from_overview(Overview.from_slide(slide))
    return square_of(tissue, WorkingPlane.from_geometry(slide.geometry, model_mpp, mpp))


def run(of: segment.Run, engine: Segmenter) -> dict[str, float]:
    """Run a job in its folder; return CPU seconds as `cpu` and mm² of tissue as `mm2`, and the wall of each phase."""
    taken = spent(lambda: segment.segment(of, lambda: engine))
    timings = Provenance.model_validate_json((of.out_dir / stages.RESULT).read_bytes()).timings_s
    return {**timings, "cpu": taken.cpu_s, "mm2": read_statistics(of.out_dir).tissue_mm2}


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--mpp", type=float, help="µm per level-0 pixel, where the slide does not say.")
@click.option("--model", default="nuclei-paper", show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
def main(slide: Path, mpp: float | None, model: str, repeat: int) -> None:
    settings = Settings()
    card = find_model(settings.models_dir, model)
    engine = Engine(model_dir(settings.models_dir, model), "cpu", threads=1)
    precision = choose_precision(settings.engine, "cpu", card)
    request = JobRequest(slide_id="local", model=model, mpp=mpp)
    asked, found = ["whole", *(f"square {number}" for number in range(repeat + 1))], {}
    with (
        closing(Readers(settings, may_read_here=True)) as readers,
        segment.open_file(slide, request, readers) as opened,
        tempfile.TemporaryDirectory() as folder,
    ):
        info = segment.describe(slide, opened, None, readers.judge)
        square = request.model_copy(update={"roi": square_in(opened, mpp, card.mpp)})
        for name in asked:
            out = Path(folder) / name
            out.mkdir()
            each = segment.Run(opened, info, card, request if name == "whole" else square, out, precision)
            found[name] = run(each, engine)
            print(f"{name:<10}" + "  ".join(f"{phase} {value:.2f}" for phase, value in found[name].items()))
    whole = found.pop("whole")
    del found["square 0"]  # what the first of its kind has to import
    overheads = [each["cpu"] / (whole["cpu"] * each["mm2"] / whole["mm2"]) for each in found.values()]
    print(f"{model} on {slide.name}, {precision}: aim <= {AIM}")
    figure("pipeline.roi_overhead", statistics.median(overheads), "x", (min(overheads), max(overheads)))


if __name__ == "__main__":
    main()
