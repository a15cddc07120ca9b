"""What making outputs takes: `python -m benchmarks.outputs [--side 8192 --side 16384 --side 32768]`.

Square planes are drawn on the disk as workers leave them, discs of three classes beside empty places, no two tiles of
them alike, and the DICOM segmentations of each are made, each in a process of its own, which tells its CPU time and its
peak of resident memory; what a process takes that only imports what it needs is beside them.

`--nuclei` does the same for all default outputs of a job: discs alone, one for each 46 x 46 px, so half a million of
them on 32768 px a side, over a slide of one colour, whose reading costs next to nothing.
"""

import json
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

from benchmarks.objects import OneColour
from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.core.storage.files import write_json
from workers.masks import area_of
from workers.outputs.dicom_seg import Coding, write_segmentation
from workers.outputs.landed import LANDED, NOBODY, PLAN, Record, make_outputs
from workers.outputs.statistics import read_statistics
from workers.pipeline import stitch
from workers.pipeline.inference import cpu_threads
from workers.pipeline.tiling import WorkingPlane, regions
from workers.pipeline.tissue import TissueMask
from workers.writers import writers_of

REGION_PX, MPP = 1024, 0.5
CODINGS = get_args(Coding)
NOTHING, DEFAULTS = "nothing", "defaults"
SIDES = (8192, 16384, 32768)
NUCLEUS_PX = 46


def plan_of(side: int) -> Plan:
    """Return the plan of a square plane."""
    levels = tuple(SlideLevel(width=side // by, height=side // by, downsample=by) for by in (1, 4, 16))
    names = "background", "disc", "ring", "speck"
    return Plan(
        job_id="0" * 32, slide_id="0" * 32, slide_sha256="0" * 64, model="made", model_digest="0" * 64,
        geometry=SlideGeometry(l0_width=side, l0_height=side, mpp_x=MPP, mpp_y=MPP, levels=levels),
        mpp_x=MPP, mpp_y=MPP, mpp_source="metadata", model_mpp=MPP, level=0, w_width=side, w_height=side,
        region_px=REGION_PX, tile_px=REGION_PX, halo_px=0, stride_px=1, seed=0, regions=(), tissue=False,
        classes=tuple(ModelClass(index=index, name=name, color=(200, 0, 0)) for index, name in enumerate(names)),
        estimated_peak_bytes=0,
    )  # fmt: skip


def draw(folder: Path, plan: Plan) -> None:
    """Write the labels of a plan: in each region discs of its own size and class; every third one is empty."""
    rng = np.random.default_rng(0)
    for region in regions(WorkingPlane.from_plan(plan), REGION_PX):
        labels = np.zeros((region.height, region.width), np.uint8)
        if region.index % 3:
            cell = int(rng.integers(24, 96))
            y, x = np.ogrid[: region.height, : region.width]
            distance = np.hypot(y % cell - cell / 2, x % cell - cell / 2)
            labels[distance < cell * rng.uniform(0.2, 0.5)] = 1 + (region.row + region.col) % 3
        stitch.write_region(folder, plan, region, labels, labels)


def draw_nuclei(folder: Path, plan: Plan) -> None:
    """Write labels and confidence of a plan: a disc in each square of `NUCLEUS_PX`, none touches another."""
    for region in regions(WorkingPlane.from_plan(plan), REGION_PX):
        y, x = np.ogrid[region.w_y0 : region.w_y1, region.w_x0 : region.w_x1]
        radius = 5 + (x // NUCLEUS_PX * 7 + y // NUCLEUS_PX * 3) % 11 / 2
        distance = np.hypot(y % NUCLEUS_PX - NUCLEUS_PX / 2, x % NUCLEUS_PX - NUCLEUS_PX / 2)
        confidence = (255 - 90 * np.exp(-np.abs(distance - radius))).astype(np.uint8)
        stitch.write_region(folder, plan, region, (distance < radius).astype(np.uint8), confidence)


def make_defaults(folder: Path, plan: Plan) -> None:
    """Make all outputs of every job from a folder that holds the labels."""
    plan = plan.model_copy(update={"classes": plan.classes[:2]})
    write_json(folder / PLAN, plan)
    arrays, area = stitch.open_labels(folder), area_of(TissueMask.everywhere(plan.geometry), None)
    with OneColour(plan.geometry) as slide:
        prepare = partial(writers_of, slide, plan, arrays, area, folder, cpu_threads(0, 1))
        make_outputs(folder, plan.outputs, prepare, slide, NOBODY)


def write_source(path: Path, side: int) -> None:
    """Write the header of a square DICOM slide."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = VLWholeSlideMicroscopyImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    image.Modality, image.ImageType = "SM", ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    image.ContainerIdentifier, image.PositionReferenceIndicator = "made", "SLIDE_CORNER"
    image.Rows = image.Columns = REGION_PX
    image.TotalPixelMatrixColumns = image.TotalPixelMatrixRows = side
    image.NumberOfFrames = (side // REGION_PX) ** 2
    image.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    image.TotalPixelMatrixOriginSequence = [
        _item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
    ]
    image.SpecimenDescriptionSequence = [_item(SpecimenIdentifier="made", SpecimenUID=generate_uid())]
    image.DimensionOrganizationType = "TILED_FULL"
    measures = _item(PixelSpacing=[MPP / 1000] * 2, SliceThickness=0.001)
    image.SharedFunctionalGroupsSequence = [_item(PixelMeasuresSequence=[measures])]
    image.SamplesPerPixel, image.BitsAllocated, image.LossyImageCompression = 3, 8, "00"
    image.save_as(path)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def run_step(step: str, folder: Path, side: int) -> None:
    if step == DEFAULTS:
        make_defaults(folder, plan_of(side))
    elif step != NOTHING:
        arrays, kind = stitch.open_labels(folder), CODINGS[CODINGS.index(step)]
        write_segmentation(folder / f"{step}.dcm", arrays, plan_of(side), folder / "slide.dcm", kind)
    used = resource.getrusage(resource.RUSAGE_SELF)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak_mb = int(status["VmHWM"].split()[0]) * 1024 / 1e6  # getrusage would tell that of the parent, if it was larger
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": peak_mb}))


def measured(step: str, folder: Path, side: int) -> dict[str, Any]:
    """Run a step in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.outputs", "--side", str(side), "--folder", str(folder), "--step", step]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_nuclei(side: int, folder: Path | None) -> None:
    """Measure the default outputs of a plane, and print what they took."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        place, plan = Path(made), plan_of(side)
        stitch.create_label_array(place, plan)
        draw_nuclei(place, plan)
        idle, found = (measured(step, place, side) for step in (NOTHING, DEFAULTS))
        count = read_statistics(place).classes[1].count or 0
        seconds = {
            name: each.seconds
            for name, each in Record.model_validate_json((place / LANDED).read_bytes()).outputs.items()
        }
    print(
        f"{side} x {side} px, {count} objects: " + ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items())
    )
    figure("outputs.objects", count, "objects")
    figure("outputs.idle_mb", idle["peak_mb"], "MB")
    figure("outputs.peak_mb", found["peak_mb"], "MB")
    figure("outputs.cpu_s_per_gpx", (found["cpu_s"] - idle["cpu_s"]) / (side * side / 1e9), "s")


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option(
    "--side", "sides", type=click.IntRange(REGION_PX), multiple=True, default=SIDES, show_default=True,
    help="Px of the plane; may be repeated.",
)  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path), help="Where planes lie; a folder of its own if not given.")
@click.option("--nuclei", is_flag=True, help="Make the outputs of every job, of nuclei on the largest plane.")
@click.option("--step", type=click.Choice([NOTHING, DEFAULTS, *CODINGS]), hidden=True)
def main(sides: tuple[int, ...], folder: Path | None, step: str | None, *, nuclei: bool) -> None:
    if step is not None and folder is not None:
        run_step(step, folder, sides[0])
        return
    if nuclei:
        run_nuclei(max(sides), folder)
        return
    print(f"{'plane, px':>16}{'made':>10}{'MB':>8}{'CPU s':>8}{'peak MB':>9}")
    peaks: dict[int, float] = {}
    for side in sorted(sides):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            place, plan = Path(made), plan_of(side)
            stitch.create_label_array(place, plan)
            draw(place, plan)
            write_source(place / "slide.dcm", side)
            found = {name: measured(name, place, side) for name in (NOTHING, *CODINGS)}
            sizes = {name: (place / f"{name}.dcm").stat().st_size / 1e6 for name in CODINGS}
        for name, one in found.items():
            size, plane = sizes.get(name, 0.0), f"{side} x {side}"
            print(f"{plane:>16}{name:>10}{size:>8.1f}{one['cpu_s']:>8.1f}{one['peak_mb']:>9.0f}")
        peaks[side] = max(found[name]["peak_mb"] for name in CODINGS)
        idle = found[NOTHING]["peak_mb"]
    figure("outputs.idle_mb", idle, "MB")
    figure("outputs.dicom_peak_mb", max(peaks.values()), "MB", (min(peaks.values()), max(peaks.values())))
    figure("outputs.dicom_growth", peaks[max(peaks)] / peaks[min(peaks)], "x")


if __name__ == "__main__":
    main()
