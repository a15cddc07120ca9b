"""What a GPU gives: `python -m benchmarks.gpu [--repeat 5]`. Needs torch, numpy and the models; no slide, no server.

Every shipped model takes one tile of its own size with its own halo on the first GPU, in float32 and in bfloat16, from
pixels in host memory to labels in host memory: tiles and mm² a second, how many labels are those of float32 on the
processor, and the most memory that torch held. The processor takes one tile for the comparison. About five minutes.
"""

import platform
import statistics
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import figure
from models.folder import Precision
from models.predictor import Predictor

ZOO = Path(__file__).resolve().parents[1] / "models" / "zoo"
MIB = 2**20


def picture(side: int) -> NDArray[np.uint8]:
    """Return squares of the colours of nuclei, stroma and glass with noise, (1, side, side, 3)."""
    rng = np.random.default_rng(0)
    colours = np.array([(110, 70, 150), (225, 160, 195), (240, 230, 238)])
    cells = rng.choice(3, p=(0.2, 0.5, 0.3), size=(-(-side // 16), -(-side // 16)))
    made = colours[cells].repeat(16, 0).repeat(16, 1)[:side, :side] + rng.normal(scale=8, size=(side, side, 3))
    return made.clip(0, 255).astype(np.uint8)[None]


def measure(predictor: Predictor, image: NDArray[np.uint8], precision: Precision, repeat: int) -> list[float]:
    """Return seconds of each tile, after one that does not count."""
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        predictor.predict(image, [(0, 0)], 0, precision)  # ends with the labels in host memory
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


@click.command(help=__doc__.splitlines()[0])
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option("--device", default="cuda", show_default=True, help="cpu: to try the program itself.")
def main(repeat: int, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        click.echo("torch finds no CUDA device here: nothing to measure", err=True)
        sys.exit(3)
    is_gpu = device == "cuda"
    machine = torch.cuda.get_device_name() if is_gpu else platform.machine()
    print(f"{machine}, torch {torch.__version__}")
    print(f"{'model':<20}{'in':>10}{'tiles/s':>9}{'mm²/s':>8}{'x CPU':>8}{'same labels %':>15}{'peak MiB':>10}")
    figures = []
    for folder in sorted(path.parent for path in ZOO.glob("*/config.json")):
        there, here = Predictor.load(folder, device), Predictor.load(folder, "cpu")
        image = picture(there.tile_px + 2 * there.halo_px)
        started = time.perf_counter()
        expected, *_ = here.predict(image, [(0, 0)], 0)
        cpu_s = time.perf_counter() - started
        for precision in ("float32", "bfloat16") if there.spec.half is not None else ("float32",):
            if is_gpu:
                torch.cuda.reset_peak_memory_stats()
            seconds = measure(there, image, precision, repeat)
            labels, *_ = there.predict(image, [(0, 0)], 0, precision)
            same = 100 * float((labels == expected).mean())
            peak = torch.cuda.max_memory_allocated() / MIB if is_gpu else float("nan")
            rates = [(there.tile_px * there.mpp / 1000) ** 2 / each for each in seconds]
            rate, tiles = statistics.median(rates), 1 / statistics.median(seconds)
            times = cpu_s / statistics.median(seconds)
            print(f"{folder.name:<20}{precision:>10}{tiles:>9.1f}{rate:>8.2f}{times:>8.1f}{same:>15.3f}{peak:>10.0f}")
            figures.append((f"gpu.{folder.name}.{precision}", rate, (min(rates), max(rates)), same))
    for name, rate, spread, same in figures:
        figure(f"{name}.rate", rate, "mm2/s", spread)
        figure(f"{name}.same_labels", same, "%")


if __name__ == "__main__":
    main()
