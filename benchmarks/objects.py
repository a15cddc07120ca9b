"""What objects cost: `python -m benchmarks.objects [--objects 500000] [--folder FOLDER]`.

A plane is drawn on the disk as workers leave it, labels, confidence and interior map of nuclei in clusters that touch,
over a slide of one colour; then the finish makes overlay and labels, the plane of objects, the table and the polygons,
and whoever asks for it gets the OME-Zarr. Each step runs in a process of its own, which tells its CPU time and its peak
of resident memory; what a process takes that does nothing is beside them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.model.schemas import ModelClass, ObjectRules
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.core.slides.slide import Slide
from workers.outputs.levels import Levels
from workers.outputs.ome_zarr import write_ome_zarr
from workers.outputs.pyramid import write_labels, write_overlay
from workers.outputs.vector.object_table import Source, read_haematoxylin, write_objects
from workers.outputs.vector.vectorize import write_geojson
from workers.pipeline import stitch
from workers.pipeline.objects import make_objects
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import WorkingPlane, regions

CELL_PX, REGION_PX = 24, 1024
"""Px from one nucleus to the next in a cluster, and the side of a region."""
CLUSTER = 4
"""Nuclei in a row of a cluster; all of its neighbours touch."""
RADIUS_PX = 12.6
STEPS = ("nothing", "pyramids", "zarr", "plane", "table", "polygons")
UInt8 = NDArray[np.uint8]


class OneColour(Slide):
    """Stands for a slide: every pixel is the same violet."""

    backend = "openslide"
    vendor = "made"
    exact = frozenset({0})

    def __init__(self, geometry: SlideGeometry) -> None:
        self.geometry = geometry

    def close(self) -> None:
        """Nothing is open."""

    def _fill(self, out: UInt8, _level: int, _lv_x: int, _lv_y: int) -> None:
        out[0] = 120, 80, 160
        out[1:] = out[0]  # by rows: px by px it would take as long as decoding


def plan_of(objects: int) -> Plan:
    """Return the plan of a square plane with room for so many nuclei and the gaps between their clusters."""
    across = int(np.ceil(objects**0.5 / CLUSTER)) * CLUSTER
    side = across // CLUSTER * (CLUSTER + 1) * CELL_PX
    level = SlideLevel(width=side, height=side, downsample=1)
    return Plan(
        job_id="0" * 32, slide_id="0" * 32, slide_sha256="0" * 64, model="made", model_digest="0" * 64,
        geometry=SlideGeometry(l0_width=side, l0_height=side, mpp_x=0.5, mpp_y=0.5, levels=(level,)),
        mpp_x=0.5, mpp_y=0.5, mpp_source="metadata", model_mpp=0.5, level=0, w_width=side, w_height=side,
        region_px=REGION_PX, tile_px=REGION_PX, halo_px=0, stride_px=1, seed=0, regions=(), tissue=False,
        classes=tuple(ModelClass(index=i, name=name, color=(200, 0, 0)) for i, name in enumerate(("glass", "nucleus"))),
        estimated_peak_bytes=0,
        objects=ObjectRules(smallest_um2=10, prominence=0.25, smooth_um=0.5, interior=True),
    )  # fmt: skip


def draw(folder: Path, plan: Plan) -> None:
    """Write the planes of a plan, region by region: the same nucleus in every cell but those between clusters."""
    for region in regions(WorkingPlane.from_plan(plan), REGION_PX):
        y, x = np.mgrid[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1]
        distance = np.hypot(y % CELL_PX - CELL_PX / 2 + 0.5, x % CELL_PX - CELL_PX / 2 + 0.5)
        is_gap = (y // CELL_PX % (CLUSTER + 1) == CLUSTER) | (x // CELL_PX % (CLUSTER + 1) == CLUSTER)
        labels = ((distance < RADIUS_PX) & ~is_gap).astype(np.uint8)
        interior = (np.clip((RADIUS_PX - distance) / 6, 0, 1) * 255 * labels).astype(np.uint8)
        stitch.write_region(folder, plan, region, labels, labels * np.uint8(230), interior)


def run_step(step: str, folder: Path, plan: Plan) -> None:
    arrays = stitch.open_labels(folder)
    if step == "pyramids":
        with Levels(arrays.labels, folder) as levels:
            write_overlay(folder / "overlay.ome.tif", levels, plan)
            write_labels(folder / "labels.ome.tif", levels, plan)
    elif step == "zarr":
        write_ome_zarr(folder / "labels.ome.zarr", arrays, plan, lambda: None)
    elif step == "plane":
        make_objects(folder, plan, lambda: None)
    elif step == "table":
        reader = PlaneReader(OneColour(plan.geometry), WorkingPlane.from_plan(plan), 0)
        write_objects(folder / "objects.parquet", Source(arrays, plan, reader))
    elif step == "polygons":
        write_geojson(folder / "regions.geojson.gz", arrays, plan, read_haematoxylin(folder / "objects.parquet"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak_kib = int(status["VmHWM"].split()[0])  # getrusage would tell that of the parent, if it was larger
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "peak_mib": peak_kib / 1024}))


def measured(step: str, folder: Path, objects: int) -> dict[str, Any]:
    """Run a step in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.objects", "--objects", str(objects), "--folder", str(folder)]
    done = subprocess.run([*line, "--step", step], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--objects", type=int, default=500_000, show_default=True)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where the plane lies; a folder of its own if not given."
)
@click.option("--step", type=click.Choice(STEPS), hidden=True)
def main(objects: int, folder: Path | None, step: str | None) -> None:
    plan = plan_of(objects)
    if step is not None and folder is not None:
        run_step(step, folder, plan)
        return
    with tempfile.TemporaryDirectory(dir=folder) as made:
        started = time.perf_counter()
        stitch.create_label_array(Path(made), plan)
        draw(Path(made), plan)
        print(f"{plan.w_width} x {plan.w_height} px drawn in {time.perf_counter() - started:.0f} s")
        found = {name: measured(name, Path(made), objects) for name in STEPS}
        count = sum(1 for _ in read_haematoxylin(Path(made) / "objects.parquet"))
        sizes = {name: (Path(made) / name).stat().st_size for name in ("objects.parquet", "regions.geojson.gz")}
    print(f"{count} objects; " + ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sizes.items()))
    print(f"{'step':<10}{'CPU s':>8}{'ms per 1000':>13}{'peak MiB':>10}")
    idle = found["nothing"]
    for name, one in found.items():
        cpu_s = one["cpu_s"] - (0 if name == "nothing" else idle["cpu_s"])
        print(f"{name:<10}{cpu_s:>8.1f}{1e6 * cpu_s / count:>13.1f}{one['peak_mib']:>10.0f}")
    cpu_s = sum(found[name]["cpu_s"] - idle["cpu_s"] for name in STEPS[3:])
    gpx = plan.w_width * plan.w_height / 1e9
    figure("objects.count", count, "objects")
    figure("objects.peak_mib", max(one["peak_mib"] for one in found.values()), "MiB")
    figure("objects.idle_mib", idle["peak_mib"], "MiB")
    figure("objects.cpu_ms_per_1000", 1e6 * cpu_s / count, "ms")
    for name in ("pyramids", "zarr"):
        figure(f"objects.{name}_cpu_s_per_gpx", (found[name]["cpu_s"] - idle["cpu_s"]) / gpx, "s")
    figure("objects.parquet_bytes_per_object", sizes["objects.parquet"] / count, "bytes")


if __name__ == "__main__":
    main()
