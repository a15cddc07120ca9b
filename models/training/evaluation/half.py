"""Find out how a model computes in bfloat16, and write it into its folder: `half` of `config.json`.

`python -m models.training.evaluation.half RECIPE.toml --data ROOT --model models/zoo/NAME`

Rounding to 8 bits of mantissa changes few labels, and most of those by few parts of a network. So choices of parts that
stay in float32 are tried on the images that the recipe keeps from training, the fewest parts first: the first that
leaves 99.95 % of the labels as they are is written; if there is none, the model computes in float32 alone. How many
labels stay on the recipe's test sets goes into the card, between the two lines `BEGIN` and `END`, where the card has
them.
"""

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models import checkpoint
from models.command_line import CONTEXT, PATH, fail, run
from models.engine.device import pick_device
from models.engine.precision import keep_full
from models.folder import Half, Precision
from models.predictor import Predictor
from models.training.crops.data import Sample, load_dataset, resize_image, working_size
from models.training.evaluation.evaluate import mirrored
from models.training.evaluation.marked import fill_or_tell
from models.training.recipe import Recipe, load_recipe
from models.training.splits import load_split

BEGIN: Final = "<!-- half: written by models.training.evaluation.half -->"
END: Final = "<!-- end of half -->"
CARD: Final = "README.md"
LEAST: Final = 0.9995
"""Share of the labels that has to be what it is in float32."""

# Those that cost least first; a model has some of them.
_CHOICES: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("segmenter.stem",),
    ("segmenter.stem", "segmenter.backbone"),
    ("segmenter.stem", "encoder", "unet", "decoder"),
    ("segmenter.stem", "segmenter.backbone", "encoder", "unet", "decoder"),
    ("segmenter",),
)


@dataclass(frozen=True)
class Tried:
    """A choice of parts in float32, and what came of it.

    Attributes:
        full: The parts.
        labels_equal: Share of the pixels whose label is the one of float32.
        speedup: CPU time of float32 as a multiple of this choice's, median over the images.
    """

    full: tuple[str, ...]
    labels_equal: float
    speedup: float


def choices(model: nn.Module) -> list[tuple[str, ...]]:
    """Return the choices of parts that this model has; the whole of its one network is none."""
    known = {name for name, _ in model.named_modules()}
    has_sequence = "unet" in known
    return [parts for parts in _CHOICES if known.issuperset(parts) and (has_sequence or parts != ("segmenter",))]


def images_of(
    predictor: Predictor, samples: Sequence[Sample]
) -> Iterator[tuple[NDArray[np.uint8], tuple[slice, slice]]]:
    """Yield each image at the model's mpp, continued by its mirror, and where it lies in that."""
    for sample in samples:
        yield mirrored(predictor, resize_image(sample.image, *working_size(sample, predictor.mpp)))


def labels_of(predictor: Predictor, padded: NDArray[np.uint8], precision: Precision) -> tuple[NDArray[np.uint8], float]:
    """Return the labels of one image (H, W), and the CPU seconds that the forward pass took."""
    origin = -predictor.halo_px
    started = time.process_time()
    logits = predictor.logits(padded[None], [(origin, origin)], 0, precision)
    seconds = time.process_time() - started
    return predictor.planes(logits)[0][0], seconds


def compare(predictor: Predictor, samples: Sequence[Sample]) -> tuple[float, float]:
    """Return the share of the pixels of some images with equal labels, and how much less CPU time bfloat16 takes."""
    same, pixels, ratios = 0, 0, []
    for padded, inside in images_of(predictor, samples):
        (full, slow), (half, fast) = (labels_of(predictor, padded, each) for each in ("float32", "bfloat16"))
        same += int((full[inside] == half[inside]).sum())
        pixels += full[inside].size
        ratios.append(slow / fast)
    return same / pixels, statistics.median(ratios)


def load(folder: Path, full: tuple[str, ...]) -> Predictor:
    """Load a model with these parts in float32."""
    model, spec, digest = checkpoint.load(folder)
    keep_full(model, full)
    return Predictor(model, spec, digest, pick_device("cpu"))


def decide(folder: Path, samples: Sequence[Sample]) -> list[Tried]:
    """Try choices on some images, up to the first that leaves the labels as they are; that stands last.

    Raises:
        ValueError: There is no image.
    """
    if not samples:
        raise ValueError("bfloat16 is tried on annotated validation images, and there are none")
    model, _, _ = checkpoint.load(folder)
    tried: list[Tried] = []
    for full in choices(model):
        tried.append(Tried(full, *compare(load(folder, full), samples)))
        if tried[-1].labels_equal >= LEAST:
            break
    return tried


def measure(recipe: Recipe, data_root: Path, folder: Path) -> tuple[list[Tried], dict[str, float]]:
    """Decide, write `config.json` and the card of a model folder.

    Args:
        recipe: The model's.
        data_root: Folder that its dataset roots lie in.
        folder: The model folder.

    Returns:
        What was tried, the last of which is chosen if it will do, and its share of equal labels on each test set.

    Raises:
        CheckpointError: The folder is no model.
        FileNotFoundError: A dataset is missing.
        ValueError: The recipe keeps no annotated image for validation.
    """
    tried = decide(folder, load_split(recipe, data_root)[1])
    best = tried[-1] if tried[-1].labels_equal >= LEAST else None
    found = {}
    if best is not None:
        predictor = load(folder, best.full)
        for test in recipe.tests:
            found[test.root], _ = compare(predictor, load_dataset(test, data_root, len(recipe.classes)))
    model, spec, _ = checkpoint.load(folder)
    half = None if best is None else Half(best.full, round(best.labels_equal, 6))
    checkpoint.save(folder, model, replace(spec, half=half))
    fill_or_tell(folder / CARD, BEGIN, END, card(best, tried, found))
    return tried, found


def card(best: Tried | None, tried: Sequence[Tried], found: dict[str, float]) -> str:
    """Return what the card says of bfloat16."""
    rows = "".join(
        f"| {', '.join(f'`{name}`' for name in one.full) or 'none'} | {one.labels_equal:.4%} | {one.speedup:.2f} |\n"
        for one in tried
    )
    told = f"No choice keeps {LEAST:.2%} of the labels, so it computes in float32 alone:"
    if best is not None:
        told = (
            "Where the processor has bfloat16 it computes in it, but for the parts of the last row, the first\n"
            f"that leaves {LEAST:.2%} of the labels as they are in float32:"
        )
    tests = "".join(f"| `{name}` | {equal:.4%} |\n" for name, equal in found.items())
    after = f"\n| set | equal labels of the last row |\n| --- | --- |\n{tests}" if tests else ""
    return (
        f"{told}\n\n| parts in float32 | equal labels, held-out images | float32 takes, CPU time |\n"
        f"| --- | --- | --- |\n{rows}{after}"
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, write; 2 with one sentence on bad input."""
    return run(_command, "models.training.evaluation.half", argv)


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("recipe", type=PATH)
@click.option("--data", type=PATH, required=True, help="folder that the recipe's dataset roots lie in")
@click.option("--model", "folder", type=PATH, required=True, help="model folder, written anew")
def _command(recipe: Path, data: Path, folder: Path) -> int:
    torch.set_num_threads(1)
    try:
        tried, found = measure(load_recipe(recipe), data, folder)
    except (FileNotFoundError, ValueError) as error:
        return fail(error)
    for one in tried:
        sys.stdout.write(f"{' '.join(one.full) or 'none'}: {one.labels_equal:.4%}, {one.speedup:.2f} x\n")
    sys.stdout.write("".join(f"{name} {equal:.4%}\n" for name, equal in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
