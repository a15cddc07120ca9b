"""The command `ldiffusion`. Heavy commands become the process that does the work, so this one imports no torch."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from server.cli import corrections, doctor, keys, remote
from server.cli.extras import need
from server.cli.label_option import LabelOption
from server.process.children import module_command, module_environment
from workers.core.command_line import TellsErrors
from workers.core.quality_schemas import QUALITY_NAMES
from workers.core.roi.option import RoiOption
from workers.core.settings import Settings

PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


class Commands(TellsErrors, click.Group):
    """The commands, all of which tell domain errors alike."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ldiffusion-server", prog_name="ldiffusion")
def main() -> None:
    """Segment whole-slide images with L-Diffusion: a server, its workers, and the same in one process."""


@main.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of slides, jobs and the queue.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of model folders.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 picks a free one.")
@click.option("--workers", type=click.IntRange(min=0), help="Worker processes to start.")
@click.option("--redis-url", help="A Redis of yours; without it a private one is started.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.")
def serve(**options: Any) -> None:
    """Start everything: queue, gateway and workers. Each option can also be set as LDIFFUSION_<NAME>."""
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    need("serve", "server", *(["worker"] if settings.workers else []))
    from server.process.serve import run

    run(settings)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def worker(arguments: tuple[str, ...]) -> None:
    """Run one worker process against LDIFFUSION_REDIS_URL."""
    need("worker", "worker")
    become("workers", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def segment(arguments: tuple[str, ...]) -> None:
    """Segment slides without server and queue: one, or a folder, a pattern, a list of them."""
    need("segment", "worker")
    become("workers.segment", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def crops(arguments: tuple[str, ...]) -> None:
    """Cut boxes out of slides for training."""
    need("crops", "worker")
    become("workers.crops", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def validate(arguments: tuple[str, ...]) -> None:
    """Measure a model on annotated regions of a slide of your own."""
    need("validate", "worker")
    become("workers.validate", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train a model from a configuration file."""
    need("train", "train", "worker")
    become("models.training", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Measure a model on a dataset."""
    need("evaluate", "train", "worker")
    become("models.training.evaluation.evaluate", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def figures(arguments: tuple[str, ...]) -> None:
    """Draw a model's figures: training curves, radar, violins, t-SNE, panels."""
    need("figures", "train", "worker")
    become("models.training.figures", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def study(arguments: tuple[str, ...]) -> None:
    """Train what a study compares, and print its table."""
    need("study", "train", "worker")
    become("models.training.study", arguments)


@main.command(context_settings=PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def data(arguments: tuple[str, ...]) -> None:
    """Look at a dataset before training on it."""
    need("data", "worker")
    become("models.training.datasets", arguments)


@main.command()
@click.argument("slides", nargs=-1, metavar="SLIDE...", type=click.Path(path_type=Path))
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="CSV of slides: path and, if wanted, mpp, model, labels."
)
@click.option("--summary", type=click.Path(path_type=Path), help="Write a row a slide: .parquet or .csv.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of results.")
@click.option("--model", default="nuclei", show_default=True, help="Name of an installed model.")
@click.option("--mpp", type=click.FloatRange(min=0, min_open=True), help="µm per pixel; overrides the slide's own.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise field.")
@click.option(
    "--region-px", type=click.IntRange(min=256), help="Side of a region, in pixels at the model's resolution."
)
@click.option("--tissue/--no-tissue", default=True, show_default=True, help="Skip glass.")
@click.option("--roi", type=RoiOption(), help="Box X0,Y0,X1,Y1 in level-0 px, or a file of GeoJSON polygons.")
@click.option("--output", "outputs", multiple=True, help="What to make, may be repeated; everything if not given.")
@click.option(
    "--product", "products", multiple=True, help="What to fetch besides, such as labels.ome.zarr; repeatable."
)
@click.option(
    "--label", "labels", multiple=True, type=LabelOption(), help="KEY=VALUE of the slides on the server; repeatable."
)
@click.option("--priority", type=click.Choice(["interactive", "batch"]), help="Which jobs go first.")
@click.option("--on-bad-tile", type=click.Choice(["fail", "mask", "skip"]), help="When a tile cannot be decoded.")
@click.option("--quality", is_flag=True, default=None, help="Also where ink, folds and blur spoil the tissue.")
@click.option(
    "--exclude-quality",
    multiple=True,
    type=click.Choice(QUALITY_NAMES),
    help="Leave this out of the statistics where the tissue has it; may be repeated.",
)
@click.option("--fresh", is_flag=True, help="A new slide and job, also where the server has the same.")
@remote.of_server
@click.pass_context
def submit(
    context: click.Context,
    /,
    slides: tuple[Path, ...],
    manifest: Path | None,
    summary: Path | None,
    out: Path,
    url: str,
    key: str | None,
    products: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    ca_file: Path | None,
    *,
    fresh: bool,
    **request: Any,
) -> None:
    """Send slides to a server, follow their jobs, fetch and check all results. Killed and started again, it goes on.

    SLIDE is a file, or the folder of a DICOM series; several, folders, patterns in quotes or a --manifest: each slide
    gets a folder in that of -o, and a table is printed at the end.
    """
    need("submit", "client", *(["worker"] if summary is not None and summary.suffix == ".parquet" else []))
    from server.cli.submit import submit as submit_slide
    from server.cli.submit_many import Wanted, submit_many

    asked = {name: value for name, value in request.items() if value is not None and value != ()}
    wanted = Wanted(slides, out, manifest, summary, asked, products, fresh, dict(labels))
    if not wanted.is_one:
        context.exit(submit_many(wanted, url, key, ca_file))
    (slide,) = slides
    if not slide.exists():
        raise click.BadParameter(f"Path {str(slide)!r} does not exist.", param_hint="'SLIDE...'")
    submit_slide(url, slide, out, asked, key, products, fresh=fresh, ca_file=ca_file, labels=dict(labels))


@main.command()
@click.option("--slide", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A slide of yours.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="demo-output", show_default=True)
@click.option("--model", default="nuclei", show_default=True, help="Name of an installed model.")
@click.option("--mpp", type=click.FloatRange(min=0, min_open=True), help="µm per pixel; overrides the slide's own.")
@click.option("--open", "opens", is_flag=True, help="Then open the page in the browser; the server stays until Ctrl-C.")
def demo(slide: Path | None, out: Path, model: str, mpp: float | None, *, opens: bool) -> None:
    """Show the whole on a real slide: start a server, upload, segment, fetch the results, stop."""
    need("demo", "client", "server", "worker")
    from server.cli.demo import run_demo

    run_demo(Settings(), slide, out, {"model": model} | ({} if mpp is None else {"mpp": mpp}), opens=opens)


@main.group()
def models() -> None:
    """The installed models."""


@models.command("list")
def list_models() -> None:
    """List the installed models."""
    from workers.core.model import catalogue

    for card in catalogue.list_models(Settings().models_dir):
        click.echo(f"{card.name:<20} {card.mpp:g} µm/px  {len(card.classes)} classes  {card.license}  {card.title}")


@models.command("show")
@click.argument("name")
def show_model(name: str) -> None:
    """Print the card of one model as JSON."""
    from workers.core.model import catalogue

    card = catalogue.find_model(Settings().models_dir, name)
    click.echo(json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False))


@models.command("verify")
@click.argument("model")
def verify_model(model: str) -> None:
    """Check a model, installed or a folder from outside: schema, digest, safetensors only, and one tile."""
    need("models verify", "worker")
    folder = checked_folder(model)
    become("models.install", ("verify", str(folder)))


@models.command("add")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Take the place of an installed model of this name.")
def add_model(folder: Path, *, replace: bool) -> None:
    """Check a model folder from outside and install it."""
    need("models add", "worker")
    checked = checked_folder(str(folder.resolve()))
    options = ("--models-dir", str(Settings().models_dir), *(("--replace",) if replace else ()))
    become("models.install", ("add", str(checked), *options))


def checked_folder(model: str) -> Path:
    """Return the folder of an installed model, or a folder given as a path, once its card is valid."""
    from workers.core.model import catalogue

    models_dir, name = catalogue.locate(model, Settings().models_dir)
    catalogue.find_model(models_dir, name)
    return catalogue.model_dir(models_dir, name)


def become(module: str, arguments: tuple[str, ...]) -> None:
    """Replace this process by a module of ours."""
    command = module_command(module, *arguments)
    sys.stdout.flush()
    os.execve(command[0], command, module_environment())  # noqa: S606 - an argument list, no shell


main.add_command(keys.keys)
main.add_command(keys.audit)
main.add_command(remote.batches)
main.add_command(corrections.corrections)
main.add_command(remote.system)
main.add_command(remote.usage)
main.add_command(doctor.doctor)


if __name__ == "__main__":
    main()
