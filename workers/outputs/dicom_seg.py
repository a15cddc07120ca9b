"""Label plane → DICOM segmentation of a slide that came as DICOM: tiled, with its own pixel spacing.

It refers to the source instance and lies in its frame of reference: the same orientation, the same upper left corner,
a spacing as many times the source's as a working px is level-0 px. LABELMAP, one byte a px; viewers that do not know
that storage class yet take BINARY from the same function.

highdicom makes the header, of a plane of one frame; the frames of the real one are written behind it while the plane
is read, so memory does not grow with it.
"""

import struct
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import highdicom
import imagecodecs
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.encaps import itemize_fragment
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from workers.core.errors.base import ProductRefused
from workers.core.label_layout import TILE_PX
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.storage.files import atomic_write
from workers.outputs.dicom_source import Kind, algorithm, property_codes, read_source, stable_uid
from workers.outputs.levels import Levels, level_tiles
from workers.outputs.ometiff import CREATOR
from workers.pipeline.sparse import PlaneArray
from workers.pipeline.stitch import LabelArrays, UInt8
from workers.pipeline.tiling import WorkingPlane

NATIVE_MAX_BYTES = 2**32 - 2
"""What a length of 32 bits holds: that of pixels which are not compressed, and places in the basic offset table."""
FRAME_BYTES = TILE_PX**2 // 8
"""Of a frame of one bit a px."""
UNDEFINED_LENGTH = 2**32 - 1
SERIES_NUMBER = 900
KIND = Kind(
    "A DICOM segmentation refers",
    "labels.ome.tif",
    ("TotalPixelMatrixOriginSequence", "ImageOrientationSlide", "SharedFunctionalGroupsSequence"),
)
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")

Coding = Literal["LABELMAP", "BINARY"]


def write_segmentation(path: Path, arrays: LabelArrays, plan: Plan, source: Path, kind: Coding = "LABELMAP") -> None:
    """Write a DICOM segmentation object; memory holds one block of the plane (`levels.BLOCK_PX`), or one chunk.

    Args:
        path: Where to; replaced atomically. Packed frames lie beside it meanwhile, once more.
        arrays: Labels of the working plane.
        plan: The plan they were made for.
        source: The slide: an instance of VL Whole Slide Microscopy.
        kind: How the pixels are stored.

    Raises:
        ProductRefused: The slide is no tiled DICOM instance of a total pixel matrix, or the plane is too large for
            pixels that are not compressed.
    """
    header = read_source(source, plan, KIND)
    _share_measures(header)
    height, width = arrays.labels.shape
    described = [each for each in plan.classes if each.index]
    frames = -(-height // TILE_PX) * -(-width // TILE_PX)
    if kind == "BINARY":
        _require_native(frames * len(described) * FRAME_BYTES, (width, height))
    made = _header(header, plan, described, kind)
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = height, width
    made.NumberOfFrames = frames * (len(described) if kind == "BINARY" else 1)
    with atomic_write(path) as temporary:
        if kind == "BINARY":
            _write_native(temporary, made, arrays.labels, described)
        else:
            _write_packed(temporary, made, arrays.labels, described)


def _require_native(size_bytes: int, plane_px: tuple[int, int]) -> None:
    if size_bytes > NATIVE_MAX_BYTES:
        raise ProductRefused(
            "The result has too many pixels for a BINARY segmentation, which cannot be compressed.",
            value=f"{plane_px[0]} x {plane_px[1]}, {size_bytes} bytes",
            accepted=f"at most {NATIVE_MAX_BYTES} bytes; segmentation.dcm has no such limit",
        )


def _header(header: pydicom.Dataset, plan: Plan, described: Sequence[ModelClass], kind: Coding) -> Segmentation:
    """Return the segmentation of a plane of one frame, without its pixels.

    highdicom compares the plane with the source's: for it, the source has one frame too.
    """
    header.TotalPixelMatrixRows = header.TotalPixelMatrixColumns = TILE_PX
    made = Segmentation(
        source_images=[header],
        pixel_array=np.zeros((1, TILE_PX, TILE_PX), np.uint8),
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
    del made.PixelData
    return made


def _write_packed(path: Path, made: Segmentation, labels: PlaneArray, described: Sequence[ModelClass]) -> None:
    """Write header and run-length encoded frames, with a basic offset table, or an extended one past its 32 bits."""
    numbers = np.zeros(256, np.uint8)
    for number, each in enumerate(described, 1):
        numbers[each.index] = number
    with Levels(labels, path.parent, steps=(1,), pack=lambda pixels: run_lengths(numbers[pixels])) as frames:
        sizes = frames.sizes(1)
        offsets = np.cumsum(sizes + 8) - (sizes + 8)  # 8 bytes before each frame: tag and length of its item
        is_basic = offsets[-1] <= NATIVE_MAX_BYTES
        if not is_basic:
            made.ExtendedOffsetTable = offsets.astype("<u8").tobytes()
            made.ExtendedOffsetTableLengths = sizes.astype("<u8").tobytes()
        made.save_as(path)
        with path.open("ab") as file:
            file.write(_pixel_data(UNDEFINED_LENGTH))
            file.write(itemize_fragment(offsets.astype("<u4").tobytes() if is_basic else b""))
            for frame in frames.tiles(1):
                file.write(itemize_fragment(frame))
            file.write(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))  # end of the sequence of items


def _write_native(path: Path, made: Segmentation, labels: PlaneArray, described: Sequence[ModelClass]) -> None:
    """Write header and frames of one bit a px: all of the first segment, all of the second, …

    A frame is whole bytes, so each has its place before the plane is read; where there is nothing of a segment the file
    has a hole, which reads as zeros.
    """
    height, width = labels.shape
    down, across = -(-height // TILE_PX), -(-width // TILE_PX)
    made.save_as(path)
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(_pixel_data(down * across * len(described) * FRAME_BYTES))
        begin = file.tell()
        file.truncate(begin + down * across * len(described) * FRAME_BYTES)
        for tile in level_tiles(labels, (1,)):
            pixels = tile.padded()
            for place, each in enumerate(described):
                mask = pixels == each.index
                if mask.any():
                    file.seek(begin + ((place * down + tile.row) * across + tile.col) * FRAME_BYTES)
                    file.write(np.packbits(mask, bitorder="little").tobytes())


def run_lengths(pixels: UInt8) -> bytes:
    """Return a frame of one byte a px as DICOM's RLE: a header of 64 bytes and rows in PackBits, of even length."""
    packed = bytes(imagecodecs.packbits_encode(pixels, axis=-1))
    return struct.pack("<16L", 1, 64, *[0] * 14) + packed + b"\0" * (len(packed) % 2)


def _pixel_data(length: int) -> bytes:
    """Return tag, type and length of the pixel data."""
    return struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, length)


def _share_measures(header: pydicom.Dataset) -> None:
    """Give all frames the pixel measures of the first, where each has its own: one matrix has one spacing."""
    groups = [group for name in GROUPS for group in (header.get(name) or ())[:1] if "PixelMeasuresSequence" in group]
    if not groups or not groups[0].PixelMeasuresSequence[0].get("PixelSpacing"):
        raise KIND.refusal("does not say how large its pixels are", None)
    header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = groups[0].PixelMeasuresSequence


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
