"""Polygons and tables of a finished job over HTTP, in shapely, GDAL and a reader of CSV: marks in their places."""

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
from fiducials import MARKS, MODEL_MPP, Finished

from workers import products
from workers.core.settings import Settings

EXPECTED = sorted(mark.box for mark in MARKS)
BOUNDS = (512, 256)


@pytest.fixture(params=["plain", "bounded"])
def job(request: pytest.FixtureRequest) -> Finished:
    finished: Finished = request.getfixturevalue(request.param)
    return finished


@pytest.fixture
def client(job: Finished, gateway_settings: Settings, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": job.store.root})
    with gateway_with(settings) as url:
        address = f"{url}/v1/jobs/{job.job_id}/"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client


def boxes(collection: dict[str, Any]) -> list[tuple[float, ...]]:
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]
    assert all(shapely.is_valid(shape) for shape in shapes)
    return sorted(shape.bounds for shape in shapes)


def test_polygons_are_where_the_marks_are_in_both_frames(job: Finished, client: httpx.Client, tmp_path: Path) -> None:
    bounds = BOUNDS if job.info.geometry.bounds else (0, 0)
    moved = sorted((x0 - bounds[0], y0 - bounds[1], x1 - bounds[0], y1 - bounds[1]) for x0, y0, x1, y1 in EXPECTED)
    level0 = client.get("regions.geojson").json()
    assert (level0["coordinate_space"], level0["bounds_offset"]) == ("level0", list(bounds))
    assert boxes(level0) == EXPECTED
    qupath = client.get("regions.geojson", params={"space": "qupath"}).json()
    assert (qupath["coordinate_space"], qupath["bounds_offset"]) == ("qupath", [0, 0])
    assert boxes(qupath) == moved
    (tmp_path / "r.geojson").write_text(json.dumps(qupath))
    _, _, shapes, _ = pyogrio.raw.read(tmp_path / "r.geojson")
    assert sorted(shapely.from_wkb(shape).bounds for shape in shapes) == moved


@pytest.mark.parametrize("objects", ["annotation", "detection"])
def test_objects_are_of_the_kind_that_was_asked_for_and_else_the_same(client: httpx.Client, objects: str) -> None:
    whole = client.get("regions.geojson").json()
    packed = client.get("regions.geojson.gz", params={"objects": objects})
    asked = json.loads(gzip.decompress(packed.content))
    for feature in whole["features"]:
        feature["properties"]["objectType"] = objects
    assert asked == whole
    assert packed.headers["content-type"] == "application/gzip"


def test_the_features_of_a_box_are_those_that_touch_it(job: Finished, client: httpx.Client) -> None:
    if not (job.folder / "products" / "features.fgb.json").exists():
        job.store.write_json(
            job.folder / "products" / "features.fgb.json", products.make(job.store, job.job_id, "features.fgb")
        )
    everything = client.get("features").json()
    assert boxes(everything) == EXPECTED
    assert (everything["numberReturned"], everything["complete"]) == (3, True)
    written = {feature["id"]: feature for feature in client.get("regions.geojson").json()["features"]}
    for feature in everything["features"]:
        known = written[feature["id"]]
        assert feature["properties"] == {key: known["properties"][key] for key in feature["properties"]}
        assert feature["geometry"] == known["geometry"]
    mark = MARKS[0]
    assert boxes(client.get("features", params={"bbox": f"{mark.x},{mark.y},{mark.x + 5},{mark.y + 5}"}).json()) == [
        mark.box
    ]
    assert boxes(client.get("features", params={"bbox": "0,0,767,511"}).json()) == []
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


def test_the_table_says_what_the_statistics_say(client: httpx.Client) -> None:
    answer = client.get("statistics.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    statistics = client.get("statistics").json()
    assert [row["name"] for row in rows] == ["background", "nucleus"]
    area_mm2 = sum(mark.width * mark.height for mark in MARKS) / 4 * (MODEL_MPP / 1000) ** 2
    assert float(rows[1]["mm2"]) == pytest.approx(area_mm2)
    assert (rows[1]["color"], float(rows[1]["tissue_mm2"])) == ("#c80000", statistics["tissue_mm2"])
    assert answer.headers["etag"] != client.get("statistics").headers["etag"]
