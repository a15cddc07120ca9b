"""How many objects of each class there are, those that are too small for tables and polygons included."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from workers.core.frozen import Frozen
from workers.core.schemas import Plan
from workers.outputs.vector.contours import Shapes
from workers.outputs.vector.tracing import large_enough, trace
from workers.pipeline.stitch import LabelArrays


class ClassObjects(Frozen):
    """The objects of one class."""

    count: int = Field(default=0, description="Large enough for tables and polygons.")
    small_count: int = Field(default=0, description="Smaller, and left out there.")
    small_pixels: int = Field(default=0, description="Working px of those.")
    largest_pixels: int = Field(default=0, description="Working px of the largest one.")
    largest_box: tuple[int, int, int, int] | None = Field(
        default=None, description="Its left, top, right and bottom, half-open, in working px; None without objects."
    )

    def with_shapes(self, index: int, shapes: Shapes, is_large: NDArray[np.bool_]) -> "ClassObjects":
        """Return the counts with those shapes added that are of class `index`."""
        mine = shapes.value == index
        small = shapes.pixels[mine & ~is_large]
        found = ClassObjects(
            count=self.count + int((mine & is_large).sum()),
            small_count=self.small_count + len(small),
            small_pixels=self.small_pixels + int(small.sum()),
            largest_pixels=self.largest_pixels,
            largest_box=self.largest_box,
        )
        largest = int(np.where(mine, shapes.pixels, 0).argmax()) if mine.any() else None
        if largest is None or shapes.pixels[largest] <= self.largest_pixels:
            return found
        here = {"largest_pixels": int(shapes.pixels[largest]), "largest_box": shapes.box(largest)}
        return found.model_copy(update=here)


class Counter:
    """Counts the objects of a plan's classes, shape by shape."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.counts = {each.index: ClassObjects() for each in plan.classes if each.index}

    def add(self, shapes: Shapes) -> Shapes:
        """Count shapes, and return those that are large enough."""
        is_large = large_enough(shapes, self._plan)
        self.counts = {index: each.with_shapes(index, shapes, is_large) for index, each in self.counts.items()}
        return shapes.chosen(is_large)


def count_objects(arrays: LabelArrays, plan: Plan) -> dict[int, ClassObjects]:
    """Trace a plane for its counts alone: class index → objects."""
    counter = Counter(plan)
    for shapes in trace(arrays):
        counter.add(shapes)
    return counter.counts
