"""What makes a tiled TIFF an OME-TIFF pyramid: its XML, its resolution tags, and how its levels hang together."""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import tifffile

from workers.core.class_colours import hex_color
from workers.core.model.schemas import ModelClass

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
CREATOR = "L-Diffusion Server"
CLASSES_NAMESPACE = "urn:ldiffusion:classes"
COLORS_NAMESPACE = "urn:ldiffusion:class-colors"
UM_PER_CM = 10_000
SUB_IFDS = 330


def ome_xml(
    name: str, width: int, height: int, mpp: Fraction, classes: Sequence[ModelClass], channel: str = "class index"
) -> bytes:
    """Return the OME-XML of one uint8 plane, `channel` saying what its values are.

    Pixel sizes are in µm; class names and colours are two MapAnnotations, keyed by index, if there are classes. The
    text is UTF-8 and the same for the same arguments. `µ` is never a character reference: Bio-Formats strips those
    before it parses, finds an unknown unit and falls back to a plain TIFF of one level.
    """
    root = ET.Element(
        "OME",
        {
            "xmlns": OME,
            "xmlns:xsi": XSI,
            "xsi:schemaLocation": f"{OME} {OME}/ome.xsd",
            "Creator": CREATOR,
        },
    )
    image = ET.SubElement(root, "Image", ID="Image:0", Name=name)
    sizes = {"SizeX": width, "SizeY": height, "SizeC": 1, "SizeZ": 1, "SizeT": 1}
    pixels = ET.SubElement(image, "Pixels", ID="Pixels:0", DimensionOrder="XYCZT", Type="uint8", SignificantBits="8")
    pixels.attrib |= {key: str(size) for key, size in sizes.items()}
    for axis in "XY":
        pixels.attrib |= {f"PhysicalSize{axis}": repr(float(mpp)), f"PhysicalSize{axis}Unit": "µm"}
    ET.SubElement(pixels, "Channel", ID="Channel:0:0", Name=channel, SamplesPerPixel="1")
    ET.SubElement(pixels, "TiffData", FirstC="0", FirstZ="0", FirstT="0", IFD="0", PlaneCount="1")
    if classes:
        _annotate(root, image, classes)
    body: bytes = ET.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + body


def _annotate(root: ET.Element, image: ET.Element, classes: Sequence[ModelClass]) -> None:
    annotations = ET.SubElement(root, "StructuredAnnotations")
    names = {each.index: each.name for each in classes}
    colors = {each.index: hex_color(each.color) for each in classes}
    for number, (namespace, texts) in enumerate({CLASSES_NAMESPACE: names, COLORS_NAMESPACE: colors}.items()):
        annotation_id = f"Annotation:{number}"
        ET.SubElement(image, "AnnotationRef", ID=annotation_id)
        value = ET.SubElement(
            ET.SubElement(annotations, "MapAnnotation", ID=annotation_id, Namespace=namespace), "Value"
        )
        for index, text in texts.items():
            ET.SubElement(value, "M", K=str(index)).text = text


def pixels_per_cm(mpp: Fraction) -> tuple[int, int]:
    """Return a TIFF resolution as the two 32-bit numbers of its tag, exact wherever they can hold it."""
    resolution = UM_PER_CM / mpp
    largest = 2**32 - 1
    exact_enough = resolution.limit_denominator(max(1, int(largest / max(resolution, Fraction(1)))))
    return exact_enough.numerator, exact_enough.denominator


def chain_levels(path: Path) -> None:
    """Link the SubIFDs of a BigTIFF's only page behind it as further pages, without moving a byte.

    Readers that know SubIFDs still find their levels there, and OpenSlide, which does not, now finds them as pages.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        order = tiff.byteorder
        offsets = [page.offset, *page.tags[SUB_IFDS].value] if SUB_IFDS in page.tags else [page.offset]
    with path.open("r+b") as file:
        for here, following in zip(offsets, [*offsets[1:], 0], strict=True):
            file.seek(here)
            (tag_count,) = struct.unpack(f"{order}Q", file.read(8))
            file.seek(here + 8 + 20 * tag_count)
            file.write(struct.pack(f"{order}Q", following))
