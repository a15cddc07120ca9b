"""Polygons where touching objects are told apart: one for each, with shared borders; the small ones are left out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely

from workers.core.model.schemas import ObjectRules
from workers.core.schemas import Plan
from workers.outputs.vector import tracing, vectorize
from workers.pipeline.stitch import LabelArrays

MakePlan = Callable[..., Plan]
CELL = np.uint32(256)


@pytest.fixture
def planes(watched: Callable[..., Any]) -> LabelArrays:
    """Two classes in blots; objects are their parts within crooked cells, so most of them touch others."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:150, :190]
    labels = ((np.sin(x / 9) + np.cos(y / 7) + rng.normal(0, 0.2, x.shape)) > 0).astype(np.uint8)
    labels[labels > 0] += ((x + 2 * y) // 40 % 2).astype(np.uint8)[labels > 0]
    cells = ((x + y // 3) // 11 + (y + x // 5) // 9 * 40 + 1).astype(np.uint32)
    numbers = np.where(labels > 0, cells * CELL + labels, 0).astype(np.uint32)
    confidence = rng.integers(0, 256, labels.shape, dtype=np.uint8)
    return LabelArrays(watched(labels, 64), watched(confidence, 64), objects=watched(numbers, 64))


def polygons(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))["features"]
    return found


def test_each_object_is_one_polygon_and_what_touches_shares_a_border(
    make_plan: MakePlan, planes: LabelArrays, tmp_path: Path
) -> None:
    plan = make_plan(190, 150)
    features = polygons_of(planes, plan, tmp_path)
    numbers = np.asarray(planes.objects[:, :])  # type: ignore[index]
    wanted = {
        shapely.normalize(shapely.geometry.shape(geometry)).wkt: int(value) & 255
        for geometry, value in rasterio.features.shapes(numbers.astype(np.int32), mask=numbers > 0, connectivity=4)
    }
    indices = {each.name: each.index for each in plan.classes}
    shapes = [shapely.geometry.shape(each["geometry"]) for each in features]
    assert {
        shapely.normalize(shape).wkt: indices[each["properties"]["classification"]["name"]]
        for shape, each in zip(shapes, features, strict=True)
    } == wanted
    assert len(wanted) > 300
    assert len({each["id"] for each in features}) == len(features)
    assert shapely.union_all(shapes).area == sum(shape.area for shape in shapes) == np.count_nonzero(numbers)


def polygons_of(planes: LabelArrays, plan: Plan, folder: Path) -> list[dict[str, Any]]:
    vectorize.write_geojson(folder / "regions.geojson.gz", planes, plan)
    return polygons(folder / "regions.geojson.gz")


def test_bands_change_no_byte(
    make_plan: MakePlan, planes: LabelArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = polygons_of(planes, make_plan(190, 150), tmp_path)
    monkeypatch.setattr(tracing, "BAND_PX", 190 * 7 * 2)
    assert polygons_of(planes, make_plan(190, 150), tmp_path) == whole


@pytest.mark.parametrize("smallest_um2", [0.0, 2.5, 2.6, 1000.0])
def test_small_objects_have_no_polygon_exact_or_simpler(
    make_plan: MakePlan, planes: LabelArrays, tmp_path: Path, smallest_um2: float
) -> None:
    everything = polygons_of(planes, make_plan(190, 150), tmp_path)
    plan = make_plan(190, 150, objects=ObjectRules(smallest_um2=smallest_um2))
    areas = {each["properties"]["measurements"]["Area um^2"] for each in everything}
    assert 2.5 in areas  # an area at the limit is large enough
    wanted = [each for each in everything if each["properties"]["measurements"]["Area um^2"] >= smallest_um2]
    found = polygons_of(planes, plan, tmp_path)
    assert found == wanted
    assert (len(found) < len(everything)) == (smallest_um2 > 1)
    vectorize.write_simplified(tmp_path / "simpler.gz", planes, plan, 1)
    simpler = polygons(tmp_path / "simpler.gz")
    assert [(each["id"], each["properties"]) for each in simpler] == [(e["id"], e["properties"]) for e in found]
