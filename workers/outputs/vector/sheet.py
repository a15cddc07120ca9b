"""What shapes are drawn on, and what every file of them tells: identifiers, measures, boundaries."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha1
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.outputs.vector.contours import COLUMN_BITS, KIND_BITS, Outlines, Shapes, outlines
from workers.outputs.vector.measures import Measures, measure
from workers.pipeline.tiling import WorkingPlane, exact

DECIMALS = 4
"""Decimals of a measurement, and of a coordinate where the scale is no whole number."""

VERSION_BYTE, VARIANT_BYTE = 6, 8
"""Bytes of a UUID whose upper bits say how it was made: of a name, by SHA-1."""
HEX = np.array([f"{value:02x}" for value in range(256)], "S2")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What shapes are drawn on: a plane of pixels over the slide.

    Args:
        name: Of the sheet; part of the identifiers of its polygons.
        l0_x: Level-0 position of each corner of its columns, as text.
        l0_y: The same of its rows.
        um2_per_pixel: Area of a pixel.
        classes: What its values mean.
        mpp: µm per px where shapes are objects of the job; None where their area is all that is measured.
    """

    name: str
    l0_x: Sequence[str]
    l0_y: Sequence[str]
    um2_per_pixel: Fraction
    classes: Sequence[ModelClass]
    mpp: Fraction | None = None

    @classmethod
    def from_plan(cls, plan: Plan) -> "Sheet":
        """Return the working plane."""
        plane, mpp = WorkingPlane.from_plan(plan), exact(plan.model_mpp)
        columns, rows = l0_texts(plane.scale_x, plan.w_width), l0_texts(plane.scale_y, plan.w_height)
        return cls(f"urn:ldiffusion:job:{plan.job_id}", columns, rows, mpp**2, plan.classes, mpp)

    def ids(self, shapes: Shapes) -> NDArray[np.bytes_]:
        """Return the UUID of each shape, S36: the same each time, of the sheet, its class and its first px.

        The first corner of a shape is the upper left one of its first pixel: it names it whatever else changes.
        """
        corners = shapes.corners[shapes.offsets[:-1]]
        w_y, w_x = corners >> (KIND_BITS + COLUMN_BITS), corners >> KIND_BITS & ((1 << COLUMN_BITS) - 1)
        places = (w_y * (len(self.l0_x) - 1) + w_x).tolist()
        space = sha1(uuid.uuid5(uuid.NAMESPACE_URL, self.name).bytes, usedforsecurity=False)
        digests = []
        for value, place in zip(shapes.value.tolist(), places, strict=True):
            digest = space.copy()
            digest.update(b"%d/%d" % (value, place))
            digests.append(digest.digest())
        return _uuid5(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, space.digest_size))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Shapes, and what every file of them tells.

    Args:
        shapes: Some of a plane.
        ids: The UUID of each.
        measures: What their boundaries tell; None on a sheet of which the area is all that is measured.
        outlines: What is drawn of each.
    """

    shapes: Shapes
    ids: NDArray[np.bytes_]
    measures: Measures | None
    outlines: Outlines

    @classmethod
    def on(cls, sheet: Sheet, shapes: Shapes, drawn: Outlines | None = None) -> "Drawn":
        """Draw shapes on a sheet, with these outlines instead of their own if there are any."""
        measures = None if sheet.mpp is None else measure(shapes)
        return cls(shapes, sheet.ids(shapes), measures, outlines(shapes) if drawn is None else drawn)


def l0_texts(scale: Fraction, length: int) -> list[str]:
    """Return the level-0 position of working corners 0 … length, as decimal text without an exponent."""
    if scale.denominator == 1:
        return [str(w * scale.numerator) for w in range(length + 1)]
    unit = 10**DECIMALS
    texts = []
    for w in range(length + 1):
        whole, rest = divmod(round(w * scale * unit), unit)
        texts.append(f"{whole}.{rest:0{DECIMALS}d}".rstrip("0") if rest else str(whole))
    return texts


def _uuid5(digests: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return UUIDs as `uuid.uuid5` makes them of digests, all at once: there are millions."""
    values = digests[:, :16].copy()
    values[:, VERSION_BYTE] = values[:, VERSION_BYTE] & 0x0F | 0x50
    values[:, VARIANT_BYTE] = values[:, VARIANT_BYTE] & 0x3F | 0x80
    digits = HEX[values].view(np.uint8)
    text = np.full((len(values), 36), ord("-"), np.uint8)
    for dashes, (begin, end) in enumerate(pairwise((0, 8, 12, 16, 20, 32))):
        text[:, begin + dashes : end + dashes] = digits[:, begin:end]
    return text.view("S36")[:, 0]
