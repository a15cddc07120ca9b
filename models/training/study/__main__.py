"""Train what a study compares and print its table, or the table alone: `ldiffusion study {run,table} STUDY.toml`."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch

from models.allocator import keep_freed_memory
from models.command_line import CONTEXT, DEVICE, PATH, THREADS, fail, run
from models.device import pick_device
from models.training.evaluation.marked import fill
from models.training.study.plan import Study, load_study
from models.training.study.run import run_study
from models.training.study.table import markdown


def main(argv: list[str] | None = None) -> int:
    """Parse, run what is asked for, print the table; 2 with one sentence on bad input."""
    return run(_study, "ldiffusion study", argv)


def put_into(document: Path, name: str, page: str) -> None:
    """Put a study's page between its two marks in a document.

    Raises:
        ValueError: The document has no such marks.
    """
    begin, end = f"<!-- study: {name} -->", f"<!-- end of {name} -->"
    if not fill(document, begin, end, page):
        raise ValueError(f"{document} has no lines {begin} and {end}")


def _print_table(study: Study, out: Path, into: Path | None) -> None:
    page = markdown(study, out)
    if into:
        put_into(into, study.name, page)
    sys.stdout.write("" if into else page)


def _for_both(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command what `run` and `table` both ask for."""
    function = click.option("--into", type=PATH, help="write the table between the study's marks in this document")(
        function
    )
    function = click.option("--out", type=PATH, required=True, help="folder of the study's runs")(function)
    return click.argument("file", type=PATH, metavar="STUDY", help="TOML file, see models/training/studies")(function)


@click.group(context_settings=CONTEXT, no_args_is_help=False, help=__doc__)
def _study() -> None:
    pass


@_study.command("run")
@_for_both
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--only", default="", metavar="VARIANT", help="this variant alone")
@click.option("--seed", type=int, help="this seed alone (after the search for a rate, if there is one)")
@DEVICE
@THREADS
def _run(
    file: Path, out: Path, into: Path | None, data: Path, *, only: str, seed: int | None, device: str, threads: int
) -> int:
    """Train and measure what is not finished yet, then print the table."""
    try:
        study = load_study(file)
        keep_freed_memory()
        if threads:
            torch.set_num_threads(threads)
        run_study(study, data, out, pick_device(device), only, seed)
        _print_table(study, out, into)
    except (OSError, ValueError) as error:
        return fail(error)
    return 0


@_study.command("table")
@_for_both
def _table(file: Path, out: Path, into: Path | None) -> int:
    """Print the table from the runs' files."""
    try:
        _print_table(load_study(file), out, into)
    except (OSError, ValueError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
