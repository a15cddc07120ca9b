"""What inference costs: `python -m benchmarks.model [--repeat 3]`.

Every shipped model takes one tile of its own size with its own halo, on one thread, in turns, `repeat` times; the cost
is CPU seconds per mm² of the tile's core, so that the halo counts. It does not depend on what is in the pixels. The
ratios are to `nuclei-paper`, whose network is that of the first release; the limits beside them are what the project
aims at.
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
from models.predictor import Predictor
from workers.core.command_line import CONTEXT
from workers.core.model_catalogue import model_dir
from workers.core.settings import Settings

FIRST_RELEASE = "nuclei-paper"
AIMS = {"nuclei-fast": ("model.cost_fast", 0.3), "nuclei": ("model.cost_vs_first_release", 0.5)}


def cpu_seconds_per_mm2(predictor: Predictor, image: np.ndarray) -> float:
    """Return the CPU seconds of one tile, halo and all, per mm² of its core."""
    side = predictor.tile_px + 2 * predictor.halo_px
    tile = image[None, :side, :side]
    started = time.process_time()
    predictor.predict(tile, [(-predictor.halo_px, -predictor.halo_px)], 0)
    return (time.process_time() - started) / (predictor.tile_px * predictor.mpp / 1000) ** 2


def measure(predictors: dict[str, Predictor], repeat: int) -> dict[str, list[float]]:
    """Return the cost of each model, round by round, after one round that does not count."""
    side = max(one.tile_px + 2 * one.halo_px for one in predictors.values())
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    rounds = [{name: cpu_seconds_per_mm2(one, image) for name, one in predictors.items()} for _ in range(repeat + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in predictors}


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
    print(f"{'model':<20}{'µm/px':>7}{'tile+halo px':>14}{'CPU s/mm²':>11}{'x first release':>17}   aim")
    for name, one in predictors.items():
        ratios = [own / first for own, first in zip(costs[name], costs[FIRST_RELEASE], strict=True)]
        _, aim = AIMS.get(name, ("", 0.0))
        size = f"{one.tile_px}+{one.halo_px}"
        cost, ratio = statistics.median(costs[name]), statistics.median(ratios)
        print(f"{name:<20}{one.mpp:>7}{size:>14}{cost:>11.2f}{ratio:>17.2f}   {f'<= {aim}' if aim else ''}")
    for name, (title, _) in AIMS.items():
        if name in costs:
            ratios = [own / first for own, first in zip(costs[name], costs[FIRST_RELEASE], strict=True)]
            figure(title, statistics.median(ratios), "x", (min(ratios), max(ratios)))


if __name__ == "__main__":
    main()
