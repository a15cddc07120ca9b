"""Look at datasets: `python -m models.training.datasets check FOLDER`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from models.training.datasets.inspection import inspect
from models.training.datasets.registry import ADAPTERS
from models.training.datasets.sample import DatasetConfig


def main(argv: list[str] | None = None) -> int:
    """Parse and run; 0 when the dataset is usable, 1 when something is wrong, 2 on a wrong command line."""
    parser = argparse.ArgumentParser(prog="ldiffusion data", description="Look at datasets before training on them.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    check = verbs.add_parser("check", help="go through all files of a folder and say what is there and what is wrong")
    check.add_argument("folder", type=Path, help="folder of the dataset")
    check.add_argument("--adapter", default="folder", choices=tuple(ADAPTERS), help="layout of the folder")
    check.add_argument("--variant", default="", help="label scheme of the adapter; its first if left out")
    check.add_argument("--mpp", type=_positive(float), help="µm per px, where neither folder nor adapter knows it")
    check.add_argument("--masks", default="masks", help="name of the masks folder (adapter folder)")
    check.add_argument("--binary", action="store_true", help="masks hold instance numbers: above 0 is class 1")
    check.add_argument("--classes", type=_positive(int), help="number of classes, where there is no dataset.toml")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)
    listing = verbs.add_parser("adapters", help="list the known layouts and their label schemes")
    listing.set_defaults(run=_adapters)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse


def _check(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    config = DatasetConfig(
        folder.name, args.mpp, args.masks, args.binary, adapter=args.adapter, variant=args.variant, split="all"
    )
    report = inspect(folder, config, args.classes)
    sys.stdout.write((report.to_json() if args.json else report.to_text()) + "\n")
    return 1 if report.problems else 0


def _adapters(args: argparse.Namespace) -> int:  # noqa: ARG001 - the signature of a verb
    for name, adapter in ADAPTERS.items():
        sys.stdout.write(f"{name:<22}{', '.join(filter(None, adapter.variants)):<26}{adapter.layout}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
