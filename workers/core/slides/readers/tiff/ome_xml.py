"""What the OME-XML of a TIFF says of its images: names, sizes of a pixel, channels, planes. Nothing is fetched.

The model is that of https://docs.openmicroscopy.org/ome-model/: Image, Pixels, Channel.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree as ET

from workers.core.errors.base import SlideUnreadable

MAX_BYTES = 16 * 2**20
UM_PER_UNIT = {
    "m": Fraction(10**6),
    "cm": Fraction(10**4),
    "mm": Fraction(1000),
    "µm": Fraction(1),
    "μm": Fraction(1),  # the Greek letter beside the micro sign
    "um": Fraction(1),
    "nm": Fraction(1, 1000),
    "pm": Fraction(1, 10**6),
    "Å": Fraction(1, 10**4),
    "in": Fraction(25400),
}
"""µm in the units of length of the OME model that a scanner may use; `pixel` and `reference frame` are no lengths."""


class OmeImage(NamedTuple):
    """One `Image` of the document.

    Attributes:
        name: As the file calls it.
        width: SizeX, px.
        height: SizeY, px.
        mpp: µm per px in x and y, None where the document does not say, or in no length.
        channels: Names of the channels, `""` for one without; one of several samples counts once.
        samples: Samples per pixel of the first channel.
        z_planes: SizeZ.
        times: SizeT.
    """

    name: str
    width: int
    height: int
    mpp: tuple[Fraction, Fraction] | None
    channels: tuple[str, ...]
    samples: int
    z_planes: int
    times: int


def ome_images(text: str) -> list[OmeImage]:
    """Return the images of an OME-XML document, in its order.

    Raises:
        SlideUnreadable: It is no OME-XML that makes sense.
    """
    if len(text) > MAX_BYTES or "<!ENTITY" in text:
        raise SlideUnreadable(
            "The OME-XML of this file is too large or declares entities.", accepted=f"at most {MAX_BYTES} bytes"
        )
    try:
        root = ET.fromstring(text)  # noqa: S314  no entity is declared in it, and nothing is fetched
        return [_image(element) for element in _children(root, "Image")]
    except (ET.ParseError, ValueError, KeyError, StopIteration) as error:
        raise SlideUnreadable("The OME-XML of this file makes no sense.", value=str(error)[:100]) from error


def _image(element: ET.Element) -> OmeImage:
    pixels = next(_children(element, "Pixels"))
    channels = list(_children(pixels, "Channel"))
    mpp_x, mpp_y = _mpp(pixels, "X"), _mpp(pixels, "Y")
    return OmeImage(
        name=element.get("Name", ""),
        width=int(pixels.attrib["SizeX"]),
        height=int(pixels.attrib["SizeY"]),
        mpp=(mpp_x, mpp_y) if mpp_x is not None and mpp_y is not None else None,
        channels=tuple(channel.get("Name", "") for channel in channels),
        samples=int(channels[0].get("SamplesPerPixel", "1")) if channels else 1,
        z_planes=int(pixels.get("SizeZ", "1")),
        times=int(pixels.get("SizeT", "1")),
    )


def _mpp(pixels: ET.Element, axis: str) -> Fraction | None:
    raw = pixels.get(f"PhysicalSize{axis}")
    per_unit = UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    if raw is None or per_unit is None or not re.fullmatch(r"\+?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?", raw.strip()):
        return None
    return Fraction(raw.strip()) * per_unit


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Yield the children of this name in whichever year's namespace of the OME model."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)
