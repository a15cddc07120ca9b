"""Memory and speed of one whole run: `python -m benchmarks.segment SLIDE [--mpp 0.5] [--repeat 1]`.

The run is a process of its own, `ldiffusion segment`; its peak resident memory is what the kernel says of it. The
limit beside it is 3 GB, whatever the slide's size.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.report import figure
from workers.core.command_line import CONTEXT

LIMIT_MB = 3000


def run_once(slide: Path, model: str, mpp: float | None, out: Path) -> tuple[float, dict[str, float], float]:
    """Return seconds, seconds per phase, and mm² of tissue of one run."""
    command = [sys.executable, "-m", "workers.segment", str(slide), "-o", str(out), "--model", model]
    started = time.perf_counter()
    subprocess.run([*command, *(["--mpp", str(mpp)] if mpp else [])], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    timings = json.loads((out / "result.json").read_text())["timings_s"]
    tissue = json.loads((out / "statistics.json").read_text())["tissue_mm2"]
    return seconds, timings, tissue


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--model", default="nuclei")
@click.option("--mpp", type=float)
@click.option("--repeat", type=int, default=1)
def main(slide: Path, model: str, mpp: float | None, repeat: int) -> None:
    rates, share = [], 0.0
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            seconds, timings, tissue = run_once(slide, model, mpp, Path(folder) / "out")
        rates.append(tissue / seconds)
        share = 100 * (1 - timings["segment"] / sum(timings.values()))
        print(f"{seconds:8.1f} s   " + "   ".join(f"{name} {value:.1f} s" for name, value in timings.items()))
    # Children's maximum, in KiB on Linux: the runs, one after the other, not their sum.
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    print(f"peak {peak_mb:.0f} MB of {LIMIT_MB} MB allowed; outside inference {share:.0f} % of the time")
    figure("segment.peak_mb", peak_mb, "MB")
    figure("segment.tissue_rate", sum(rates) / len(rates), "mm2/s", (min(rates), max(rates)))
    figure("segment.outside_inference", share, "%")


if __name__ == "__main__":
    main()
