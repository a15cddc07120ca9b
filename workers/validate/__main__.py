"""How good a model is on a slide of your own: `python -m workers.validate SLIDE TRUTH.geojson --model NAME`.

The annotated regions are segmented as `ldiffusion segment` does, into a folder that goes again, and labels and objects
are compared with the annotations on the model's grid. Each region counts as an image does in `ldiffusion evaluate`.
"""

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import click

from models.training.evaluation.report import markdown, per_image, text, to_dict
from models.training.evaluation.summary import Evaluation, Setting, summarise
from workers.core.command_line import CONTEXT, TellsErrors
from workers.core.model.catalogue import find_model, locate, model_dir
from workers.core.model.precision import choose_precision
from workers.core.model.schemas import ModelCard
from workers.core.roi.polygons import MultiPolygon
from workers.core.schemas import JobRequest
from workers.core.settings import settings_with
from workers.core.slide_schemas import TrustWarning
from workers.core.slides.modality_match import require_modality
from workers.core.text import printable
from workers.pipeline.inference import Engine, cpu_threads
from workers.pipeline.tiling import WorkingPlane
from workers.segment import Run, describe, open_file, own_readers, request_of
from workers.validate.compare import compare
from workers.validate.survey import Survey, doubts, look, origin_of
from workers.validate.truth import REGION, Space, Truth, Words, read_truth

DRAWN_FROM: Final = 5
"""Fewer regions give no intervals: what is drawn anew of so few says little of other regions."""

UM2_PER_MM2: Final = 1e6


@click.command(cls=TellsErrors, context_settings=CONTEXT)
@click.argument("slide", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--model", default="nuclei-tiny", show_default=True, help="Name of an installed model, or its folder.")
@click.option("--region", default=REGION, show_default=True, help="Class of the regions that were wholly annotated.")
@click.option("--map", "renamed", multiple=True, help="THEIRS=OURS: a class of the truth, and the model's for it.")
@click.option("--space", type=click.Choice(get_args(Space)), help="Frame of the truth, where the slide has bounds.")
@click.option("--mpp", type=float, help="µm per level-0 pixel; overrides the slide's own.")
@click.option("--tissue/--no-tissue", default=True, help="Skip glass, or segment every pixel.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the noise field and of the resamples.")
@click.option("--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples; 0: none.")
@click.option("--image", type=int, help="Number of the image, in a file that holds several; else the largest.")
@click.option("--ignore-modality", is_flag=True, help="Run the model on a slide of another modality than its own.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.")
@click.option("--threads", type=int, help="CPU threads; all cores this process may use if not given.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for validation.json and .md.")
def main(
    slide: Path,
    truth: Path,
    model: str,
    region: str,
    renamed: tuple[str, ...],
    space: Space | None,
    device: str | None,
    threads: int | None,
    bootstrap: int,
    out: Path | None,
    **asked: Any,
) -> None:
    """Compare a model with what was annotated in some regions of SLIDE: TRUTH, GeoJSON from QuPath."""
    settings = settings_with(device=device, torch_threads=threads)
    models_dir, name = locate(model, settings.models_dir)
    request, card = request_of(model=name, **asked), find_model(models_dir, name)
    folder = model_dir(models_dir, name)
    words = Words.of(tuple(each.name for each in card.classes), region, renamed)
    load = partial(Engine, folder, settings.device, cpu_threads(settings.torch_threads, 1))
    with (
        closing(own_readers(settings)) as readers,
        open_file(slide, request, readers) as opened,
        tempfile.TemporaryDirectory() as scratch,
    ):
        plane = WorkingPlane.from_geometry(opened.geometry, card.mpp, request.mpp)
        annotated = read_truth(truth, words, origin_of(opened.geometry, space))
        survey = look(annotated, plane, opened.geometry)
        info = describe(slide, opened, request.image, readers.judge)
        require_modality(info, request, card)
        precision = choose_precision(settings.engine, settings.device, card)
        run = Run(opened, info, card, _within(request, annotated), Path(scratch), precision)
        measured, warnings = compare(run, annotated, load)
    resamples = bootstrap if len(annotated.regions) >= DRAWN_FROM else 0
    classes = tuple(each.name for each in card.classes)
    setting = Setting(name, card.digest, info.filename, classes, resamples=resamples, seed=request.seed, piece="region")
    said = (*warnings, *doubts(annotated, survey))
    _tell(summarise(setting, measured), _record(card, survey, truth, said), out)


def _within(request: JobRequest, truth: Truth) -> JobRequest:
    parts = tuple(part for region in truth.regions for part in region.polygons.coordinates)
    return request.model_copy(update={"roi": MultiPolygon(coordinates=parts)})


def _record(card: ModelCard, survey: Survey, truth: Path, warnings: Sequence[TrustWarning]) -> dict[str, Any]:
    """Return what the JSON says beside the figures."""
    return {
        "truth": printable(truth.name),
        "mm2": [round(pixels * card.mpp**2 / UM2_PER_MM2, 6) for pixels in survey.pixels],
        "annotations": list(survey.annotations),
        "warnings": [each.model_dump(mode="json") for each in warnings],
    }


def _tell(evaluation: Evaluation, record: dict[str, Any], out: Path | None) -> None:
    """Print the tables and one line of JSON; with a folder, write both and the counts of each region."""
    found = to_dict(evaluation)
    found = {"slide": found.pop("dataset"), "regions": found.pop("images")} | found | record
    for each in record["warnings"]:
        click.echo(f"warning: {TrustWarning(**each)}", err=True)
    click.echo(text(evaluation))
    click.echo(json.dumps(found, allow_nan=False, ensure_ascii=False))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        whole = found | {"per_region": per_image(evaluation.measured)}
        (out / "validation.json").write_text(json.dumps(whole, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
        (out / "validation.md").write_text(markdown(evaluation), "utf-8")


if __name__ == "__main__":
    main()
