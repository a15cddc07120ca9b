"""The spatial index against the polygons it was made from: all of them, found by box as plain geometry finds them."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from numpy.typing import NDArray

from server.results import features as served
from workers.core.errors.base import ProductFailed, ProductRefused
from workers.core.schemas import Plan
from workers.outputs.vector import features, vectorize
from workers.pipeline.stitch import LabelArrays

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_limit_cuts_and_says_so(made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, plan = made(speckled())
    for limit, complete in ((5, False), (len(written), True), (len(written) - 1, False)):
        found = json.loads(b"".join(served.find(path, served.Query(None, None, limit), plan.classes)))
        assert (len(found["features"]), found["complete"]) == (limit, complete)


def pages(path: Path, plan: Plan, query: served.Query) -> list[dict[str, Any]]:
    """Every page, as a client fetches them."""
    found: list[dict[str, Any]] = []
    while not found or not found[-1]["complete"]:
        cursor = int(found[-1]["next_cursor"]) if found else 0
        answer = b"".join(served.find(path, query._replace(skip=cursor), plan.classes))
        found.append(json.loads(answer))
    return found


@pytest.mark.parametrize("box", [None, (20.0, 10.0, 50.0, 40.0)])
@pytest.mark.parametrize("limit", [1, 7, 16, 17, 100, 10_000])
def test_pages_hold_everything_once(
    made: Callable[..., tuple[Path, Any, Plan]], limit: int, box: tuple[float, float, float, float] | None
) -> None:
    path, _, plan = made(speckled()[:40, :50])
    whole = json.loads(b"".join(served.find(path, served.Query(box, None, 10_000), plan.classes)))
    found = pages(path, plan, served.Query(box, None, limit))
    assert [each for page in found for each in page["features"]] == whole["features"]
    assert len(whole["features"]) > 20
    assert all(len(page["features"]) == page["numberReturned"] == limit for page in found[:-1])
    assert found[-1]["next_cursor"] is None


@pytest.mark.parametrize("most", [5, 60, 1000])
def test_an_answer_is_bounded_by_its_corners_and_a_shape_past_them_is_told_by_its_box(
    made: Callable[..., tuple[Path, Any, Plan]], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    path, written, plan = made(speckled()[:40, :50])
    monkeypatch.setattr(served, "CORNERS_MAX", most)
    known = {each["id"]: shapely.geometry.shape(each["geometry"]) for each in written}
    found = pages(path, plan, served.Query(None, None, 10_000))
    features_ = [each for page in found for each in page["features"]]
    assert sorted(each["id"] for each in features_) == sorted(known)
    for page in found:
        corners = sum(len(ring) for each in page["features"] for ring in each["geometry"]["coordinates"])
        assert corners <= max(most, 5)
    boxes = [each for each in features_ if "isBoundingBox" in each["properties"]]
    assert bool(boxes) == (most < 60)
    for each in features_:
        shape, exact = shapely.geometry.shape(each["geometry"]), known[each["id"]]
        assert shape.equals(shapely.box(*exact.bounds) if each in boxes else exact)


def one_large_shape() -> NDArray[np.uint8]:
    """A shape whose text is longer than 1 MB, among small ones that come before and after it."""
    return (np.random.default_rng(4).random((420, 420)) < 0.72).astype(np.uint8)


@pytest.fixture
def small_limit() -> Iterator[None]:
    """GDAL as it is where features may have 1 MB: it ends at a larger one, and does not say so."""
    pyogrio.set_gdal_config_options({"OGR_GEOJSON_MAX_OBJ_SIZE": 1})
    yield
    pyogrio.set_gdal_config_options({"OGR_GEOJSON_MAX_OBJ_SIZE": None})


@pytest.mark.slow
def test_no_polygon_is_too_large_for_the_index(small_limit: None, made: Callable[..., tuple[Path, Any, Plan]]) -> None:
    path, written, _ = made(one_large_shape())
    assert max(len(json.dumps(each)) for each in written) > 2**20
    assert pyogrio.read_info(path)["features"] == len(written) > 10


@pytest.mark.slow
def test_an_index_that_lost_polygons_is_no_result(
    small_limit: None, made: Callable[..., tuple[Path, Any, Plan]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(features, "GDAL_LIMITS", {})
    with pytest.raises(ProductFailed, match="Not every polygon"):
        made(one_large_shape())
    assert [path.name for path in tmp_path.iterdir()] == ["regions.geojson.gz"]


@pytest.mark.slow
def test_a_polygon_for_which_there_is_no_memory_is_refused(
    made: Callable[..., tuple[Path, Any, Plan]], tmp_path: Path
) -> None:
    _, _, plan = made(one_large_shape())
    (tmp_path / "features.fgb").unlink()
    with pytest.raises(ProductRefused, match="too little memory") as refusal:
        features.write_features(tmp_path / "features.fgb", tmp_path / "regions.geojson.gz", plan, 20 * 2**20)
    assert refusal.value.accepted == "at most 20 MiB"
    assert [path.name for path in tmp_path.iterdir()] == ["regions.geojson.gz"]
