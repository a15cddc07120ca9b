"""Beside other tools: `python -m benchmarks.peers SLIDE --python PEERS/bin/python [--model nuclei-paper]`.

The same network on the same slide, one thread, through `ldiffusion segment` with all its outputs, through TIAToolbox's
`SemanticSegmentor` with our tissue mask, and through MONAI's `sliding_window_inference`, which knows no tissue and has
the slide in memory. TIAToolbox and MONAI run in an environment of their own, see docs/performance.md. At equal overlap
TIAToolbox gets our tile and halo as its output and input; by default it gets what it publishes for its own networks:
patches of 1024 px of which 512 are kept, every 256 px. Time is CPU seconds from after the loading of the weights;
ratios of it say how many times longer the other takes. Agreement is the share of the tissue's px with the same label.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model, model_dir
from workers.core.model.schemas import ModelCard
from workers.core.settings import Settings
from workers.masks import load_tissue
from workers.pipeline.tiling import Box, WorkingPlane
from workers.stages import read_plan

HERE = Path(__file__).resolve().parent.parent
SIDE = HERE / "benchmarks" / "peers_side.py"
PUBLISHED = {"input_px": 1024, "output_px": 512, "stride_px": 256}
"""What TIAToolbox 2.1.3 publishes for its networks of tissue (`fcn_resnet50_unet-bcss`)."""
RUNS = ("ours", "ours float32", "tiatoolbox equal", "tiatoolbox default", "monai")
AIMS = {
    "peers.tiatoolbox.speedup_equal_overlap": ">= 2.5",
    "peers.tiatoolbox.speedup_equal_dtype": ">= 1.3",
    "peers.tiatoolbox.speedup_default": ">= 15",
    "peers.monai.speedup": ">= 3",
    "peers.tiatoolbox.memory_ratio": "<= 0.45",
    "peers.tiatoolbox.agreement": ">= 0.99",
}


class Ran(NamedTuple):
    """What one run took.

    Args:
        wall_s: Seconds.
        cpu_s: Of the process and the children that it waited for.
        peak_mb: Most resident memory, of the process and of its largest child together.
        loaded_mb: What it had before the run, with its imports and the weights.
        labels: Class index, uint8 (height, width).
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    loaded_mb: float
    labels: NDArray[np.uint8]


def run(tool: str, python: str, asked: dict[str, Any], folder: Path) -> Ran:
    """Run one tool in a process of its own."""
    asked = {**asked, "out": str(folder / "out"), "labels": str(folder / "labels.npy")}
    (folder / "asked.json").write_text(json.dumps(asked))
    paths = f"{HERE}{os.pathsep}{HERE / 'client'}"
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [python, "-P", str(SIDE), tool, str(folder / "asked.json")]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
    return Ran(**json.loads(done.stdout.splitlines()[-1]), labels=np.load(folder / "labels.npy"))


def questions(slide: Path, folder: Path, mpp: float, card: ModelCard) -> dict[str, dict[str, Any]]:
    """Return what each run is asked."""
    common = {
        "slide": str(slide.resolve()),
        "mpp": mpp,
        "model_mpp": card.mpp,
        "weights": str(folder),
        "precision": "float32",
        "input_px": card.tile_px + 2 * card.halo_px,
        "output_px": card.tile_px,
        "stride_px": card.tile_px,
    }
    return {
        "ours": {**common, "engine": "auto"},
        "ours float32": {**common, "engine": "float32"},
        "tiatoolbox equal": common,
        "tiatoolbox default": {**common, **PUBLISHED},
        "monai": common,
    }


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8], tissue: NDArray[np.bool_]) -> float:
    """Return the share of tissue px with the same label, of what both cover."""
    height, width = (min(sizes) for sizes in zip(one.shape, other.shape, tissue.shape, strict=True))
    same = one[:height, :width] == other[:height, :width]
    return float(same[tissue[:height, :width]].mean())


def told(ran: dict[str, Ran], tissue: NDArray[np.bool_]) -> dict[str, float]:
    """Return the figures that the runs allow."""
    found = {}
    if "tiatoolbox equal" in ran:
        theirs = ran["tiatoolbox equal"]
        found["peers.tiatoolbox.speedup_equal_overlap"] = theirs.cpu_s / ran["ours"].cpu_s
        found["peers.tiatoolbox.speedup_equal_dtype"] = theirs.cpu_s / ran["ours float32"].cpu_s
        found["peers.tiatoolbox.memory_ratio"] = ran["ours"].peak_mb / theirs.peak_mb
        found["peers.tiatoolbox.agreement"] = agreement(ran["ours float32"].labels, theirs.labels, tissue)
    if "tiatoolbox default" in ran:
        found["peers.tiatoolbox.speedup_default"] = ran["tiatoolbox default"].cpu_s / ran["ours"].cpu_s
    if "monai" in ran:
        found["peers.monai.speedup"] = ran["monai"].cpu_s / ran["ours"].cpu_s
    return found


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--python", required=True, type=click.Path(exists=True), help="Of the environment with the other tools.")
@click.option("--mpp", type=float, default=0.5, show_default=True, help="µm per level-0 pixel.")
@click.option("--model", default="nuclei-paper", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(RUNS[2:]), help="Only these, beside ours.")
def main(slide: Path, python: str, mpp: float, model: str, only: tuple[str, ...]) -> None:
    settings = Settings()
    asked = questions(slide, model_dir(settings.models_dir, model), mpp, find_model(settings.models_dir, model))
    ran = {}
    print(f"{'run':<20}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}{'loaded MB':>11}")
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        for each in RUNS:
            if only and each not in (*RUNS[:2], *only):
                continue
            (base / each).mkdir()
            tool, is_ours = each.split()[0], each.startswith("ours")
            ran[each] = run(
                tool, sys.executable if is_ours else python, asked[each] | {"mask": f"{base}/mask.png"}, base / each
            )
            print(
                f"{each:<20}{ran[each].cpu_s:>9.1f}{ran[each].wall_s:>9.1f}{ran[each].peak_mb:>9.0f}{ran[each].loaded_mb:>11.0f}"
            )
            if each == "ours":
                tissue, mask = _tissue(base / each / "out")
                Image.fromarray(mask.astype(np.uint8) * 255).save(base / "mask.png")
    found = told(ran, tissue)
    for title, value in found.items():
        print(f"{title:<40}{value:>8.3f}   {AIMS[title]}")
    for title, value in found.items():
        figure(title, value, "" if title.endswith(("ratio", "agreement")) else "x")


def _tissue(out: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the tissue of a run's plane, and its mask as it is kept."""
    plan, tissue = read_plan(out), load_tissue(out)
    if plan is None:
        raise click.ClickException("the run left no plan")
    return tissue.crop(Box(0, 0, plan.w_width, plan.w_height), WorkingPlane.from_plan(plan)), tissue.mask


if __name__ == "__main__":
    main()
