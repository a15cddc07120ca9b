"""Polygons and tables of a finished job over HTTP, in shapely, GDAL and a reader of CSV: marks in their places.

Every collection of features is also held against the rules of QuPath's importer.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyogrio
import pytest
import shapely
from fiducials import BOUNDED, BOUNDS, CONFIDENCE, MARK_CONFIDENCE, ODD, Finished
from qupath_rules import assert_qupath_takes

from workers.core.products import SIMPLIFIED
from workers.core.settings import Settings


@pytest.fixture
def client(job: Finished, gateway_settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": job.store.root})
    with gateway_with(settings) as url:
        address = f"{url}/v1/jobs/{job.job_id}/"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client


def boxes(collection: dict[str, Any], origin: tuple[int, int] = (0, 0)) -> list[tuple[float, ...]]:
    """Return the boxes of all polygons in the frame whose (x, y) of level 0 is `origin`."""
    assert_qupath_takes(collection)
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]
    return moved(shapes, origin)


def moved(shapes: Any, origin: tuple[int, int]) -> list[tuple[float, ...]]:
    x, y = origin
    return sorted((x0 + x, y0 + y, x1 + x, y1 + y) for x0, y0, x1, y1 in (each.bounds for each in shapes))


def bounds_of(job: Finished) -> tuple[int, int]:
    return BOUNDS if job.drawn is BOUNDED else (0, 0)


@pytest.mark.parametrize("simplify", [0, *SIMPLIFIED])
def test_polygons_are_where_the_marks_are_in_both_frames(
    job: Finished, client: httpx.Client, tmp_path: Path, simplify: int
) -> None:
    if simplify:
        job.product(SIMPLIFIED[simplify])
    bounds = bounds_of(job)
    level0 = client.get("regions.geojson", params={"simplify": simplify}).json()
    assert (level0["coordinate_space"], level0["bounds_offset"]) == ("level0", list(bounds))
    # The last mark of the odd slide is its corner, which simplifying may cut off.
    slack = job.slack + (simplify * max(job.scale) if job.drawn is ODD else 0)
    job.assert_marks(boxes(level0), slack)
    qupath = client.get("regions.geojson", params={"space": "qupath", "simplify": simplify}).json()
    assert (qupath["coordinate_space"], qupath["bounds_offset"]) == ("qupath", [0, 0])
    job.assert_marks(boxes(qupath, bounds), slack)
    (tmp_path / "r.geojson").write_text(json.dumps(qupath))
    _, _, shapes, _ = pyogrio.raw.read(tmp_path / "r.geojson")
    job.assert_marks(moved(shapely.from_wkb(shapes), bounds), slack)


def test_gdal_finds_the_marks_in_the_flatgeobuf(job: Finished) -> None:
    path = job.product("features.fgb")
    _, _, shapes, _ = pyogrio.raw.read(path)
    job.assert_marks(moved(shapely.from_wkb(shapes), (0, 0)))
    x0, y0, x1, y1 = job.boxes[0]
    _, _, shapes, _ = pyogrio.raw.read(path, bbox=(x0 + 9, y0 + 9, x1 - 9, y1 - 9))
    assert len(shapes) == 1


def test_a_polygon_is_as_sure_as_its_mark(job: Finished, client: httpx.Client) -> None:
    for feature in client.get("regions.geojson").json()["features"]:
        assert feature["properties"]["measurements"]["Mean probability"] == pytest.approx(
            MARK_CONFIDENCE / 255, abs=1e-3
        )
    background, nucleus = client.get("statistics").json()["classes"]
    means = nucleus["mean_confidence"], background["mean_confidence"]
    assert means == pytest.approx((MARK_CONFIDENCE / 255, CONFIDENCE / 255), abs=1e-3)


@pytest.mark.parametrize("objects", ["annotation", "detection"])
def test_objects_are_of_the_kind_that_was_asked_for_and_else_the_same(client: httpx.Client, objects: str) -> None:
    whole = client.get("regions.geojson").json()
    assert_qupath_takes(whole)
    packed = client.get("regions.geojson.gz", params={"objects": objects})
    asked = json.loads(gzip.decompress(packed.content))
    assert_qupath_takes(asked)
    for feature in whole["features"]:
        feature["properties"]["objectType"] = objects
    assert asked == whole
    assert packed.headers["content-type"] == "application/gzip"


def test_the_features_of_a_box_are_those_that_touch_it(job: Finished, client: httpx.Client) -> None:
    job.product("features.fgb")
    everything = client.get("features").json()
    job.assert_marks(boxes(everything))
    assert (everything["numberReturned"], everything["complete"]) == (len(job.boxes), True)
    written = {feature["id"]: feature for feature in client.get("regions.geojson").json()["features"]}
    for feature in everything["features"]:
        known = written[feature["id"]]
        assert feature["properties"] == {key: known["properties"][key] for key in feature["properties"]}
        assert feature["geometry"] == known["geometry"]
    x, y, *_ = job.boxes[0]
    [found] = client.get("features", params={"bbox": f"{x + 5},{y + 5},{x + 9},{y + 9}"}).json()["features"]
    assert found == min(everything["features"], key=lambda each: each["geometry"]["coordinates"])
    assert client.get("features", params={"bbox": "0,0,767,511"}).json()["features"] == []
    first = client.get("features", params={"limit": 1, "class": "nucleus"}).json()
    assert (first["numberReturned"], first["complete"], len(first["features"])) == (1, False, 1)
    assert client.get("features", params={"class": "background"}).json()["features"] == []
    held = client.get("features").headers["etag"]
    assert client.get("features", headers={"if-none-match": held}).status_code == 304


@pytest.mark.parametrize(
    "asked", [{"bbox": "1,2,3"}, {"bbox": "5,0,1,1"}, {"bbox": "0,0,nan,1"}, {"class": "none"}, {"limit": "0"}]
)
def test_a_question_that_makes_no_sense_is_refused_in_the_one_shape(
    client: httpx.Client, asked: dict[str, str]
) -> None:
    answer = client.get("features", params=asked)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"


def test_the_table_says_what_the_statistics_say(job: Finished, client: httpx.Client) -> None:
    answer = client.get("statistics.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    statistics = client.get("statistics").json()
    assert [row["name"] for row in rows] == ["background", "nucleus"]
    area_px = sum(mark.width * mark.height for mark in job.drawn.marks)
    mpp_x, mpp_y = job.drawn.mpp
    assert float(rows[1]["mm2"]) == pytest.approx(area_px * mpp_x * mpp_y / 1e6, rel=0.05 if job.drawn is ODD else 1e-9)
    assert (rows[1]["color"], float(rows[1]["tissue_mm2"])) == ("#c80000", statistics["tissue_mm2"])
    assert answer.headers["etag"] != client.get("statistics").headers["etag"]
