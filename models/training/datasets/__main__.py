"""Look at datasets: `python -m models.training.datasets check FOLDER`."""

import sys
from pathlib import Path
from typing import Any

import click

from models.command_line import CONTEXT, PATH, fail, run
from models.training.datasets.inspection import inspect
from models.training.datasets.registry import ADAPTERS
from models.training.datasets.sample import DatasetConfig


def main(argv: list[str] | None = None) -> int:
    """Parse and run; 0 when the dataset is usable, 1 when something is wrong, 2 on a wrong command line."""
    return run(_data, "ldiffusion data", argv)


@click.group(context_settings=CONTEXT, no_args_is_help=False)
def _data() -> None:
    """Look at datasets before training on them."""


@_data.command("check")
@click.argument("folder", type=PATH, help="folder of the dataset")
@click.option("--adapter", type=click.Choice(tuple(ADAPTERS)), default="folder", help="layout of the folder")
@click.option("--variant", default="", help="label scheme of the adapter; its first if left out")
@click.option("--mpp", type=float, help="µm per px, where neither folder nor adapter knows it")
@click.option("--masks", default="masks", help="name of the masks folder (adapter folder)")
@click.option("--binary", is_flag=True, help="masks hold instance numbers: above 0 is class 1")
@click.option("--classes", type=click.IntRange(min=1), help="number of classes, where there is no dataset.toml")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def _check(folder: Path, classes: int | None, *, as_json: bool, **layout: Any) -> int:
    """Go through all files of a folder and say what is there and what is wrong."""
    try:
        config = DatasetConfig(root=folder.name, split="all", **layout)
    except ValueError as error:
        return fail(error)
    report = inspect(folder, config, classes)
    sys.stdout.write((report.to_json() if as_json else report.to_text()) + "\n")
    return 1 if report.problems else 0


@_data.command("adapters")
def _adapters() -> int:
    """List the known layouts and their label schemes."""
    for name, adapter in ADAPTERS.items():
        sys.stdout.write(f"{name:<22}{', '.join(filter(None, adapter.variants)):<26}{adapter.layout}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
