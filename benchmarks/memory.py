"""Whether jobs take the memory that was stated: `python -m benchmarks.memory [--data FOLDER] [--model NAME]`.

Each model segments each slide within several budgets, as `ldiffusion segment --memory` does it: what the plan states is
compared with the most that the process had, and what the children that read for it have beside it. Of the process all
that is resident counts, of the children what they share with each other once. All phases of a job are in it.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from benchmarks.report import figure
from workers.core.command_line import CONTEXT

LOOK_S = 0.03
CHILDREN_EVERY = 20
"""Looks at the process for each at its children, which costs more."""
MIB = 2**20
MODELS = ("nuclei-fast", "nuclei", "glands-fast", "glands-grade-fast")
BUDGETS = ("8GiB", "1GiB", "800MiB")
SLIDES: dict[str, tuple[str, ...]] = {
    "CMU-1-Small-Region.svs": (),
    "crc_P2_0039_sec4_9984x16384.tif": ("--mpp", "0.5", "--no-tissue", "--roi", "3072,6144,4272,7344"),
}
"""Slides of the test data, and what is asked of them: of the large one a part, in which all is segmented."""
REFUSED = 2


class Run(NamedTuple):
    """One job: the side of its tiles, what was stated and measured; nothing where it was refused."""

    tile_px: int
    precision: str
    stated_bytes: int
    measured_bytes: int
    seconds: float

    @property
    def error(self) -> float:
        """How far the statement is off, of what was measured; above 0: too much was stated."""
        return (self.stated_bytes - self.measured_bytes) / self.measured_bytes


def run_once(slide: Path, model: str, budget: str, asked: tuple[str, ...], folder: Path) -> Run | None:
    """Run a job and watch its memory; None if it was refused because it needs more.

    Raises:
        RuntimeError: It failed for another reason.
    """
    line = [sys.executable, "-m", "workers.segment", str(slide), "-o", str(folder), "--model", model]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*line, "--memory", budget, "--threads", "1", *asked],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watched, most, children, looks = psutil.Process(process.pid), 0, 0, 0
    while process.poll() is None:
        with suppress(psutil.Error):
            if looks % CHILDREN_EVERY == 0:
                children = children_bytes(watched)
            most = max(most, peak_bytes(process.pid) + children)
        looks += 1
        time.sleep(LOOK_S)
    told = process.stderr.read() if process.stderr else ""
    if process.returncode == REFUSED and "job_too_large" in told:
        return None
    if process.returncode:
        raise RuntimeError(told[-1000:])
    plan = json.loads((folder / "plan.json").read_text())
    seconds = time.perf_counter() - started
    return Run(plan["tile_px"], plan["precision"], plan["estimated_peak_bytes"], most, seconds)


def peak_bytes(pid: int) -> int:
    """Return what a process had resident at most, as the kernel kept it: no look is too late for it."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return 0


def children_bytes(process: psutil.Process) -> int:
    """Return what the children of a process hold: of what they share with others their part."""
    held = 0
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            held += int(child.memory_full_info().pss)
    return held


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True)
@click.option("--memory", "budgets", multiple=True, default=BUDGETS, show_default=True)
@click.option("--slide", "slides", multiple=True, default=tuple(SLIDES), show_default=True, help="By name.")
@click.option("--engine", multiple=True, default=("float32", "auto"), show_default=True)
def main(
    data: Path, models: tuple[str, ...], budgets: tuple[str, ...], slides: tuple[str, ...], engine: tuple[str, ...]
) -> None:
    heads = f"{'model':<18}{'in':>9}{'budget':>9}{'tile':>6}{'stated':>8}{'measured':>9}{'error':>7}{'s':>6}"
    print(f"{heads}   slide; MiB")
    done: list[Run] = []
    for model in models:
        for name in slides:
            for each in engine:
                done += _rows(data / "wsi" / name, model, budgets, each)
    errors = [run.error for run in done]
    figure("memory.preflight_error", max(map(abs, errors)), "of measured", (min(errors), max(errors)))
    figure("memory.runs", len(done), "jobs")


def _rows(slide: Path, model: str, budgets: tuple[str, ...], engine: str) -> list[Run]:
    """Run a model on a slide within budgets, and print a row for each."""
    found = []
    for budget in budgets:
        asked = (*SLIDES.get(slide.name, ()), "--engine", engine)
        with tempfile.TemporaryDirectory() as folder:
            run = run_once(slide, model, budget, asked, Path(folder) / "out")
        if run is None:
            print(f"{model:<18}{'':>9}{budget:>9}{'':>30}refused   {slide.name}", flush=True)
            continue
        stated, measured = (round(each / MIB) for each in (run.stated_bytes, run.measured_bytes))
        told = f"{model:<18}{run.precision:>9}{budget:>9}{run.tile_px:>6}{stated:>8}{measured:>9}"
        print(f"{told}{run.error:>+7.0%}{run.seconds:>6.0f}   {slide.name}", flush=True)
        found.append(run)
    return found


if __name__ == "__main__":
    main()
