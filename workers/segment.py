"""The same stages in one process, without server and queue: `python -m workers.segment SLIDE -o OUT --model NAME`.

The output folder is complete when it holds `result.json`. Started again on a folder that a run left incomplete, it
goes on from the regions that are there; a complete folder is left alone unless `--overwrite` is given. Of many slides
each has a folder and a process of its own: `workers.many`.
"""

import hashlib
import resource
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError
from tqdm import tqdm

from workers import stages
from workers.core.children.readers import Readers
from workers.core.command_line import CONTEXT, MemoryOption, TellsErrors
from workers.core.digests import sha256_of
from workers.core.errors.base import RequestInvalid, SlideUnreadable
from workers.core.label_layout import STORE
from workers.core.model.catalogue import find_model, locate, model_dir
from workers.core.model.precision import choose_precision
from workers.core.model.schemas import ModelCard, Precision
from workers.core.quality_schemas import QUALITY_NAMES
from workers.core.roi.option import RoiOption
from workers.core.schemas import JobRequest, Plan, Provenance
from workers.core.settings import Device, EngineChoice, Settings, settings_with
from workers.core.sizing.memory import worker_memory_bytes
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.doubts import Judged, judge_file
from workers.core.slides.modality_match import require_modality
from workers.core.slides.names import display_name
from workers.core.slides.resolution import resolve_mpp
from workers.core.slides.slide import Slide
from workers.core.text import printable
from workers.many.command import Asked, of_many, segment_many
from workers.masks import load_area
from workers.outputs.statistics import read_statistics
from workers.pipeline import bad_tiles, stitch
from workers.pipeline.inference import Engine, Segmenter, cpu_threads, segment_regions
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane, region_at

Judge = Callable[[Path, int | None], Judged]


@dataclass(frozen=True)
class Run:
    """One slide on its way into one folder."""

    slide: Slide
    info: SlideInfo
    card: ModelCard
    request: JobRequest
    out_dir: Path
    precision: Precision = "float32"
    room_bytes: int = sys.maxsize
    threads: int = 1

    @property
    def job_id(self) -> str:
        """The same for the same question, so that its polygons keep their identifiers when it is asked again."""
        request, roi = self.request, self.request.roi
        more = (each for each in (request.image, roi and roi.model_dump_json()) if each is not None)
        asked = (self.info.sha256, self.card.digest, request.mpp, request.seed, request.tissue, *more)
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:32]


@click.command(cls=TellsErrors, context_settings=CONTEXT)
@click.argument("slides", nargs=-1, metavar="SLIDE...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@of_many
@click.option("--model", default="nuclei", show_default=True, help="Name of an installed model, or its folder.")
@click.option("--mpp", type=float, help="µm per level-0 pixel; overrides the slide's own.")
@click.option(
    "--region-px",
    type=int,
    help="Side of a region in pixels of the model, up to the next multiple of its tile: memory, not the result.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise field.")
@click.option("--tissue/--no-tissue", default=True, help="Skip glass, or segment every pixel.")
@click.option("--roi", type=RoiOption(), help="x0,y0,x1,y1 in level-0 pixels, or a GeoJSON file: segment nothing else.")
@click.option("--on-bad-tile", type=click.Choice(["fail", "mask", "skip"]), default="fail", show_default=True)
@click.option("--image", type=int, help="Number of the image, in a file that holds several; else the largest.")
@click.option("--ignore-modality", is_flag=True, help="Run the model on a slide of another modality than its own.")
@click.option("--quality", is_flag=True, help="Make quality.geojson.gz as well: where ink, folds and blur are.")
@click.option(
    "--exclude-quality",
    multiple=True,
    type=click.Choice(QUALITY_NAMES),
    help="Leave this out of the statistics where the tissue has it; may be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace a complete result in the output folder.")
@click.option("--device", type=click.Choice(get_args(Device)), help="Where the model runs.")
@click.option("--engine", type=click.Choice(get_args(EngineChoice)), help="What the model computes in.")
@click.option("--memory", type=MemoryOption(), help="What it may take, such as 2GiB: the tiles follow from it.")
@click.option("--threads", type=int, help="CPU threads; all cores this process may use if not given.")
@click.pass_context
def main(
    context: click.Context,
    /,
    slides: tuple[Path, ...],
    output: Path,
    manifest: Path | None,
    jobs: int,
    summary: Path | None,
    model: str,
    overwrite: bool,
    device: Device | None,
    engine: EngineChoice | None,
    memory: int | None,
    threads: int | None,
    **asked: Any,
) -> None:
    """Segment slides with a model and write overlay, labels, objects, polygons, statistics and preview.

    SLIDE is a file; several, folders, patterns in quotes or a --manifest: each slide gets a folder in that of -o, what
    is complete there is skipped, and a table is printed at the end.
    """
    settings = settings_with(device=device, engine=engine, worker_memory=memory, torch_threads=threads)
    many = Asked(slides, output, manifest, jobs, summary, overwrite)
    if not many.is_one:
        context.exit(segment_many(many, settings, request_of, model=model, **asked))
    (slide,) = slides
    folder, name = locate(model, settings.models_dir)
    threads = cpu_threads(settings.torch_threads, 1)
    request = request_of(model=name, **asked)
    prepare(output, overwrite=overwrite)
    with closing(own_readers(settings)) as readers, open_file(slide, request, readers) as opened:
        card = find_model(folder, name)
        resolve_mpp(opened.geometry, request.mpp, card.mpp)  # before anything that takes time
        info = describe(slide, opened, request.image, readers.judge)
        require_modality(info, request, card)
        precision = choose_precision(settings.engine, settings.device, card)
        run = Run(opened, info, card, request, output, precision, worker_memory_bytes(settings, 1), threads)
        provenance = segment(run, lambda: Engine(model_dir(folder, name), settings.device, threads))
    click.echo(report(provenance, output))


def prepare(out_dir: Path, *, overwrite: bool) -> None:
    """Make the output folder; of one that is there only files of ours are replaced, and a whole result only if told.

    Raises:
        RequestInvalid: It is a file, or holds a complete result and `overwrite` is off.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise RequestInvalid("The output is a file.", value=out_dir, accepted="a folder")
    if (out_dir / stages.RESULT).exists():
        if not overwrite:
            raise RequestInvalid(
                "The output folder holds a complete result.", value=out_dir, accepted="another folder, or --overwrite"
            )
        for name in (stages.RESULT, *stages.EVERYTHING):
            (out_dir / name).unlink(missing_ok=True)
        for folder in (STORE, bad_tiles.FOLDER):
            shutil.rmtree(out_dir / folder, ignore_errors=True)
    out_dir.mkdir(parents=True, exist_ok=True)


def describe(path: Path, slide: Slide, image: int | None = None, judge: Judge = judge_file) -> SlideInfo:
    """Return what the store would know of this slide; its id is the beginning of its digest."""
    digest = sha256_of(path)
    judged = judge(path, image)
    return SlideInfo(
        id=digest[:32],
        filename=display_name(path.name),
        size_bytes=path.stat().st_size,
        sha256=digest,
        vendor=slide.vendor,
        backend=slide.backend,
        geometry=slide.geometry,
        content=slide.content,
        modality=judged.modality,
        warnings=(*slide.warnings, *judged.doubts),
        created_at=datetime.now(UTC),
    )


def segment(run: Run, load: Callable[[], Segmenter]) -> Provenance:
    """Plan, segment what has not landed yet, finish.

    Args:
        run: Slide, model, question and output folder.
        load: Loads the model; called after the plan is made, and only if there is something to segment.
    """
    created_at = datetime.now(UTC)
    plan, timings_s = label(run, load)
    return stages.finish_job(
        run.slide, run.info, plan, run.out_dir, created_at=created_at, timings_s=timings_s, threads=run.threads
    )


def label(run: Run, load: Callable[[], Segmenter]) -> tuple[Plan, dict[str, float]]:
    """Plan and segment what has not landed yet, and make no output: the plan, and the seconds of each phase.

    Arguments as for `segment`.
    """
    started = time.perf_counter()
    plan = stages.plan_job(
        run.slide, run.info, run.request, run.card, run.out_dir, run.job_id, run.precision, run.room_bytes
    )
    timings_s = {"plan": round(time.perf_counter() - started, 3)}
    landed = stitch.regions_present(run.out_dir, plan)
    todo = [index for index in plan.regions if index not in landed]
    click.echo(
        f"{run.info.filename}: {plan.w_width} x {plan.w_height} px at {plan.model_mpp} µm/px ({plan.mpp_source}), "
        f"{len(todo)} regions of {plan.region_px} px to segment, {len(plan.regions) - len(todo)} done before",
        err=True,
    )
    if todo:
        started = time.perf_counter()
        engine = load()
        timings_s["load"] = round(time.perf_counter() - started, 3)
        started = time.perf_counter()
        _segment(run, plan, todo, engine)
        timings_s["segment"] = round(time.perf_counter() - started, 3)
    return plan, timings_s


def report(provenance: Provenance, out_dir: Path) -> str:
    """Return what a person wants to know at the end: areas and objects, seconds per phase, memory, where things are."""
    found = read_statistics(out_dir)
    width = max(len(each.name) for each in found.classes)
    rows = [f"{'class':<{width}}  {'mm²':>10}  {'of tissue':>9}  {'confidence':>10}  {'objects':>9}  {'per mm²':>9}"]
    for each in found.classes:
        share = "-" if each.share_of_tissue is None else f"{each.share_of_tissue:.2%}"
        confidence = "-" if each.mean_confidence is None else f"{each.mean_confidence:.3f}"
        count = "-" if each.count is None else str(each.count)
        density = "-" if each.density_per_mm2 is None else f"{each.density_per_mm2:.1f}"
        rows.append(f"{each.name:<{width}}  {each.mm2:>10.4f}  {share:>9}  {confidence:>10}  {count:>9}  {density:>9}")
    names = ", ".join(provenance.exclude_quality)
    spoiled = "" if found.excluded_mm2 is None else f"; {found.excluded_mm2:.4f} mm² left out ({names})"
    warned = [f"warning: {each}" for each in provenance.warnings]
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in provenance.timings_s.items())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return "\n".join(
        (
            *rows,
            f"tissue {found.tissue_mm2:.4f} mm² of {found.slide_mm2:.4f} mm²{spoiled}",
            f"seconds: {seconds}",
            f"peak memory: {peak_mb:.0f} MB",
            *warned,
            f"results: {printable(out_dir)}",
        )
    )


def _segment(run: Run, plan: Plan, todo: list[int], engine: Segmenter) -> None:
    stages.require_model(plan, engine)
    plane = WorkingPlane.from_plan(plan)
    reader = PlaneReader(run.slide, plane, plan.level)
    regions = (region_at(plane, plan.region_px, index) for index in todo)
    results = segment_regions(reader, regions, engine, plan, load_area(run.out_dir, plan))
    with closing(results), tqdm(total=len(todo), unit="region", disable=None) as bar:
        for done in results:
            stages.keep_region(run.slide, plan, done, run.out_dir)
            bar.update()


def own_readers(settings: Settings) -> Readers:
    """Return who opens the slides of whoever calls this program."""
    return Readers(settings, may_read_here=True)


def open_file(path: Path, request: JobRequest, readers: Readers) -> Slide:
    """Open a slide that somebody named on a command line; errors as for `Readers.open`.

    Raises:
        SlideUnreadable: It is not there.
    """
    if not path.is_file():
        raise SlideUnreadable("The slide file is not there.", value=path)
    return readers.open(path, request.on_bad_tile, request.image)


def request_of(**asked: Any) -> JobRequest:
    """Return the options of a command line as a request.

    Raises:
        RequestInvalid: One of them has an impossible value.
    """
    try:
        return JobRequest(slide_id="local", **asked)
    except ValidationError as error:
        first = error.errors()[0]
        field = "--" + str(first["loc"][0]).replace("_", "-")
        raise RequestInvalid(f"{field}: {first['msg']}.", value=first["input"]) from error


if __name__ == "__main__":
    main()
