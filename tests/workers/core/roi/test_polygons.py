"""Regions of interest as jobs keep them."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from workers.core.errors.base import RequestInvalid
from workers.core.roi.polygons import MultiPolygon, Polygon, parts_bounds, read_roi
from workers.core.schemas import OUTPUTS, JobRequest

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE]}
FEATURE = {"type": "Feature", "id": 7, "properties": None, "geometry": POLYGON}


def test_a_box_is_the_polygon_of_its_corners() -> None:
    roi = read_roi([1, 2, 5, 9.5])
    assert roi == Polygon(coordinates=(((1, 2), (5, 2), (5, 9.5), (1, 9.5), (1, 2)),))
    assert parts_bounds(roi) == ((1, 2, 5, 9.5),)


@pytest.mark.parametrize(
    "given",
    [
        [0, 0, 4, 4],
        POLYGON,
        {"type": "MultiPolygon", "coordinates": [[SQUARE]]},
        {"type": "FeatureCollection", "features": [FEATURE]},
        [FEATURE],
    ],
)
def test_the_same_region_is_the_same_request_however_it_is_said(given: Any) -> None:
    assert JobRequest(slide_id="s", roi=given) == JobRequest(slide_id="s", roi=Polygon.model_validate(POLYGON))
    assert read_roi(given) is not None


def test_several_polygons_are_one_multipolygon() -> None:
    roi = read_roi([FEATURE, {"type": "Polygon", "coordinates": [[[9, 9], [12, 9], [9, 12]]]}])
    assert isinstance(roi, MultiPolygon)
    assert parts_bounds(roi) == ((0, 0, 4, 4), (9, 9, 12, 12))
    assert read_roi(roi) is roi


@pytest.mark.parametrize(
    "given",
    [
        {"type": "Polygon", "coordinates": [SQUARE, [[1, 1], [2, 1], [2, 2], [1, 1]]]},
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[9, 9], [12, 9], [9, 12], [9, 9]]]]},
        [0, 0, 10, 10],
        POLYGON | {"isEllipse": True},
        [FEATURE | {"geometry": POLYGON | {"isEllipse": True}}, POLYGON],
    ],
)
def test_a_request_with_a_region_survives_the_disk(given: Any) -> None:
    request = JobRequest(slide_id="s", roi=given)
    assert JobRequest.model_validate_json(request.model_dump_json()) == request
    assert request.model_dump(mode="json")["roi"].keys() == {"type", "coordinates"}


def test_a_fault_in_a_request_is_one_sentence_and_comes_before_all_others() -> None:
    for asked in ({"slide_id": "s"}, {"seed": "none"}):
        with pytest.raises(RequestInvalid) as caught:
            JobRequest.model_validate({"roi": [FEATURE, {"type": "Point"}], **asked})
        assert caught.value.as_dict() == {
            "code": "invalid_request",
            "message": "roi[1]: a Point encloses nothing.",
            "value": "Point",
            "accepted": "one of Polygon, MultiPolygon, Feature, FeatureCollection, GeometryCollection",
        }


def test_the_schema_says_what_is_taken_and_what_is_kept() -> None:
    taken = json.dumps(JobRequest.model_json_schema(mode="validation"))
    assert all(f'"{name}"' in taken for name in ("FeatureCollection", "Feature", "GeometryCollection", "Box"))
    kept = JobRequest.model_json_schema(mode="serialization")
    assert kept["$defs"].keys() >= {"Polygon", "MultiPolygon"}
    assert "FeatureCollection" not in json.dumps(kept)


def test_outputs_come_in_the_order_of_making_and_bring_what_they_need() -> None:
    assert JobRequest(slide_id="s").outputs == OUTPUTS
    asked = JobRequest(slide_id="s", outputs=("preview.png", "labels.ome.tif"))
    assert asked.outputs == ("labels.ome.tif", "statistics.json", "preview.png")
    for wrong in ((), ("everything",)):
        with pytest.raises(ValidationError):
            JobRequest(slide_id="s", outputs=wrong)
