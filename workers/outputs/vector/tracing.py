"""The planes of a job → its objects with exact boundaries, band by band from top to bottom.

Objects are those of the plane of objects where the model gives an interior map, else the 4-connected components of each
class. Those smaller than the model's `smallest_um2` are told apart: they stay in the labels and leave everything else.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from workers.core.label_layout import CLASS_BITS
from workers.core.schemas import Plan
from workers.outputs.vector.components import Tracer
from workers.outputs.vector.contours import Shapes
from workers.pipeline.objects import smallest_px
from workers.pipeline.sparse import is_empty
from workers.pipeline.stitch import LabelArrays, band_height, read_numbers, read_rows

BAND_PX = 2**23
"""Pixels that are traced at once; half as many where they are numbers of objects."""

Weigh = Callable[[int, NDArray[np.unsignedinteger]], Sequence[NDArray[np.unsignedinteger]]]
"""Gives more weights of a band of pixels, from its first row and its labels or objects."""


def trace(arrays: LabelArrays, weigh: Weigh | None = None, weights: int = 0) -> Iterator[Shapes]:
    """Yield the shapes of all objects, ordered by (last row, first pixel); their values are class indices.

    Bands without an object cost a look: neither their confidence is read nor are they weighed.

    Args:
        arrays: The planes of a job.
        weigh: Gives planes that are summed over each object after the confidence.
        weights: How many it gives.
    """
    plane = arrays.labels if arrays.objects is None else arrays.objects
    height, width = plane.shape
    rows = band_height(plane, BAND_PX if arrays.objects is None else max(1, BAND_PX // 2))
    tracer = Tracer(width, 1 + weights)
    for w_y in range(0, height, rows):
        there = min(rows, height - w_y)
        if tracer.is_idle and is_empty(plane, (w_y, w_y + there)):
            tracer.skip(there)
            continue
        band = read_rows(plane, w_y, w_y + rows) if arrays.objects is None else read_numbers(plane, w_y, w_y + rows)
        if tracer.is_idle and not band.any():  # glass, or outside of a region of interest: nothing to weigh either
            tracer.skip(len(band))
            continue
        more = () if weigh is None else weigh(w_y, band)
        yield _with_classes(tracer.feed(band, read_rows(arrays.confidence, w_y, w_y + rows), *more))
    yield _with_classes(tracer.finish())


def large_enough(shapes: Shapes, plan: Plan) -> NDArray[np.bool_]:
    """Return which shapes are objects of the tables and polygons, by the model's `smallest_um2`."""
    smallest: NDArray[np.bool_] = shapes.pixels >= smallest_px(plan)
    return smallest


def counted(arrays: LabelArrays, plan: Plan) -> Iterator[Shapes]:
    """Yield the shapes of the objects that are large enough."""
    for shapes in trace(arrays):
        yield shapes.chosen(large_enough(shapes, plan))


def _with_classes(shapes: Shapes) -> Shapes:
    classes = (shapes.value & ((1 << CLASS_BITS) - 1)).astype(np.uint8)
    return Shapes(classes, shapes.pixels, shapes.sums, shapes.corners, shapes.offsets)
