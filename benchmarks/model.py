"""What inference costs: `python -m benchmarks.model [--repeat 3]`.

Every shipped model takes one tile of its own size with its own halo, on one thread, in turns, `repeat` times, in
float32 and, where it and the processor can, in bfloat16; the cost is CPU seconds per mm² of the tile's core, so that
the halo counts. It does not depend on what is in the pixels. The ratios are to `nuclei-paper` in float32, the network
of the first release; the limits beside them are what the project aims at.
"""

import os
import platform
import statistics
import time
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.report import figure
from models.folder import Precision
from models.predictor import Predictor
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import model_dir
from workers.core.model.precision import multiplies_bfloat16
from workers.core.settings import Settings

Kind = tuple[str, Precision]

FIRST_RELEASE = "nuclei-paper"
AIMS = {"nuclei-fast": ("model.cost_fast", 0.3), "nuclei": ("model.cost_vs_first_release", 0.5)}


def cpu_seconds_per_mm2(predictor: Predictor, precision: Precision, image: np.ndarray) -> float:
    """Return the CPU seconds of one tile, halo and all, per mm² of its core."""
    side = predictor.tile_px + 2 * predictor.halo_px
    tile = image[None, :side, :side]
    started = time.process_time()
    predictor.predict(tile, [(-predictor.halo_px, -predictor.halo_px)], 0, precision)
    return (time.process_time() - started) / (predictor.tile_px * predictor.mpp / 1000) ** 2


def measure(predictors: dict[str, Predictor], repeat: int) -> dict[Kind, list[float]]:
    """Return the cost of each model in what it can compute in, round by round, after one round that does not count."""
    side = max(one.tile_px + 2 * one.halo_px for one in predictors.values())
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    kinds = [(name, precision) for name, one in predictors.items() for precision in precisions(one)]
    rounds = [
        {kind: cpu_seconds_per_mm2(predictors[kind[0]], kind[1], image) for kind in kinds} for _ in range(repeat + 1)
    ]
    return {kind: [each[kind] for each in rounds[1:]] for kind in kinds}


def precisions(predictor: Predictor) -> tuple[Precision, ...]:
    """Return what a model can compute in on this processor; last what a job is computed in."""
    able = predictor.spec.half is not None and multiplies_bfloat16("cpu")
    return ("float32", "bfloat16") if able else ("float32",)


def shipped(models_dir: Path) -> dict[str, Predictor]:
    """Load every model of a folder on the CPU."""
    names = sorted(path.parent.name for path in models_dir.glob("*/config.json"))
    return {name: Predictor.load(model_dir(models_dir, name), "cpu", threads=1) for name in names}


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True)
def main(repeat: int) -> None:
    predictors = shipped(Settings().models_dir)
    costs = measure(predictors, repeat)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, 1 thread")
    print(f"{'model':<20}{'in':>10}{'µm/px':>7}{'tile+halo px':>14}{'CPU s/mm²':>11}{'x first release':>17}   aim")
    first = costs[FIRST_RELEASE, "float32"]
    for (name, precision), found in costs.items():
        one, ratio = predictors[name], statistics.median(ratios(found, first))
        shipped_so = precision == precisions(one)[-1]
        aim = f"<= {AIMS[name][1]}" if shipped_so and name in AIMS else ""
        size, cost = f"{one.tile_px}+{one.halo_px}", statistics.median(found)
        print(f"{name:<20}{precision:>10}{one.mpp:>7}{size:>14}{cost:>11.2f}{ratio:>17.2f}   {aim}")
    for name, (title, _) in AIMS.items():
        tell(title, ratios(costs[name, precisions(predictors[name])[-1]], first))
    tell("model.speedup", ratios(first, costs[FIRST_RELEASE, precisions(predictors[FIRST_RELEASE])[-1]]))


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Divide round by round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def tell(title: str, found: list[float]) -> None:
    """Print the line of one figure."""
    figure(title, statistics.median(found), "x", (min(found), max(found)))


if __name__ == "__main__":
    main()
