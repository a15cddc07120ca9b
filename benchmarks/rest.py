"""What a job costs beside the network: `python -m benchmarks.rest SLIDE --before FOLDER [--mpp 0.5] [--repeat 1]`.

The same slide and the same weights through `ldiffusion segment` of this tree and of another, in turns, on one thread.
The other tree is a checkout of an earlier commit, such as `git worktree add FOLDER 39bfd22` makes one. Of each run the
CPU seconds of the whole program are counted, with the children that it waited for, and of these what the network's
forward passes take; `pipeline.rest_speedup` is the quotient of what is left. Both import what they need anew: what the
start costs is in it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.report import figure
from workers.core.command_line import CONTEXT

AIM = 2.5
HERE = Path(__file__).resolve().parent.parent
RUNNER = """
import json, resource, sys, time
from models.predictor import Predictor
from workers.segment import main

spent, predict = [0.0], Predictor.predict

def timed(*args, **kwargs):
    started = time.thread_time()
    try:
        return predict(*args, **kwargs)
    finally:
        spent[0] += time.thread_time() - started

Predictor.predict = timed
main(sys.argv[1:], standalone_mode=False)
whole = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"forward": spent[0], "whole": sum(each.ru_utime + each.ru_stime for each in whole)}))
"""


def run(tree: Path, weights: Path, slide: Path, options: list[str]) -> dict[str, float]:
    """Return the CPU seconds of one run of a tree's program: of all, and of the forward passes."""
    paths = f"{tree}{os.pathsep}{tree / 'client'}"
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-c", RUNNER, str(slide), "-o", f"{folder}/out", "--model", str(weights)]
        ran = subprocess.run(
            [*command, "--threads", "1", *options], env=env, cwd=tree, check=True, stdout=subprocess.PIPE
        )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--before", required=True, type=click.Path(exists=True, path_type=Path), help="Folder of the other tree.")
@click.option("--weights-before", default="models/zoo/nuclei-tiny", show_default=True, help="In that folder.")
@click.option("--weights", default="models/zoo/nuclei-paper", show_default=True, help="The same, in this tree.")
@click.option("--mpp", type=float, help="µm per level-0 pixel, where the slide does not say.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True)
def main(slide: Path, before: Path, weights_before: str, weights: str, mpp: float | None, repeat: int) -> None:
    options = [] if mpp is None else ["--mpp", str(mpp)]
    sides = {"before": (before.resolve(), weights_before), "now": (HERE, weights)}
    speedups = []
    print(f"{'tree':<8}{'CPU s':>10}{'forward':>10}{'the rest':>10}")
    for _ in range(repeat):
        rest = {}
        for name, (tree, folder) in sides.items():
            found = run(tree, tree / folder, slide.resolve(), options)
            rest[name] = found["whole"] - found["forward"]
            print(f"{name:<8}{found['whole']:>10.1f}{found['forward']:>10.1f}{rest[name]:>10.1f}")
        speedups.append(rest["before"] / rest["now"])
    print(f"aim >= {AIM}")
    figure("pipeline.rest_speedup", statistics.median(speedups), "x", (min(speedups), max(speedups)))


if __name__ == "__main__":
    main()
