"""A slide of 100,000 px a side from end to end: `python -m benchmarks.giant [--side 25000 --side 50000 --side 100000]`.

Of each side a slide is made (`benchmarks.giant_slide`), and two processes are measured on it, one after the other, the
file dropped from the page cache before each. One decodes every stored tile of the finest level once, by the project's
own decoder of stored tiles. The other is a whole job: all that `ldiffusion segment` does, with all outputs of every
job, the slide read by confined children, but with a threshold in place of the network. Seconds are from after the
imports; CPU is that of the process and of its children. Memory is what the process had resident at most, as the kernel
kept it, and what its children had at most at a look, of what they share their part.

What was measured is kept in `giant.json` of `--folder`, by the other options in a file of its own, so sides may be
measured one at a time: figures are those of all sides in it. The exponent is the slope of the logarithm of the job's
time over that of the px.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.gateway_process import forget_pages
from benchmarks.giant_slide import DARK, MPP, write_slide
from benchmarks.memory import children_bytes, peak_bytes
from benchmarks.report import figure
from workers import segment
from workers.core.command_line import CONTEXT
from workers.core.model.schemas import ModelCard, ModelClass, ModelMemory, ObjectRules, Precision
from workers.core.settings import Settings
from workers.core.sizing.memory import worker_memory_bytes
from workers.core.slides.readers.registry import open_slide
from workers.outputs.statistics import read_statistics
from workers.pipeline.inference import cpu_threads
from workers.stages import RESULT

SIDES: Final = (25_000, 50_000, 100_000)
LEAST_PX: Final = 2000
SECTION: Final = Path("../shared/data/wsi/crc_P2_0039_sec4_9984x16384.tif")
READ_PX: Final = 1024
"""Side of what is decoded at once: whole tiles."""
LOOK_S: Final = 0.1
STEPS: Final = ("decode", "job")
AIMS: Final = {"giant.vs_decode": 3, "giant.peak_mb": 700, "giant.exponent": 1.05}

UInt8 = NDArray[np.uint8]


class Threshold:
    """Stands for a model: nuclei are what is dark in green, the surer the farther from the threshold. Two look-ups."""

    digest = "0" * 64

    def __init__(self, *, interior: bool) -> None:
        green = np.arange(256)
        self._labels = (green < DARK).astype(np.uint8)
        self._confidence = (128 + np.minimum(127, 4 * np.abs(green - DARK))).astype(np.uint8)
        self._interior = np.clip(8 * (DARK - green), 0, 255).astype(np.uint8) if interior else None

    def predict(
        self, images: UInt8, _origins: Sequence[tuple[int, int]], _seed: int, _precision: Precision
    ) -> tuple[UInt8, ...]:
        """Return class, confidence and perhaps interior of uint8 (N, H, W, 3), each uint8 (N, H, W)."""
        tables = self._labels, self._confidence, *(() if self._interior is None else (self._interior,))
        return tuple(np.take(table, images[..., 1]) for table in tables)


def card_of(halo_px: int, *, interior: bool) -> ModelCard:
    """Return what is known of the threshold: tiles as those of the shipped models."""
    classes = (
        ModelClass(index=0, name="background", color=(255, 255, 255)),
        ModelClass(index=1, name="nucleus", color=(40, 90, 220)),
    )
    return ModelCard(
        name="threshold", title="A threshold", mpp=MPP, classes=classes, tile_px=1024, halo_px=halo_px, stride_px=16,
        digest=Threshold.digest, license="-", intended_use="-", memory=ModelMemory(loaded=0, per_px=8),
        objects=ObjectRules(smallest_um2=8, interior=interior),
    )  # fmt: skip


def decode(slide: Path) -> dict[str, Any]:
    """Decode every stored tile of the finest level once."""
    out = np.empty((READ_PX, READ_PX, 3), np.uint8)
    with open_slide(slide) as opened:
        if 0 not in opened.exact:
            message = "the tiles of this slide are not decoded as they are stored"
            raise ValueError(message)
        width, height = opened.geometry.l0_width, opened.geometry.l0_height
        for y in range(0, height, READ_PX):
            for x in range(0, width, READ_PX):
                right, lower = min(READ_PX, width - x), min(READ_PX, height - y)
                opened.read_level(0, x, y, right, lower, out[:lower, :right])
    return {}


def job(slide: Path, out: Path, halo_px: int, *, interior: bool) -> dict[str, Any]:
    """Run a job as `workers.segment.main` does, with the threshold for a model; return what it found."""
    settings = Settings()
    card, request = card_of(halo_px, interior=interior), segment.request_of(model="threshold")
    segment.prepare(out, overwrite=False)
    with closing(segment.own_readers(settings)) as readers, segment.open_file(slide, request, readers) as opened:
        info = segment.describe(slide, opened, request.image, readers.judge)
        threads = cpu_threads(settings.torch_threads, 1)
        run = segment.Run(
            opened, info, card, request, out, room_bytes=worker_memory_bytes(settings, 1), threads=threads
        )
        segment.segment(run, lambda: Threshold(interior=interior))
    found, told = read_statistics(out), json.loads((out / RESULT).read_text())
    return {
        "objects": found.classes[1].count,
        "tissue_share": found.tissue_mm2 / found.slide_mm2,
        "phases_s": told["timings_s"],
        "out_mb": sum(told["sizes_bytes"].values()) / 1e6,
    }


def run_step(step: str, slide: Path, halo_px: int, *, interior: bool) -> None:
    """Do one of `STEPS` in this process, and print what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = slide.with_suffix(".out")
    found = decode(slide) if step == "decode" else job(slide, out, halo_px, interior=interior)
    print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, **found}))


def measured(step: str, slide: Path, asked: Sequence[str]) -> dict[str, Any]:
    """Run a step in a process of its own, and watch its memory, and the CPU seconds of its children.

    Raises:
        RuntimeError: It failed.
    """
    forget_pages(slide)
    line = [sys.executable, "-m", "benchmarks.giant", "--step", step, "--slide", str(slide), *asked]
    seconds: dict[int, float] = {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        watched, own, children = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            with suppress(psutil.Error):
                own, children = max(own, peak_bytes(process.pid)), max(children, children_bytes(watched))
                seconds |= {each.pid: sum(each.cpu_times()[:2]) for each in watched.children(recursive=True)}
            time.sleep(LOOK_S)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        message = f"{step} of {slide.name} failed"
        raise RuntimeError(message)
    found = json.loads(told.splitlines()[-1])
    found["cpu_s"] += sum(seconds.values())
    return {**found, "own_mb": own / 1e6, "children_mb": children / 1e6}


def measure(size: tuple[int, int], folder: Path, section: Path | None, asked: Sequence[str]) -> dict[str, Any]:
    """Make a slide of so many px, measure both steps on it, and remove what was made."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        slide = Path(place) / "giant.tif"
        made = write_slide(slide, *size, section)
        os.sync()  # what is not on the disk cannot be dropped from memory
        seconds = time.perf_counter() - started
        print(f"{size[0]} x {size[1]} px made in {seconds:.0f} s, {slide.stat().st_size / 1e6:.0f} MB", flush=True)
        found = {step: measured(step, slide, asked) for step in STEPS}
    return {"px": size[0] * size[1], "made": made._asdict(), **found}


def rows(known: dict[str, Any]) -> list[str]:
    """Return a table of all sides, for people."""
    heads = f"{'side, px':>9}{'objects':>9}{'of':>9}{'tissue':>8}{'decode s':>10}{'CPU s':>8}{'job s':>8}{'CPU s':>8}"
    table = [f"{heads}{'ratio':>7}{'MB own':>8}{'children':>9}"]
    for side, each in sorted(known.items(), key=lambda each: int(each[0])):
        alone, whole = each["decode"], each["job"]
        counts = f"{side:>9}{whole['objects']:>9}{each['made']['nuclei']:>9}{whole['tissue_share']:>8.2f}"
        seconds = f"{alone['wall_s']:>10.1f}{alone['cpu_s']:>8.1f}{whole['wall_s']:>8.1f}{whole['cpu_s']:>8.1f}"
        memory = f"{whole['own_mb']:>8.0f}{whole['children_mb']:>9.0f}"
        table.append(f"{counts}{seconds}{whole['wall_s'] / alone['wall_s']:>7.2f}{memory}")
    for side, each in sorted(known.items(), key=lambda each: int(each[0])):
        phases = ", ".join(f"{name} {value:.1f}" for name, value in each["job"]["phases_s"].items())
        table.append(f"{side}: {phases} s; outputs {each['job']['out_mb']:.0f} MB")
    return table


def exponent(known: dict[str, Any], clock: str) -> float:
    """Return the slope of the logarithm of the job's seconds over that of the px, of two sides or more."""
    px = np.log([float(each["px"]) for each in known.values()])
    seconds = np.log([float(each["job"][clock]) for each in known.values()])
    return float(np.polyfit(px, seconds, 1)[0])


def tell(known: dict[str, Any]) -> None:
    """Print the figures: those of the largest side, and how time grows from the smallest."""
    largest = known[max(known, key=int)]
    alone, whole = largest["decode"], largest["job"]
    figure("giant.objects", whole["objects"], "objects")
    figure("giant.tissue", whole["tissue_share"], "of the slide")
    figure("giant.distinct_tiles", largest["made"]["distinct"], "tiles")
    figure("giant.vs_decode", whole["wall_s"] / alone["wall_s"], "x")
    figure("giant.cpu_vs_decode", whole["cpu_s"] / alone["cpu_s"], "x")
    figure("giant.peak_mb", whole["own_mb"] + whole["children_mb"], "MB")
    if len(known) > 1:
        figure("giant.exponent", exponent(known, "wall_s"), "")
        figure("giant.cpu_exponent", exponent(known, "cpu_s"), "")


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option(
    "--side", "sides", type=click.IntRange(LEAST_PX), multiple=True, default=SIDES, show_default=True,
    help="Px of the slide; may be repeated.",
)  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path), help="Where slides are made and giant.json is kept.")
@click.option(
    "--section", type=click.Path(path_type=Path), default=SECTION, show_default=True,
    help="A slide to take texture from; made if it is not there.",
)  # fmt: skip
@click.option(
    "--halo", "halo_px", type=int, default=0, show_default=True, help="Px around a tile; a threshold needs none."
)
@click.option(
    "--interior", is_flag=True, help="Let the threshold give an interior map: objects get a plane of their own."
)
@click.option("--step", type=click.Choice(STEPS), hidden=True)
@click.option("--slide", type=click.Path(path_type=Path), hidden=True)
def main(
    sides: tuple[int, ...],
    folder: Path | None,
    section: Path,
    halo_px: int,
    step: str | None,
    slide: Path | None,
    *,
    interior: bool,
) -> None:
    if step is not None and slide is not None:
        run_step(step, slide, halo_px, interior=interior)
        return
    asked = ["--halo", str(halo_px), *(["--interior"] if interior else [])]
    with tempfile.TemporaryDirectory() as made:
        place = folder or Path(made)
        place.mkdir(parents=True, exist_ok=True)
        kept = place / f"giant{'-interior' * interior}{f'-halo-{halo_px}' if halo_px else ''}.json"
        known = json.loads(kept.read_text()) if kept.exists() else {}
        for side in sides:
            known[str(side)] = measure((side, side), place, section if section.exists() else None, asked)
            kept.write_text(json.dumps(known, indent=1))
    print("\n".join(rows(known)))
    print("aims: " + ", ".join(f"{name} <= {aim}" for name, aim in AIMS.items()))
    tell(known)


if __name__ == "__main__":
    main()
