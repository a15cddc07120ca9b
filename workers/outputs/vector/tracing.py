"""The planes of a job → its objects with exact boundaries, band by band from top to bottom.

Objects are those of the plane of objects where the model gives an interior map, else the 4-connected components of each
class. Those smaller than the model's `smallest_um2` are told apart: they stay in the labels and leave everything else.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from workers.core.checks import Check, unchecked
from workers.core.label_layout import CLASS_BITS
from workers.core.schemas import Plan
from workers.outputs.vector.bands import Weigh, bands
from workers.outputs.vector.components import Tracer
from workers.outputs.vector.contours import Shapes
from workers.outputs.vector.runs import Values
from workers.pipeline.objects import smallest_px
from workers.pipeline.stitch import LabelArrays, band_height

BAND_PX = 2**22
"""Pixels that are traced at once; half as many where they are numbers of objects."""


def trace(
    arrays: LabelArrays, weigh: Weigh | None = None, weights: int = 0, check: Check = unchecked
) -> Iterator[Shapes]:
    """Yield the shapes of all objects, ordered by (last row, first pixel); their values are class indices.

    Bands without an object cost a look: neither their confidence is read nor are they weighed.

    Args:
        arrays: The planes of a job.
        weigh: Gives planes that are summed over each object after the confidence; see `workers.outputs.vector.bands`.
        weights: How many it gives.
        check: Called for each band; raises if the work is no longer wanted.
    """
    plane, most, kind = arrays.labels, BAND_PX, "uint8"
    if arrays.objects is not None:
        plane, most, kind = arrays.objects, max(1, BAND_PX // 2), "uint32"

    def weighed(w_y: int, w_x: int, block: Values) -> Sequence[Values]:
        rows, columns = block.shape
        confidence = arrays.confidence[w_y : w_y + rows, w_x : w_x + columns]
        return confidence, *(() if weigh is None else weigh(w_y, w_x, block))

    tracer = Tracer(plane.shape[1], 1 + weights)
    for band in bands(plane, np.dtype(kind), band_height(plane, most), weighed):
        check()
        if tracer.is_idle and band.is_empty:  # glass, or outside of a region of interest
            tracer.skip(band.rows)
        else:
            yield _with_classes(tracer.feed(band.values(), band.runs(1 + weights)))
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
