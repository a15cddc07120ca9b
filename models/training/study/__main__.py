"""Train what a study compares and print its table, or that alone: `ldiffusion study {run,table,plan} STUDY.toml`.

`ldiffusion study keep` and `unpack` put what its runs say into one file and back, `ldiffusion study paper` prints the
paper's tables beside ours.
"""

import sys
from pathlib import Path

import click
import torch

from models.command_line import CONTEXT, DEVICE, PATH, THREADS, fail, run
from models.engine.allocator import keep_freed_memory
from models.engine.device import pick_device
from models.training.evaluation.marked import fill
from models.training.study.cost import plan_text
from models.training.study.draws import draws_markdown
from models.training.study.kept import keep, unpack
from models.training.study.paper import TABLES, table_markdown
from models.training.study.plan import Study, load_study
from models.training.study.run import run_study
from models.training.study.table import markdown


def main(argv: list[str] | None = None) -> int:
    """Parse, run what is asked for, print the table; 2 with one sentence on bad input."""
    try:
        return run(_study, "ldiffusion study", argv)
    except (OSError, ValueError) as error:
        return fail(error)


def put_into(document: Path, name: str, page: str) -> None:
    """Put a study's page between its two marks in a document.

    Raises:
        ValueError: The document has no such marks.
    """
    put_between(document, f"<!-- study: {name} -->", f"<!-- end of {name} -->", page)


def put_between(document: Path, begin: str, end: str, page: str) -> None:
    """Put text between two marks of a document.

    Raises:
        ValueError: The document has no such marks.
    """
    if not fill(document, begin, end, page):
        raise ValueError(f"{document} has no lines {begin} and {end}")


def _print_table(study: Study, out: Path, into: Path | None) -> None:
    page = markdown(study, out)
    if into:
        put_into(into, study.name, page)
    sys.stdout.write("" if into else page)


@click.group(context_settings=CONTEXT, no_args_is_help=False, help=__doc__.partition("\n")[0])
def _study() -> None:
    pass


@_study.command("run")
@click.argument("file", type=PATH, metavar="STUDY")
@click.option("--out", type=PATH, required=True, help="folder of the study's runs")
@click.option("--into", type=PATH, help="write the table between the study's marks in this document")
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--only", default="", metavar="VARIANT", help="this variant alone")
@click.option("--seed", type=int, help="this seed alone (after the search for a rate, if there is one)")
@DEVICE
@THREADS
def _run(
    file: Path, out: Path, into: Path | None, data: Path, *, only: str, seed: int | None, device: str, threads: int
) -> int:
    """Train and measure what is not finished yet, then print the table."""
    study = load_study(file)
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    run_study(study, data, out, pick_device(device), only, seed)
    _print_table(study, out, into)
    return 0


@_study.command("table")
@click.argument("files", type=PATH, metavar="STUDY...", nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, help="folder of the studies' runs")
@click.option("--into", type=PATH, help="write the table between the study's marks in this document")
def _table(files: tuple[Path, ...], out: Path, into: Path | None) -> int:
    """Print the table from the runs' files; of several studies with folds, what they say together."""
    studies = [load_study(file) for file in files]
    if into and len(studies) > 1:
        raise ValueError("--into is for one study; several have no page in common")
    if len(studies) == 1:
        _print_table(studies[0], out, into)
    else:
        sys.stdout.write(draws_markdown(studies, out) + "\n")
    return 0


@_study.command("plan")
@click.argument("files", type=PATH, metavar="STUDY...", nargs=-1, required=True)
@click.option("--out", type=PATH, help="folder of the studies' runs: what is over is not left, and says what it took")
def _plan(files: tuple[Path, ...], out: Path | None) -> int:
    """Print how many runs there are and the hours of one thread that they take."""
    sys.stdout.write(plan_text([load_study(file) for file in files], out))
    return 0


@_study.command("keep")
@click.argument("file", type=PATH, metavar="STUDY")
@click.option("--out", type=PATH, required=True, help="folder of the study's runs")
@click.option("--into", type=PATH, required=True, help="file for what they say, a line for each run")
def _keep(file: Path, out: Path, into: Path) -> int:
    """Put what the runs say that are over into one file, without their weights."""
    sys.stdout.write(f"{into}: {keep(load_study(file), out, into)} runs\n")
    return 0


@_study.command("unpack")
@click.argument("files", type=PATH, metavar="FILE...", nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, help="folder of the study's runs")
def _unpack(files: tuple[Path, ...], out: Path) -> int:
    """Make the folders of runs that were kept: `table` reads them, `run` goes on with the others."""
    for file in files:
        sys.stdout.write(f"{file}: {unpack(file, out)} runs\n")
    return 0


@_study.command("paper")
@click.option("--pages", type=PATH, default=Path("docs/results"), help="folder of the studies' pages")
@click.option("--into", type=PATH, help="write each table between its marks in this document")
def _paper(pages: Path, into: Path | None) -> int:
    """Print the paper's tables of methods with our numbers beside them, from the studies' pages."""
    for number in sorted({one.table for one in TABLES}):
        text = table_markdown(number, pages)
        if into:
            put_between(into, f"<!-- paper: table {number} -->", f"<!-- end of table {number} -->", text)
        sys.stdout.write("" if into else text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
