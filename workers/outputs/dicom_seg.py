"""Label plane → DICOM segmentation of a slide that came as DICOM: tiled, with its own pixel spacing.

It refers to the source instance and lies in its frame of reference: the same orientation, the same upper left corner,
a spacing as many times the source's as a working px is level-0 px. LABELMAP, one byte a px; viewers that do not know
that storage class yet take BINARY from the same function.

highdicom makes the file from the whole plane in memory, so planes are limited.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass
from workers.core.preflight import require_room
from workers.core.schemas import Plan
from workers.core.store import atomic_write
from workers.outputs.dicom_source import Kind, algorithm, property_codes, read_source, stable_uid
from workers.outputs.ometiff import CREATOR
from workers.pipeline.stitch import LabelArrays, read_rows
from workers.pipeline.tiling import WorkingPlane

TILE_PX = 512
PLANE_MAX_PX = 2**30
"""Largest plane."""
BYTES_PER_PX = 4
"""Memory that making the file takes for a px of the plane."""
SERIES_NUMBER = 900
KIND = Kind(
    "A DICOM segmentation refers",
    "labels.ome.tif",
    ("TotalPixelMatrixOriginSequence", "ImageOrientationSlide", "SharedFunctionalGroupsSequence"),
)
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

Coding = Literal["LABELMAP", "BINARY"]


def write_segmentation(
    path: Path,
    arrays: LabelArrays,
    plan: Plan,
    source: Path,
    kind: Coding = "LABELMAP",
    *,
    room_bytes: int = sys.maxsize,
) -> None:
    """Write a DICOM segmentation object.

    Args:
        path: Where to; replaced atomically.
        arrays: Labels of the working plane.
        plan: The plan they were made for.
        source: The slide: an instance of VL Whole Slide Microscopy.
        kind: How the pixels are stored.
        room_bytes: Memory that may be taken.

    Raises:
        ProductRefused: The slide is no tiled DICOM instance of a total pixel matrix, or the plane is too large.
    """
    header = read_source(source, plan, KIND)
    _share_measures(header)
    height, width = arrays.labels.shape
    if height * width > PLANE_MAX_PX:
        raise ProductRefused(
            "The result has too many pixels for one DICOM segmentation.",
            value=f"{width} x {height}",
            accepted=f"at most {PLANE_MAX_PX} pixels; labels.ome.tif has no such limit",
        )
    require_room(BYTES_PER_PX * height * width, room_bytes)
    described = [each for each in plan.classes if each.index]
    made = Segmentation(
        source_images=[header],
        pixel_array=_pixels(arrays, described)[np.newaxis],
        segmentation_type=kind,
        segment_descriptions=[_segment(number, each, plan) for number, each in enumerate(described, 1)],
        series_instance_uid=stable_uid(plan, kind, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid(plan, kind, "instance"),
        instance_number=1,
        manufacturer=CREATOR,
        manufacturer_model_name=plan.model[:64],
        software_versions=version("ldiffusion-server"),
        device_serial_number=plan.model_digest[:16],
        content_label="SEGMENTATION",
        content_description=f"Model {plan.model}"[:64],
        transfer_syntax_uid=RLELossless if kind == "LABELMAP" else ExplicitVRLittleEndian,
        pixel_measures=highdicom.PixelMeasuresSequence(_spacing(header, plan), _thickness(header)),
        plane_orientation=highdicom.PlaneOrientationSequence("SLIDE", header.ImageOrientationSlide),
        plane_positions=[highdicom.PlanePositionSequence("SLIDE", _first_center(header, plan), (1, 1))],
        dimension_organization_type="TILED_FULL",
        omit_empty_frames=False,
        tile_pixel_array=True,
        tile_size=(TILE_PX, TILE_PX),
    )
    with atomic_write(path) as temporary:
        made.save_as(temporary)


def _share_measures(header: pydicom.Dataset) -> None:
    """Give all frames the pixel measures of the first, where each has its own: one matrix has one spacing."""
    groups = [group for name in GROUPS for group in (header.get(name) or ())[:1] if "PixelMeasuresSequence" in group]
    if not groups or not groups[0].PixelMeasuresSequence[0].get("PixelSpacing"):
        raise KIND.refusal("does not say how large its pixels are", None)
    header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = groups[0].PixelMeasuresSequence


def _pixels(arrays: LabelArrays, described: Sequence[ModelClass]) -> NDArray[np.uint8]:
    """Return the whole plane, uint8 (height, width), as numbers of segments: 1, 2, … in the order of the classes."""
    numbers = np.zeros(256, np.uint8)
    for number, each in enumerate(described, 1):
        numbers[each.index] = number
    height, width = arrays.labels.shape
    pixels = np.empty((height, width), np.uint8)
    for w_y in range(0, height, TILE_PX):
        pixels[w_y : w_y + TILE_PX] = numbers[read_rows(arrays.labels, w_y, w_y + TILE_PX)]
    return pixels


def _segment(number: int, each: ModelClass, plan: Plan) -> SegmentDescription:
    category, concept = property_codes(each)
    return SegmentDescription(
        segment_number=number,
        segment_label=each.name[:64],
        segmented_property_category=category,
        segmented_property_type=concept,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm(plan),
        display_color=highdicom.color.CIELabColor.from_rgb(*each.color),
    )


def _source_spacing(header: pydicom.Dataset) -> tuple[float, float]:
    """Return mm per level-0 px, (down, across)."""
    down, across = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    return float(down), float(across)


def _thickness(header: pydicom.Dataset) -> float:
    return float(header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].get("SliceThickness", 0.001))


def _spacing(header: pydicom.Dataset, plan: Plan) -> tuple[float, float]:
    """Return mm per working px, (down, across): as many times the source's as it is level-0 px high and wide."""
    plane = WorkingPlane.from_plan(plan)
    down, across = _source_spacing(header)
    return down * float(plane.scale_y), across * float(plane.scale_x)


def _first_center(header: pydicom.Dataset, plan: Plan) -> tuple[float, float, float]:
    """Return where the centre of the first working px lies: the corners of both planes meet, their centres do not."""
    origin = header.TotalPixelMatrixOriginSequence[0]
    source_center = (origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem, 0.0)
    directions = np.array(header.ImageOrientationSlide, np.float64).reshape(2, 3)  # along a row, down a column
    down, across = np.subtract(_spacing(header, plan), _source_spacing(header)) / 2
    x, y, z = np.array(source_center, np.float64) + across * directions[0] + down * directions[1]
    return float(x), float(y), float(z)
