"""Draw figures: `python -m models.training.figures RUN_OR_MODEL… --data ROOT --dataset FOLDER --out FOLDER`.

What is given decides what is drawn: a run's log its curves, `--evaluation` the radar, `--dataset` violins, grey
values, t-SNE and panels. The numbers of each figure are written beside it as JSON.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import click
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from models.command_line import CONTEXT, DEVICE, PATH, ManyValues, fail, run
from models.config import NoiseLaw
from models.folder import CONFIG
from models.predictor import Predictor
from models.training.crops.data import DatasetConfig, Sample, iterate_dataset
from models.training.datasets.registry import ADAPTERS, open_dataset
from models.training.datasets.selection import choose
from models.training.evaluation.evaluate import LDiffusionSegmenter, segment_sample
from models.training.evaluation.metric_names import OF_A_CLASS
from models.training.figures import curves, greys, panels, radar, tsne, vectors, violin
from models.training.figures.style import read_numbers, render, write_numbers
from models.training.runlog import LOG

# Name of a figure → (its numbers, what draws them from the folder they lie in).
FIGURES: Final[dict[str, tuple[type, Callable[[Any, Path], Figure]]]] = {
    "curves": (curves.Curves, lambda numbers, _: curves.draw(numbers)),
    "radar": (radar.Radar, lambda numbers, _: radar.draw(numbers)),
    "violin": (vectors.PixelVectors, lambda numbers, _: violin.draw(numbers)),
    "greys": (greys.Greys, lambda numbers, _: greys.draw(numbers)),
    "tsne": (tsne.Embeddings, lambda numbers, _: tsne.draw(numbers)),
    "panels": (panels.Panels, panels.draw),
}
_COUNT: Final = click.IntRange(min=1)


@dataclass(frozen=True)
class Options:
    """What was asked for, by the names of the options."""

    sources: tuple[str, ...]
    out: Path
    evaluation: tuple[str, ...]
    figure: str
    data: Path
    dataset: str | None
    adapter: str
    variant: str
    mpp: float | None
    masks: str
    binary: bool
    split: str
    images: tuple[str, ...]
    limit: int
    panels: int
    other: str | None
    no_scale_bar: bool
    laws: tuple[NoiseLaw, ...]
    pixels: int
    tsne_pixels: int
    seed: int
    again: Path | None
    device: str


def model_folder(source: Path) -> Path | None:
    """Return the model folder that a run or model folder is or holds, None where a run has no model yet.

    Raises:
        FileNotFoundError: It is neither a run nor a model.
    """
    for folder in (source, source / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if not (source / LOG).is_file():
        raise FileNotFoundError(f"{source} is neither a model folder ({CONFIG}) nor a run folder ({LOG})")
    return None


def choose_samples(args: Options, dataset: str, classes: int) -> list[Sample]:
    """Read up to `--limit` images, spread evenly over the names: what the model makes of them has no say.

    Raises:
        ValueError: No image fits.
    """
    config = DatasetConfig(
        root=dataset,
        mpp=args.mpp,
        masks=args.masks,
        binary=args.binary,
        adapter=args.adapter,
        variant=args.variant,
        split=args.split,
    )
    patterns = args.images or ("*",)
    names = [choice.record.name for choice in choose(open_dataset(config, args.data / dataset).records, config)]
    fitting = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not fitting:
        raise ValueError(f"no image of {dataset} is named {' or '.join(patterns)}")
    places = np.linspace(0, len(fitting) - 1, min(args.limit, len(fitting))).round().astype(int)
    chosen = {fitting[place] for place in places}
    return [sample for sample, _ in iterate_dataset(config, args.data, classes) if sample.name in chosen]


def read_labels(folder: Path, samples: list[Sample]) -> list[NDArray[np.uint8]]:
    """Read another network's labels, `<image name>.png` with class numbers on the annotation's grid.

    Raises:
        FileNotFoundError: One is missing.
    """
    return [np.asarray(Image.open(folder / f"{sample.name}.png")).astype(np.uint8) for sample in samples]


def from_images(args: Options, dataset: str, named: list[tuple[str, Path]]) -> dict[str, object]:
    """Return the numbers of violins and panels, of the last model, and of grey values and t-SNE, of all."""
    predictors = [(name, Predictor.load(folder, args.device)) for name, folder in named]
    last = predictors[-1][1]
    samples = choose_samples(args, dataset, len(last.classes))
    drawn = [(name, vectors.collect(one, samples, args.pixels, args.seed)) for name, one in predictors]
    segmenter = LDiffusionSegmenter(last, args.seed, objects=False)
    shown = samples[: args.panels]
    predicted = {last.spec.name: [segment_sample(segmenter, sample).labels for sample in shown]}
    if args.other:
        name, folder = named_path(args.other)
        name = name or folder.name
        if name in predicted:
            raise ValueError(f"--other has the name of the model, {name}; give it another, NAME=FOLDER")
        predicted[name] = read_labels(folder, shown)
    return {
        "violin": drawn[-1][1],
        "greys": greys.of_laws(named[-1][1], args.laws, samples, args.pixels, args.seed, args.device)
        if args.laws
        else greys.of_models(drawn),
        "tsne": tsne.embed([(name, vectors.thin(one, args.tsne_pixels, args.seed)) for name, one in drawn], args.seed),
        "panels": panels.collect(shown, predicted, last.classes, args.out, scaled=not args.no_scale_bar),
    }


def named_path(text: str) -> tuple[str, Path]:
    """`NAME=PATH` or `PATH` → (name or "", path)."""
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else ("", Path(text))


def collect(args: Options) -> dict[str, object]:
    """Return the numbers of every figure that was asked for."""
    if args.again:
        written = {name: args.again / f"{name}.json" for name in FIGURES}
        found: dict[str, object] = {
            name: read_numbers(FIGURES[name][0], path) for name, path in written.items() if path.is_file()
        }
        if not found:
            raise FileNotFoundError(f"{args.again} holds none of {', '.join(path.name for path in written.values())}")
        return found
    numbers: dict[str, object] = {}
    sources = [(name or path.name, path) for name, path in map(named_path, args.sources)]
    folders = [(name, folder) for name, path in sources if (folder := model_folder(path)) is not None]
    logs = [path / LOG for _, path in sources if (path / LOG).is_file()]
    if logs:
        numbers["curves"] = curves.read_log(logs[-1])
    if args.evaluation:
        numbers["radar"] = radar.read_evaluations([named_path(text) for text in args.evaluation], args.figure)
    if args.dataset:
        if not folders:
            raise ValueError("violins, t-SNE and panels need a model; none of the given folders holds one")
        numbers |= from_images(args, args.dataset, folders)
    if not numbers:
        raise ValueError("nothing to draw: give a run folder, --evaluation, or a model with --dataset")
    return numbers


def write(numbers: dict[str, object], args: Options) -> None:
    """Write the numbers, and draw each figure from what was written."""
    folder = args.again or args.out
    for name, one in numbers.items():
        path = folder / f"{name}.json"
        if not args.again:
            write_numbers(one, path)
        cls, draw = FIGURES[name]
        render(partial(draw, read_numbers(cls, path), folder), args.out / f"{name}.png")
        sys.stdout.write(f"{args.out / name}.png\n")


def main(argv: list[str] | None = None) -> int:
    """Collect, write the numbers, draw from them; 2 with one sentence on bad input."""
    return run(_command, "ldiffusion figures", argv)


@click.command(cls=ManyValues, context_settings=CONTEXT, help=__doc__.partition(":")[0])
@click.argument("sources", nargs=-1, metavar="[[NAME=]RUN_OR_MODEL]...", help="folders, in order of training")
@click.option("--out", type=PATH, required=True, help="folder for the PNG files and their numbers")
@click.option("--evaluation", multiple=True, metavar="[NAME=]FILE...", help="evaluation.json files, for the radar")
@click.option("--figure", type=click.Choice(OF_A_CLASS), default="dice", help="what the radar shows of each class")
@click.option("--data", type=PATH, default=Path(), help="folder that the dataset lies in")
@click.option("--dataset", help="dataset folder below --data, for violins, t-SNE and panels")
@click.option("--adapter", default="folder", help=f"layout of the folder: {', '.join(ADAPTERS)}")
@click.option("--variant", default="", help="label scheme of the adapter; its first if not given")
@click.option("--mpp", type=float, help="µm per px; the adapter's or dataset.toml's if not given")
@click.option("--masks", default="masks", help="name of the masks folder (adapter folder)")
@click.option("--binary", is_flag=True, help="masks hold instance numbers: above 0 is class 1")
@click.option("--split", default="all", help="train, validation, test or all")
@click.option("--images", multiple=True, metavar="PATTERN...", help="patterns of image names; all if not given")
@click.option("--limit", type=_COUNT, default=8, help="images to look at, spread evenly over the names")
@click.option("--panels", type=_COUNT, default=4, help="how many of them the panels show")
@click.option("--other", metavar="[NAME=]FOLDER", help="another network's labels, <image name>.png")
@click.option("--no-scale-bar", is_flag=True, help="the µm per px of these images mean nothing, as from the air")
@click.option("--laws", type=click.Choice(get_args(NoiseLaw)), multiple=True, help="grey values by these noise laws")
@click.option("--pixels", type=_COUNT, default=2000, help="pixels of a class in the violins")
@click.option("--tsne-pixels", type=_COUNT, default=400, help="how many of them in the t-SNE")
@click.option("--seed", type=int, default=0, help="seed of noise field, drawn pixels and t-SNE")
@click.option("--again", type=PATH, metavar="FOLDER", help="draw again from the numbers in a folder")
@DEVICE
def _command(**options: Any) -> int:
    asked = Options(**options)
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        write(collect(asked), asked)
    except (OSError, ValueError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
