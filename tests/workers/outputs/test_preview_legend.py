"""The legend of the preview tells how many objects there are, where they were counted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workers.core.schemas import Plan
from workers.outputs import drawing, lettering, preview, statistics
from workers.outputs.vector.counts import ClassObjects
from workers.pipeline.stitch import LabelArrays


def test_legend_rows_count_objects_where_they_were_counted(
    make_plan: Callable[..., Plan], watched: Callable[..., Any]
) -> None:
    labels = np.zeros((1000, 2000), np.uint8)
    labels[:, :500] = 1
    arrays, plan = LabelArrays(watched(labels, 512), watched(labels, 512)), make_plan(2000, 1000)
    objects = {1: ClassObjects(count=1234), 2: ClassObjects(), 3: ClassObjects()}
    counted = statistics.compute(arrays, None, plan, objects)
    assert preview.legend_head(counted) == ("mm²", "of tissue", "objects", "per mm²")
    cells = {row.name: row.cells[2:] for row in preview.legend_rows(plan.classes, counted)}
    assert cells["nucleus"] == ("1,234", f"{1234 / counted.tissue_mm2:,.0f}") == ("1,234", "2,468")
    assert (cells["stroma"], cells["background"]) == (("0", "0"), ("-", "-"))
    bare = statistics.compute(arrays, None, plan)
    assert preview.legend_head(bare) == ("mm²", "of tissue")
    assert {len(row.cells) for row in preview.legend_rows(plan.classes, bare)} == {2}


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "-"), (0, "0"), (0.0, "0"), (0.25, "0.25"), (12.5, "12.5"), (99.96, "100"), (3456.4, "3,456"),
     (789_012, "789,012"), (999_999.7, "1 M"), (1_234_567, "1.23 M")],
)  # fmt: skip
def test_numbers_have_room_in_a_column(number: float | None, text: str) -> None:
    assert preview.short_number(number) == text
    assert lettering.width_of(text, 20) < drawing.NARROW_COLUMN_PX
