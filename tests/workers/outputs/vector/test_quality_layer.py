"""The quality layer, read by shapely: polygons in level-0 px that are those of the map, and end with the slide."""

import gzip
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import shapely

from workers.core.model.schemas import ObjectRules
from workers.core.quality_schemas import QUALITY_NAMES
from workers.core.schemas import Plan
from workers.outputs.vector.quality_layer import write_quality
from workers.outputs.vector.vectorize import write_geojson
from workers.pipeline.quality_map import QualityMap
from workers.pipeline.stitch import LabelArrays


def test_polygons_cover_what_is_spoiled_and_nothing_else(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    labels = np.random.default_rng(4).choice(np.array([0, 0, 1, 2, 3], np.uint8), (12, 17))
    scale = Fraction(50, 3), Fraction(16)
    plan = make_plan(100, 100, l0_width=275, l0_height=190, mpp_x=0.5, mpp_y=0.25)
    count = write_quality(tmp_path / "quality.geojson.gz", QualityMap(labels, *scale), plan)
    written = json.loads(gzip.decompress((tmp_path / "quality.geojson.gz").read_bytes()))
    assert written["coordinate_space"] == "level0"
    features = written["features"]
    assert len(features) == count == len({feature["id"] for feature in features})
    by_name = {name.capitalize(): index for index, name in enumerate(QUALITY_NAMES, start=1)}
    for name, value in by_name.items():
        mine = [each for each in features if each["properties"]["classification"]["name"] == name]
        shapes = [shapely.geometry.shape(each["geometry"]) for each in mine]
        assert all(shape.is_valid for shape in shapes)
        for y, x in np.ndindex(labels.shape):
            middle = shapely.Point(float((x + 0.1) * scale[0]), float((y + 0.1) * scale[1]))
            assert any(shape.contains(middle) for shape in shapes) == (labels[y, x] == value)
        assert all(set(each["properties"]["measurements"]) == {"Area um^2"} for each in mine)
        area = sum(each["properties"]["measurements"]["Area um^2"] for each in mine)
        assert area == pytest.approx((labels == value).sum() * float(scale[0] * scale[1]) * 0.5 * 0.25)
    right, bottom = (max(max(at[i] for at in each["geometry"]["coordinates"][0]) for each in features) for i in (0, 1))
    assert (right, bottom) == (275, 190)


def test_the_model_s_smallest_object_bounds_no_shape_of_it(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    labels = np.eye(4, dtype=np.uint8)
    plan = make_plan(4, 4).model_copy(update={"objects": ObjectRules(smallest_um2=1e9)})
    quality = QualityMap(labels, Fraction(1), Fraction(1))
    assert write_quality(tmp_path / "quality.geojson.gz", quality, plan) == 4


def test_its_identifiers_are_not_those_of_the_regions(
    make_plan: Callable[..., Plan], watched: Callable[..., object], tmp_path: Path
) -> None:
    labels = np.ones((4, 4), np.uint8)
    plan = make_plan(4, 4)
    write_quality(tmp_path / "quality.geojson.gz", QualityMap(labels, Fraction(1), Fraction(1)), plan)
    write_geojson(tmp_path / "regions.geojson.gz", LabelArrays(watched(labels, 4), watched(labels, 4)), plan)  # type: ignore[arg-type]
    ids = {json.loads(gzip.decompress(path.read_bytes()))["features"][0]["id"] for path in tmp_path.iterdir()}
    assert len(ids) == 2
