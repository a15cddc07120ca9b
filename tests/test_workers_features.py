"""The spatial index against the polygons it was made from: all of them, found by box as plain geometry finds them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from numpy.typing import NDArray

from server import features as served
from workers import features, vectorize
from workers.core.schemas import Plan
from workers.stitch import LabelArrays

MakePlan = Callable[..., Plan]


@pytest.fixture
def made(make_plan: MakePlan, watched: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Path, Any, Plan]]:
    """Return a function that gives the index of a label plane, its features, and the plan."""

    def make(labels: NDArray[np.uint8]) -> tuple[Path, Any, Plan]:
        plan = make_plan(labels.shape[1], labels.shape[0], mpp_x=0.4321, mpp_y=0.4321)
        array = watched(labels, 64)
        geojson = tmp_path / "regions.geojson.gz"
        vectorize.write_geojson(geojson, LabelArrays(array, array), plan)
        written = json.loads(gzip.decompress(geojson.read_bytes()))["features"]
        assert features.write_features(tmp_path / "features.fgb", geojson, plan) == len(written)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["features.fgb", "regions.geojson.gz"]
        return tmp_path / "features.fgb", written, plan

    return make


def speckled() -> NDArray[np.uint8]:
    return np.random.default_rng(2).choice(np.array([0, 1, 2, 4], np.uint8), (120, 150), p=[0.6, 0.2, 0.1, 0.1])


def test_a_box_finds_what_touches_it_and_nothing_else(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, plan = made(speckled())
    shapes = {feature["id"]: shapely.geometry.shape(feature["geometry"]) for feature in written}
    for box in ((0.0, 0.0, 20.0, 20.0), (33.3, 50.1, 90.7, 51.0), (60.0, 60.0, 60.0, 60.0), (-9.0, -9.0, -1.0, -1.0)):
        for model_class in (None, plan.classes[2]):
            query = served.Query(box, model_class, 10_000)
            found = json.loads(b"".join(served.find(path, query, plan.classes)))
            names = {
                feature["id"]
                for feature in written
                if model_class is None or feature["properties"]["classification"]["name"] == model_class.name
            }
            expected = {each for each in names if shapes[each].intersects(shapely.box(*box))}
            assert {feature["id"] for feature in found["features"]} == expected
            assert found["complete"]


def test_every_feature_comes_back_as_it_was_written(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, plan = made(speckled())
    found = json.loads(b"".join(served.find(path, served.Query(None, None, 10_000), plan.classes)))["features"]
    assert len(found) == len(written) > 100
    known = {feature["id"]: feature for feature in written}
    for feature in found:
        feature["properties"]["isLocked"] = True
        assert feature == known[feature["id"]]


def test_the_index_is_on_disk_and_gdal_uses_it(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, _ = made(speckled())
    info = pyogrio.read_info(path)
    assert info["driver"] == "FlatGeobuf"
    assert info["features"] == len(written)
    assert info["capabilities"]["fast_spatial_filter"]


def test_no_polygon_at_all_is_an_empty_answer(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, _, plan = made(np.zeros((40, 40), np.uint8))
    found = json.loads(b"".join(served.find(path, served.Query((0, 0, 9, 9), plan.classes[1], 5), plan.classes)))
    assert (found["features"], found["complete"], found["numberReturned"]) == ([], True, 0)


def test_a_limit_cuts_and_says_so(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, plan = made(speckled())
    for limit, complete in ((5, False), (len(written), True), (len(written) - 1, False)):
        found = json.loads(b"".join(served.find(path, served.Query(None, None, limit), plan.classes)))
        assert (len(found["features"]), found["complete"]) == (limit, complete)
