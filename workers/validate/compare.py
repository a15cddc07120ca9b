"""The regions through the pipeline, and labels and objects against the truth, counted as `ldiffusion evaluate` does."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.config import ObjectConfig
from models.training.evaluation.instances import instance_counts
from models.training.evaluation.metrics import confusion_matrix
from models.training.evaluation.splitting import class_objects
from models.training.evaluation.summary import Measured, ObjectCounts, Reference, SplitBy
from workers.core.schemas import Plan
from workers.core.slide_schemas import TrustWarning
from workers.pipeline import stitch
from workers.pipeline.inference import Segmenter
from workers.pipeline.stitch import LabelArrays
from workers.pipeline.tiling import Box, WorkingPlane
from workers.segment import Run, label
from workers.validate.field import Field, fields_of
from workers.validate.truth import Truth

BAND_ROWS: Final = 512
"""Rows of a region that are counted at once."""

SPLIT_BY: Final[SplitBy] = "components"
"""How `objects_of` tells objects apart."""


def compare(
    run: Run, truth: Truth, load: Callable[[], Segmenter], objects: ObjectConfig
) -> tuple[Measured, tuple[TrustWarning, ...]]:
    """Segment the regions of a truth, and count.

    Args:
        run: The slide, with the regions for a region of interest, and an empty folder.
        truth: What was annotated.
        load: Loads the model.
        objects: What the model counts as one object.

    Returns:
        The counts, region by region, and why the labels cannot be trusted as they are.
    """
    plan, _ = label(run, load)
    fields = fields_of(truth, WorkingPlane.from_plan(plan))
    return measure(fields, stitch.open_labels(run.out_dir), plan, objects), plan.warnings


def measure(fields: Iterable[Field], arrays: LabelArrays, plan: Plan, objects: ObjectConfig) -> Measured:
    """Count region by region.

    Args:
        fields: The truth of the regions, which are read one after the other.
        arrays: Of a job in whose region of interest they lie.
        plan: Its plan.
        objects: What the model counts as one object.
    """
    names, confusion, counts = [], [], []
    for field in fields:
        names.append(field.name)
        confusion.append(sum(_bands(field.labels, _labels(arrays, field.box), len(plan.classes))))
        found = objects_of(arrays, plan, objects, field.box)
        counts.append(instance_counts(field.objects, np.where(field.counts, found, 0)))
    references: tuple[Reference, ...] = tuple("instances" for _ in names)
    objects_counted = ObjectCounts(np.stack(counts), references, SPLIT_BY)
    return Measured(tuple(names), (plan.slide_id,) * len(names), np.stack(confusion), objects_counted)


def objects_of(arrays: LabelArrays, plan: Plan, objects: ObjectConfig, box: Box) -> NDArray[np.int32]:
    """Number the objects that a job lists in a box of its plane, int32 (height, width), 0 where there is none."""
    return class_objects(_labels(arrays, box), None, plan.model_mpp, objects)


def _labels(arrays: LabelArrays, box: Box) -> NDArray[np.uint8]:
    return np.asarray(arrays.labels[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width], np.uint8)


def _bands(reference: NDArray[np.uint8], found: NDArray[np.uint8], classes: int) -> Iterator[NDArray[np.int64]]:
    for top in range(0, len(reference), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        yield confusion_matrix(reference[rows], found[rows], classes)
