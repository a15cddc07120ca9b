"""The regions through the pipeline, and labels and objects against the truth, counted as `ldiffusion evaluate` does."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as components

from models.training.evaluation.instances import instance_counts
from models.training.evaluation.metrics import confusion_matrix
from models.training.evaluation.splitting import at_least
from models.training.evaluation.summary import Measured, ObjectCounts, Reference
from workers.core.checks import unchecked
from workers.core.schemas import Plan
from workers.core.slide_schemas import TrustWarning
from workers.pipeline import stitch
from workers.pipeline.inference import Segmenter
from workers.pipeline.objects import make_objects
from workers.pipeline.sparse import PlaneArray
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import Box, WorkingPlane
from workers.segment import Run, label
from workers.validate.field import Field, fields_of
from workers.validate.truth import Truth

BAND_ROWS: Final = 512
"""Rows of a region that are counted at once."""


def compare(run: Run, truth: Truth, load: Callable[[], Segmenter]) -> tuple[Measured, tuple[TrustWarning, ...]]:
    """Segment the regions of a truth, and count.

    Args:
        run: The slide, with the regions for a region of interest, and an empty folder.
        truth: What was annotated.
        load: Loads the model.

    Returns:
        The counts, region by region, and why the labels cannot be trusted as they are.
    """
    plan, _ = label(run, load)
    if plan.objects.interior:
        make_objects(run.out_dir, plan, unchecked)
    fields = fields_of(truth, WorkingPlane.from_plan(plan))
    return measure(fields, stitch.open_labels(run.out_dir), plan), plan.warnings


def measure(fields: Iterable[Field], arrays: LabelArrays, plan: Plan) -> Measured:
    """Count region by region.

    Args:
        fields: The truth of the regions, which are read one after the other.
        arrays: Of a job in whose region of interest they lie.
        plan: Its plan.
    """
    names, confusion, counts = [], [], []
    for field in fields:
        names.append(field.name)
        confusion.append(sum(_bands(field.labels, _block(arrays.labels, field.box), len(plan.classes))))
        found = objects_of(arrays, plan, field.box)
        counts.append(instance_counts(field.objects, np.where(field.counts, found, 0)))
    references: tuple[Reference, ...] = tuple("instances" for _ in names)
    objects_counted = ObjectCounts(np.stack(counts), references, "components" if arrays.objects is None else "model")
    return Measured(tuple(names), (plan.slide_id,) * len(names), np.stack(confusion), objects_counted)


def objects_of(arrays: LabelArrays, plan: Plan, box: Box) -> NDArray[np.int32]:
    """Number the objects that a job lists in a box of its plane, int32 (height, width), 0 where there is none."""
    plane = arrays.labels if arrays.objects is None else arrays.objects  # px of one object are equal in it, and touch
    numbers = components(_block(plane, box), background=0, connectivity=1)
    return at_least(numbers, plan.model_mpp, plan.objects.smallest_um2)


def _block(plane: PlaneArray, box: Box) -> NDArray[Any]:
    return np.asarray(plane[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width])


def _bands(reference: NDArray[np.uint8], found: NDArray[np.uint8], classes: int) -> Iterator[NDArray[np.int64]]:
    for top in range(0, len(reference), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        yield confusion_matrix(reference[rows], found[rows], classes)
