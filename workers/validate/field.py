"""Truth on the grid of the model: of a region its labels, and which pixels are one object.

A pixel belongs to an annotation if its centre does, by the even-odd rule, as it does to a region of interest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.core.errors.base import RequestInvalid
from workers.core.roi.polygons import MultiPolygon, parts_bounds
from workers.pipeline.roi import Mask, RoiMask
from workers.pipeline.tiling import Box, WorkingPlane
from workers.validate.truth import IGNORE, Shape, Truth

FIELD_PX: Final = 2**25
"""Most working px of a region's box: they are compared at once, in some 30 bytes each."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One region.

    Args:
        name: What it is called.
        box: Where it lies on the working plane.
        labels: uint8 (height, width), class index; `IGNORE` where nothing counts.
        objects: int32 of the same shape, numbers of the annotations, from 1 in the order of the truth's shapes; 0
            where there is none, or one of the background.
        seen: Numbers of the annotations that have a pixel that counts, also of those that lie under others.
    """

    name: str
    box: Box
    labels: NDArray[np.uint8]
    objects: NDArray[np.int32]
    seen: frozenset[int]

    @property
    def counts(self) -> Mask:
        """The pixels that count."""
        counted: Mask = self.labels != IGNORE
        return counted


def fields_of(truth: Truth, plane: WorkingPlane) -> Iterator[Field]:
    """Yield the regions one after the other, in the order of the file. What two of them share counts in the first.

    Raises:
        RequestInvalid: A region is too large, or holds no pixel that counts.
    """
    boxes = [field_box(region, plane) for region in truth.regions]
    for index, (region, box) in enumerate(zip(truth.regions, boxes, strict=True)):
        inside = _mask(region.polygons, box, plane)
        for earlier, other in zip(truth.regions[:index], boxes[:index], strict=True):
            if (shared := _shared(box, other)) is not None:
                inside[_place(shared, box)] &= ~_mask(earlier.polygons, shared, plane)
        yield _field(region.name, box, inside, truth.shapes, plane)


def field_box(region: Shape, plane: WorkingPlane) -> Box:
    """Return the box of the working plane that holds a region's part of the slide.

    Raises:
        RequestInvalid: It is too large, or has no pixel.
    """
    box = _box(region.polygons, plane)
    if box is None:
        raise RequestInvalid(f"{region.name} holds no pixel of the model.", accepted="a larger region")
    if box.width * box.height > FIELD_PX:
        raise RequestInvalid(
            f"{region.name} is too large to be compared at once.",
            value=f"a box of {box.width} x {box.height} px of the model",
            accepted=f"at most {FIELD_PX} px; draw it in several parts",
        )
    return box


def _field(name: str, box: Box, inside: Mask, shapes: tuple[Shape, ...], plane: WorkingPlane) -> Field:
    for _, _, place, mask in _drawn(box, shapes, plane, ignored=True):
        inside[place] &= ~mask
    if not inside.any():
        raise RequestInvalid(f"{name} holds no pixel of the model that counts.", accepted="a larger region")
    labels = np.where(inside, 0, IGNORE).astype(np.uint8)
    objects = np.zeros(inside.shape, np.int32)
    seen = set()
    for number, label, place, mask in _drawn(box, shapes, plane, ignored=False):
        own = mask & inside[place]
        if own.any():
            seen.add(number)
            labels[place][own] = label
            objects[place][own] = number if label else 0
    return Field(name, box, labels, objects, frozenset(seen))


def _drawn(
    box: Box, shapes: tuple[Shape, ...], plane: WorkingPlane, *, ignored: bool
) -> Iterator[tuple[int, int, tuple[slice, slice], Mask]]:
    """Yield of the shapes that reach into a box number, label, place within the box, and pixels there."""
    for number, shape in enumerate(shapes, 1):
        if (shape.label == IGNORE) != ignored:
            continue
        own = _box(shape.polygons, plane)
        shared = None if own is None else _shared(box, own)
        if shared is not None:
            yield number, shape.label, _place(shared, box), _mask(shape.polygons, shared, plane)


def _mask(polygons: MultiPolygon, box: Box, plane: WorkingPlane) -> Mask:
    return RoiMask.from_roi(polygons).crop(box, plane)


def _box(polygons: MultiPolygon, plane: WorkingPlane) -> Box | None:
    """Return the box of the plane that holds all pixels whose centres polygons may hold; None if the plane has none."""
    x0, y0, x1, y1 = np.array(parts_bounds(polygons)).T
    left, top = max(0, floor(x0.min() / float(plane.scale_x))), max(0, floor(y0.min() / float(plane.scale_y)))
    right = min(plane.w_width, ceil(x1.max() / float(plane.scale_x)))
    bottom = min(plane.w_height, ceil(y1.max() / float(plane.scale_y)))
    return Box(left, top, right - left, bottom - top) if left < right and top < bottom else None


def _shared(one: Box, other: Box) -> Box | None:
    left, top = max(one.w_x, other.w_x), max(one.w_y, other.w_y)
    right = min(one.w_x + one.width, other.w_x + other.width)
    bottom = min(one.w_y + one.height, other.w_y + other.height)
    return Box(left, top, right - left, bottom - top) if left < right and top < bottom else None


def _place(part: Box, box: Box) -> tuple[slice, slice]:
    """Return the (rows, columns) of a box within another one."""
    top, left = part.w_y - box.w_y, part.w_x - box.w_x
    return slice(top, top + part.height), slice(left, left + part.width)
