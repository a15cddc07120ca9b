"""A few of a job's many objects, by place, by order and by number; and how many there are where.

Frames: level-0 px of the full plane.
"""

import uuid
from collections.abc import Sequence
from math import ceil
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from server.results.features import WKB_CORNER_BYTES, Box, rings_of
from workers.core.errors.base import RequestInvalid
from workers.core.frozen import Frozen
from workers.core.model.schemas import ModelClass
from workers.core.objects.index import ObjectIndex
from workers.core.schemas import Plan

Order = Literal["position", "confidence", "-confidence", "area", "-area"]
Rows = NDArray[np.intp]

CORNERS_MAX = 20_000
"""Of a polygon that is told; one with more is told by its box."""
CANDIDATES_MAX = 256
"""Objects whose boxes hold a place and whose polygons are looked at, the smallest first."""
CELLS_MAX = 200
"""Of a density map, along the longer side."""
CELL_UM = 50
"""The smallest cell. Larger ones are 2, 4, 10, 20, 40, 100, … times as wide."""
ACCEPTED_PLACE = "x,y in level-0 px of the full plane, for example 1024,2048"


class ObjectView(Frozen):
    """One object of a job, as `objects.parquet` has it."""

    id: str = Field(description="The UUID of its polygon.")
    row: int = Field(description="Which row of `objects.parquet` it is, from 0.")
    class_name: str
    class_index: int
    x: float = Field(description="Mean of its px, level-0 px.")
    y: float
    bbox: tuple[float, float, float, float] = Field(description="Level-0 px: xmin, ymin, xmax, ymax.")
    area_um2: float
    confidence: float = Field(description="Mean of the model's probability, 0 to 1.")
    touches_border: bool
    rings: list[list[list[float]]] | None = Field(
        default=None, description="Its polygon, outer ring first, level-0 px, if `shapes` was asked for."
    )


class ObjectPage(Frozen):
    """Some objects, and how many there are of this question in all."""

    items: tuple[ObjectView, ...]
    total: int
    next_cursor: str | None = None


class Density(Frozen):
    """How many objects there are where: a grid of square cells that begins at the slide's corner."""

    cell_um: float = Field(description="Side of a cell.")
    cell_px: tuple[float, float] = Field(description="Its width and height, level-0 px.")
    columns: int
    rows: int
    counts: list[int] = Field(description="Objects whose mean lies in the cell, row by row.")
    per_mm2: list[float] = Field(description="The same per mm² of the cell, as far as that lies on the slide.")


class Question(NamedTuple):
    """Which objects are asked for, and in which order."""

    order: Order = "position"
    class_index: int | None = None
    box: Box | None = None
    confidence: tuple[float, float] = (0.0, 1.0)


def parse_place(text: str) -> tuple[float, float]:
    """Return a position of two numbers.

    Raises:
        RequestInvalid: They are not two, or not finite.
    """
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RequestInvalid("at: not two numbers.", value=text[:200], accepted=ACCEPTED_PLACE) from error
    if not np.isfinite((x, y)).all():
        raise RequestInvalid("at: no place.", value=text[:200], accepted=ACCEPTED_PLACE)
    return x, y


def find_rows(index: ObjectIndex, question: Question) -> Rows:
    """Return the rows of all objects of a question, in its order. A box finds those whose own boxes touch it."""
    name = question.order.removeprefix("-")
    rows: Rows = np.arange(index.rows) if name == "position" else index.column(f"by_{name}").astype(np.intp)
    if question.order.startswith("-"):
        rows = rows[::-1]
    keep = np.ones(index.rows, np.bool_)
    if question.class_index is not None:
        keep &= index.column("class_index") == question.class_index
    least, most = question.confidence
    if (least, most) != (0.0, 1.0):
        confidence = index.column("confidence")
        keep &= (confidence >= least) & (confidence <= most)
    if question.box is not None:
        x0, y0, x1, y1 = question.box
        keep &= (index.column("xmax") >= x0) & (index.column("xmin") <= x1)
        keep &= (index.column("ymax") >= y0) & (index.column("ymin") <= y1)
    return rows[keep[rows]]


def row_at(index: ObjectIndex, x: float, y: float) -> int | None:
    """Return the row of the object that holds a place; None if there is none. Of a border, one side belongs to it."""
    near = (index.column("xmin") <= x) & (index.column("xmax") >= x)
    near &= (index.column("ymin") <= y) & (index.column("ymax") >= y)
    rows = np.flatnonzero(near)
    width, height = (index.column(f"{side}max")[rows] - index.column(f"{side}min")[rows] for side in "xy")
    for row in rows[np.argsort(width * height, kind="stable")][:CANDIDATES_MAX].tolist():
        shape = index.shape(row)
        if shape is not None and holds(rings_of(shape), x, y):
            return int(row)
    return None


def holds(rings: Sequence[Any], x: float, y: float) -> bool:
    """Whether a place lies within rings, by the number of edges to its right: holes are outside."""
    is_in = False
    for ring in rings:
        points = np.asarray(ring, np.float64)
        (x0, y0), (x1, y1) = points[:-1].T, points[1:].T
        crosses = (y0 > y) != (y1 > y)
        x0, y0, x1, y1 = x0[crosses], y0[crosses], x1[crosses], y1[crosses]
        is_in ^= bool(np.count_nonzero(x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)) % 2)
    return is_in


def views(index: ObjectIndex, rows: Sequence[int], classes: Sequence[ModelClass], *, shapes: bool) -> list[ObjectView]:
    """Return objects as they are told."""
    names = {each.index: each.name for each in classes}
    columns = {
        name: index.column(name) for name in ("x", "y", "area_um2", "confidence", "xmin", "ymin", "xmax", "ymax")
    }
    found = []
    for row in rows:
        known = {name: float(column[row]) for name, column in columns.items()}
        box = tuple(known.pop(name) for name in ("xmin", "ymin", "xmax", "ymax"))
        class_index = int(index.column("class_index")[row])
        found.append(
            ObjectView(
                id=str(uuid.UUID(bytes=index.column("id")[row].tobytes())),
                row=row,
                class_name=names[class_index],
                class_index=class_index,
                bbox=box,
                touches_border=bool(index.column("touches_border")[row]),
                rings=_rings(index, row) if shapes else None,
                **known,
            )
        )
    return found


def _rings(index: ObjectIndex, row: int) -> list[list[list[float]]]:
    shape = index.shape(row)
    if shape is not None and len(shape) <= CORNERS_MAX * WKB_CORNER_BYTES:
        return rings_of(shape)
    x0, y0, x1, y1 = (float(index.column(name)[row]) for name in ("xmin", "ymin", "xmax", "ymax"))
    return [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]


def density_of(index: ObjectIndex, plan: Plan, class_index: int | None) -> Density:
    """Return how many objects there are where, in cells of a round number of µm, `CELLS_MAX` a side at most."""
    l0_width, l0_height = plan.geometry.l0_width, plan.geometry.l0_height
    um = max(l0_width * plan.mpp_x, l0_height * plan.mpp_y)
    cell_um = next(side for side in _sides() if um <= CELLS_MAX * side)
    wide, high = cell_um / plan.mpp_x, cell_um / plan.mpp_y
    columns, rows = ceil(l0_width / wide), ceil(l0_height / high)
    keep = slice(None) if class_index is None else index.column("class_index") == class_index
    col = np.clip((index.column("x")[keep] / wide).astype(np.intp), 0, columns - 1)
    row = np.clip((index.column("y")[keep] / high).astype(np.intp), 0, rows - 1)
    counts = np.bincount(row * columns + col, minlength=rows * columns)
    across = np.minimum(l0_width - np.arange(columns) * wide, wide) * plan.mpp_x
    down = np.minimum(l0_height - np.arange(rows) * high, high) * plan.mpp_y
    per_mm2 = counts.reshape(rows, columns) / (down[:, None] * across) * 1e6
    return Density(
        cell_um=cell_um,
        cell_px=(wide, high),
        columns=columns,
        rows=rows,
        counts=counts.tolist(),
        per_mm2=np.round(per_mm2, 3).ravel().tolist(),
    )


def _sides() -> list[float]:
    return [CELL_UM * step * 10.0**power for power in range(8) for step in (1, 2, 4)]
