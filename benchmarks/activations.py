"""What models take of memory: `python -m benchmarks.activations [NAME ...] [--write]`.

Each model is loaded in a process of its own and takes images of several sizes, in float32 and, where it may, in
bfloat16, on one thread: what the process had at most, less what it had before, grows with the px; what it begins
with counts as loaded. `--write` puts the numbers into `memory` of `config.json`, from which jobs are planned;
labels and digest stay.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from models.folder import CONFIG
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model, model_dir
from workers.core.settings import Settings
from workers.core.sizing.memory import forward_side, tile_sides
from workers.process.heap import give_back


def resident_bytes(field: str = "VmRSS") -> int:
    """Return what this process has of memory, or with `VmHWM` what it had at most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024


def measure(name: str, precision: str, sides: list[int]) -> None:
    """Print what this process takes for a model: once loaded, and per px of the sides."""
    from models.predictor import Predictor  # noqa: PLC0415 (its memory is what is measured)

    before = resident_bytes()
    predictor = Predictor.load(model_dir(Settings().models_dir, name), "cpu", threads=1)
    loaded = resident_bytes() - before
    rates, standing = [], resident_bytes()
    for side in sides:
        give_back()
        image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        predictor.predict(image, [(0, 0)], 0, "bfloat16" if precision == "bfloat16" else "float32")
        rates.append((resident_bytes("VmHWM") - standing) / side**2)
    px = np.square(sides, dtype=float)
    per_px, more = np.polyfit(px, px * rates, 1, w=1 / px) if len(sides) > 1 else (rates[0], 0.0)
    print(json.dumps({"loaded": loaded, "rates": rates, "per_px": per_px, "more": max(0.0, more)}))


def measured(name: str, precision: str, sides: list[int]) -> dict[str, Any]:
    """Measure in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.activations", name, "--precision", precision]
    done = subprocess.run([*line, *(f"--side={side}" for side in sides)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("names", nargs=-1)
@click.option("--write", is_flag=True, help="Put the numbers into the models' config.json.")
@click.option("--precision", hidden=True)
@click.option("--side", "sides", type=int, multiple=True, hidden=True)
def main(names: tuple[str, ...], write: bool, precision: str | None, sides: tuple[int, ...]) -> None:
    if precision is not None:
        measure(names[0], precision, list(sides))
        return
    models_dir = Settings().models_dir
    print(f"{'model':<20}{'in':>10}{'loaded MiB':>12}   bytes per px, by the side of the image")
    for name in names or sorted(path.parent.name for path in models_dir.glob(f"*/{CONFIG}")):
        card = find_model(models_dir, name)
        tried = sorted(forward_side(tile_px, card.halo_px, card.stride_px) for tile_px in tile_sides(card))
        found = {one: measured(name, one, tried) for one in ("float32", *(("bfloat16",) if card.half else ()))}
        for one, each in found.items():
            rates = ", ".join(f"{side}: {rate:.0f}" for side, rate in zip(tried, each["rates"], strict=True))
            print(f"{name:<20}{one:>10}{each['loaded'] / 2**20:>12.0f}   {rates}", flush=True)
        if write:
            path = model_dir(models_dir, name) / CONFIG
            config = json.loads(path.read_text()) | {"memory": _told(found)}
            path.write_text(json.dumps(config, indent=2) + "\n")


def _told(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what `config.json` says."""
    more = max(each["more"] for each in found.values())
    half = found.get("bfloat16")
    return {
        "loaded": round(found["float32"]["loaded"] + more),
        "per_px": round(found["float32"]["per_px"]),
        "per_px_half": round(half["per_px"]) if half else None,
    }


if __name__ == "__main__":
    main()
