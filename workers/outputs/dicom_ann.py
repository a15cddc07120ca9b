"""Objects → DICOM bulk annotations of a slide that came as DICOM: one group of polygons for each class.

Points are pixels of the total pixel matrix of the slide's largest level, counted from its upper left corner: the same
numbers as in `regions.geojson.gz`. They are written in single precision where that holds all of them exactly, else in
double. A polygon of this format has no holes, so it is the outer border of its object; the area beside it is that of
the object's own pixels.

highdicom makes the file from all points in memory, so points are limited.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from highdicom.ann import AnnotationGroup, Measurements, MicroscopyBulkSimpleAnnotations
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.sizing.preflight import require_room
from workers.core.storage.files import atomic_write
from workers.outputs.dicom_source import Kind, algorithm, property_codes, read_source, stable_uid
from workers.outputs.ometiff import CREATOR
from workers.outputs.vector.contours import Shapes, outlines
from workers.outputs.vector.sheet import l0_texts
from workers.outputs.vector.tracing import counted
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import WorkingPlane, exact

POINTS_MAX = 2**25
"""Most points of all polygons together."""
BYTES_PER_POINT = 200
"""Memory that making the file takes for a point, at most."""
SERIES_NUMBER = 901
KIND = Kind("DICOM annotations refer", "regions.geojson.gz", ("FrameOfReferenceUID", "TotalPixelMatrixColumns"))
"""Points are counted in the slide's own matrix, so where that lies, and how large its pixels are, does not matter."""

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass
class _Group:
    """The objects of one class: outer borders (points, 2) in level-0 px, numbers of px, sums of confidence, holes."""

    outlines: list[Floats] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    confidence: list[int] = field(default_factory=list)
    holes: int = 0


def write_annotations(
    path: Path, arrays: LabelArrays, plan: Plan, source: Path, *, room_bytes: int = sys.maxsize
) -> int:
    """Write DICOM microscopy bulk simple annotations, with area and mean probability of each object.

    Args:
        path: Where to; replaced atomically.
        arrays: The planes of the job.
        plan: The plan they were made for.
        source: The slide: an instance of VL Whole Slide Microscopy.
        room_bytes: Memory that may be taken.

    Returns:
        How many objects were written.

    Raises:
        ProductRefused: The slide is no tiled DICOM instance of a total pixel matrix, the job has no object, or its
            polygons have more points than `POINTS_MAX`, or than that memory holds.
    """
    header = read_source(source, plan, KIND)
    groups = _gather(arrays, plan, room_bytes)
    described = [each for each in plan.classes if each.index in groups]
    if not described:
        message = "The job has no object, and DICOM annotations hold one at least."
        raise ProductRefused(message, accepted="a job whose polygons are not empty")
    made = MicroscopyBulkSimpleAnnotations(
        source_images=[header],
        annotation_coordinate_type="2D",
        annotation_groups=[
            _annotations(number, each, groups[each.index], plan) for number, each in enumerate(described, 1)
        ],
        series_instance_uid=stable_uid(plan, "ANN", "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=stable_uid(plan, "ANN", "instance"),
        instance_number=1,
        manufacturer=CREATOR,
        manufacturer_model_name=plan.model[:64],
        software_versions=version("ldiffusion-server"),
        device_serial_number=plan.model_digest[:16],
        content_label="ANNOTATIONS",
        content_description=f"Model {plan.model}"[:64],
    )
    with atomic_write(path) as temporary:
        made.save_as(temporary)
    return sum(len(group.outlines) for group in groups.values())


def _gather(arrays: LabelArrays, plan: Plan, room_bytes: int) -> dict[int, _Group]:
    """Return the objects of each class that has some."""
    plane = WorkingPlane.from_plan(plan)
    l0_x, l0_y = _positions((plane.scale_x, plan.w_width), (plane.scale_y, plan.w_height))
    groups: dict[int, _Group] = {}
    for shapes in _few_points(counted(arrays, plan), room_bytes):
        numbers = zip(shapes.value.tolist(), shapes.pixels.tolist(), shapes.confidence.tolist(), strict=True)
        for (value, pixels, confidence), (w_x, w_y, ends) in zip(numbers, outlines(shapes), strict=True):
            group = groups.setdefault(value, _Group())
            outer = slice(int(ends[0]))
            outline: Any = np.stack([l0_x[w_x[outer]], l0_y[w_y[outer]]], axis=1)  # of the positions' own type
            group.outlines.append(outline)
            group.pixels.append(pixels)
            group.confidence.append(confidence)
            group.holes += len(ends) - 1
    return groups


def _few_points(batches: Iterator[Shapes], room_bytes: int) -> Iterator[Shapes]:
    """Pass on shapes while all of them together, holes included, have few enough corners."""
    points = 0
    for shapes in batches:
        points += len(shapes.corners)
        if points > POINTS_MAX:
            raise ProductRefused(
                "The polygons of this job have too many points for one file of DICOM annotations.",
                accepted=f"{POINTS_MAX} points, holes included; regions.geojson.gz has no such limit",
            )
        require_room(BYTES_PER_POINT * points, room_bytes)
        yield shapes


def _positions(*axes: tuple[Fraction, int]) -> list[Floats]:
    """Return the level-0 positions of working corners 0 … length on each axis (level-0 px per working px, length)."""
    doubles = [np.array(l0_texts(scale, length), np.float64) for scale, length in axes]
    singles = [each.astype(np.float32) for each in doubles]
    is_exact = all(np.array_equal(one, other) for one, other in zip(singles, doubles, strict=True))
    return [*singles] if is_exact else [*doubles]


def _annotations(number: int, each: ModelClass, group: _Group, plan: Plan) -> AnnotationGroup:
    category, concept = property_codes(each)
    pixels = np.array(group.pixels, np.float64)
    return AnnotationGroup(
        number=number,
        uid=stable_uid(plan, "ANN", f"class {each.index}"),
        label=each.name[:64],
        annotated_property_category=category,
        annotated_property_type=concept,
        graphic_type="POLYGON",
        graphic_data=group.outlines,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm(plan),
        measurements=[
            Measurements(codes.SCT.Area, pixels * float(exact(plan.model_mpp) ** 2), codes.UCUM.SquareMicrometer),
            Measurements(codes.DCM.Probability, np.array(group.confidence) / (255 * pixels), codes.UCUM.NoUnits),
        ],
        description=f"Outer borders of objects; {group.holes} holes are not drawn. Areas are without holes.",
        display_color=highdicom.color.CIELabColor.from_rgb(*each.color),
    )
