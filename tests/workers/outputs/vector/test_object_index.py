"""The index of objects against its table: places by plain geometry, orders by sorting, and all of it read back."""

import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from server.results import objects as served
from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass
from workers.core.objects.index import ObjectIndex
from workers.outputs.vector import object_index
from workers.outputs.vector.object_table import SCHEMA

CELL = 100
CLASSES = tuple(ModelClass(index=i, name=f"class {i}", color=(i, i, i)) for i in range(4))


def star(random: np.random.Generator, x: float, y: float) -> shapely.Polygon:
    """A polygon with dents, and in two of three a hole, that stays within its cell."""
    angles = np.sort(random.uniform(0, 2 * math.pi, 20))
    radii = random.uniform(20, 48, 20)
    outer = shapely.Polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)])
    return outer.difference(shapely.Point(x, y).buffer(8)) if random.integers(3) else outer


def shapes_of(seed: int, side: int) -> list[shapely.Polygon]:
    random = np.random.default_rng(seed)
    found = [star(random, (i % side + 0.5) * CELL, (i // side + 0.5) * CELL) for i in range(side * side)]
    return [each for each in found if each.geom_type == "Polygon"]


def write_table(path: Path, shapes: list[shapely.Polygon], seed: int, rows: int = 40) -> list[dict[str, Any]]:
    """Write a table of objects in row groups of so many rows; return its rows."""
    random = np.random.default_rng(seed)
    found = []
    for i, shape in enumerate(shapes):
        x0, y0, x1, y1 = shape.bounds
        numbers = dict.fromkeys(
            ("perimeter_um", "major_axis_um", "minor_axis_um", "circularity", "haematoxylin_od"), 1.0
        )
        index = int(random.integers(1, 4))
        found.append(
            numbers
            | {"id": str(uuid.UUID(int=i + (seed << 64))), "class": f"class {index}", "class_index": index}
            | {"x": shape.centroid.x, "y": shape.centroid.y, "area_um2": round(float(random.uniform(1, 9)), 1)}
            | {"bbox": {"xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1}, "confidence": round(float(random.random()), 2)}
            | {"touches_border": bool(random.integers(2)), "geometry": shapely.to_wkb(shape, byte_order=1)}
        )
    pq.write_table(pa.Table.from_pylist(found, SCHEMA), path, row_group_size=rows)
    return found


@pytest.fixture
def made(tmp_path: Path) -> tuple[ObjectIndex, list[dict[str, Any]], list[shapely.Polygon]]:
    shapes = shapes_of(3, 12)
    rows = write_table(tmp_path / "objects.parquet", shapes, 3)
    assert object_index.write_index(tmp_path / "objects.index", tmp_path / "objects.parquet", 2**30) == len(shapes)
    return ObjectIndex(tmp_path / "objects.index"), rows, shapes


def test_all_of_the_table_is_told(made: tuple[ObjectIndex, list[dict[str, Any]], list[shapely.Polygon]]) -> None:
    index, rows, shapes = made
    told = served.views(index, range(index.rows), CLASSES, shapes=True)
    for view, row, shape in zip(told, rows, shapes, strict=True):
        assert (view.id, view.class_name, view.class_index) == (row["id"], row["class"], row["class_index"])
        for name in ("x", "y", "area_um2", "confidence", "touches_border"):
            assert getattr(view, name) == row[name]
        assert view.bbox == tuple(row["bbox"].values())
        assert view.rings is not None
        assert shapely.Polygon(view.rings[0], view.rings[1:]).equals(shape)


def test_a_place_finds_the_object_that_holds_it_and_no_other(
    made: tuple[ObjectIndex, list[dict[str, Any]], list[shapely.Polygon]],
) -> None:
    index, _, shapes = made
    places = np.random.default_rng(0).uniform(-20, 12 * CELL + 20, (1500, 2))
    kinds = set()
    for x, y in places.tolist():
        holders = [i for i, shape in enumerate(shapes) if shape.contains(shapely.Point(x, y))]
        in_box = [i for i, shape in enumerate(shapes) if shapely.box(*shape.bounds).contains(shapely.Point(x, y))]
        assert served.row_at(index, x, y) == (holders[0] if holders else None), (x, y)
        kinds.add((len(holders), len(in_box)))
    assert {(1, 1), (0, 1), (0, 0)} <= kinds  # within one, in a dent or hole, beside all


@given(
    order=st.sampled_from(["position", "confidence", "-confidence", "area", "-area"]),
    class_index=st.none() | st.integers(1, 3),
    least=st.sampled_from([0.0, 0.25, 0.5]),
    most=st.sampled_from([1.0, 0.75]),
    box=st.none() | st.tuples(*[st.floats(0, 900)] * 2),
)
def test_orders_and_choices_are_those_of_sorting_and_leaving_out(
    order: served.Order, class_index: int | None, least: float, most: float, box: tuple[float, float] | None,
    sorted_once: tuple[ObjectIndex, list[dict[str, Any]]],
) -> None:  # fmt: skip
    index, rows = sorted_once
    whole = None if box is None else (*box, box[0] + 300, box[1] + 200)
    found = served.find_rows(index, served.Question(order, class_index, whole, (least, most))).tolist()
    kept = [
        i for i, row in enumerate(rows)
        if class_index in (None, row["class_index"]) and least <= row["confidence"] <= most
        and (whole is None or shapely.box(*row["bbox"].values()).intersects(shapely.box(*whole)))
    ]  # fmt: skip
    assert sorted(found) == kept
    name = {"confidence": "confidence", "area": "area_um2"}.get(order.removeprefix("-"))
    values = [rows[i][name] if name else i for i in found]
    assert values == sorted(values, reverse=order.startswith("-"))


@pytest.fixture(scope="module")
def sorted_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[ObjectIndex, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("sorted")
    rows = write_table(folder / "objects.parquet", shapes_of(4, 10), 4)
    object_index.write_index(folder / "objects.index", folder / "objects.parquet", 2**30)
    return ObjectIndex(folder / "objects.index"), rows


def test_a_polygon_that_is_too_long_is_told_by_its_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [shape] = shapes_of(5, 1)
    write_table(tmp_path / "t.parquet", [shape], 5)
    monkeypatch.setattr(object_index, "SHAPE_BYTES_MAX", 100)
    object_index.write_index(tmp_path / "i", tmp_path / "t.parquet", 2**30)
    index = ObjectIndex(tmp_path / "i")
    [view] = served.views(index, [0], CLASSES, shapes=True)
    assert view.rings is not None
    assert shapely.Polygon(view.rings[0]).equals(shapely.box(*shape.bounds))
    assert served.row_at(index, *shape.representative_point().coords[0]) is None


def test_a_job_without_objects_has_an_empty_index(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", [], 0)
    assert object_index.write_index(tmp_path / "i", tmp_path / "t.parquet", 2**30) == 0
    index = ObjectIndex(tmp_path / "i")
    assert served.row_at(index, 5, 5) is None
    assert served.find_rows(index, served.Question("confidence")).tolist() == []


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProductRefused, match="no table of objects"):
        object_index.write_index(tmp_path / "i", tmp_path / "t.parquet", 2**30)
    write_table(tmp_path / "t.parquet", shapes_of(1, 3), 1)
    with pytest.raises(ProductRefused, match="too many objects"):
        object_index.write_index(tmp_path / "i", tmp_path / "t.parquet", 100)
    (tmp_path / "i").write_bytes(b"something else, of some length")
    with pytest.raises(ValueError, match="begins with"):
        ObjectIndex(tmp_path / "i")
