"""Train what a study compares and print its table, or the table alone: `ldiffusion study {run,table} STUDY.toml`."""

import argparse
import sys
from pathlib import Path

import torch

from models.allocator import keep_freed_memory
from models.device import pick_device
from models.training.evaluation.marked import fill
from models.training.study.plan import load_study
from models.training.study.run import run_study
from models.training.study.table import markdown


def main(argv: list[str] | None = None) -> int:
    """Parse, run what is asked for, print the table; 2 with one sentence on bad input."""
    args = _parser().parse_args(argv)
    try:
        study = load_study(args.study)
        if args.action == "run":
            keep_freed_memory()
            if args.threads:
                torch.set_num_threads(args.threads)
            run_study(study, args.data, args.out, pick_device(args.device), args.only, args.seed)
        page = markdown(study, args.out)
        if args.into:
            put_into(args.into, study.name, page)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("" if args.into else page)
    return 0


def put_into(document: Path, name: str, page: str) -> None:
    """Put a study's page between its two marks in a document.

    Raises:
        ValueError: The document has no such marks.
    """
    begin, end = f"<!-- study: {name} -->", f"<!-- end of {name} -->"
    if not fill(document, begin, end, page):
        raise ValueError(f"{document} has no lines {begin} and {end}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ldiffusion study", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="train and measure what is not finished yet, then print the table")
    table = actions.add_parser("table", help="print the table from the runs' files")
    for action in (run, table):
        action.add_argument("study", type=Path, help="TOML file, see models/training/studies")
        action.add_argument("--out", type=Path, required=True, help="folder of the study's runs")
        action.add_argument("--into", type=Path, help="write the table between the study's marks in this document")
    run.add_argument("--data", type=Path, required=True, help="folder that the recipe's dataset roots lie in")
    run.add_argument("--only", default="", metavar="VARIANT", help="this variant alone")
    run.add_argument("--seed", type=int, help="this seed alone (after the search for a rate, if there is one)")
    run.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    run.add_argument("--threads", type=int, default=0, help="CPU threads; torch's own default if 0")
    return parser


if __name__ == "__main__":
    sys.exit(main())
