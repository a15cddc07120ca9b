"""Regions of interest as clients send them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from workers.core.roi import VERTICES_MAX, Roi, parts_bounds
from workers.core.schemas import OUTPUTS, JobRequest

ROI: TypeAdapter[Any] = TypeAdapter(Roi)
SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def test_a_box_is_the_polygon_of_its_corners() -> None:
    roi = ROI.validate_python([1, 2, 5, 9.5])
    assert roi.type == "Polygon"
    assert roi.coordinates == (((1, 2), (5, 2), (5, 9.5), (1, 9.5), (1, 2)),)
    assert parts_bounds(roi) == ((1, 2, 5, 9.5),)


@pytest.mark.parametrize(
    "given",
    [
        {"type": "Polygon", "coordinates": [SQUARE, [[1, 1], [2, 1], [2, 2], [1, 1]]]},
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[9, 9], [12, 9], [9, 12], [9, 9]]]]},
        [0, 0, 10, 10],
    ],
)
def test_a_request_with_a_region_survives_the_disk(given: Any) -> None:
    request = JobRequest(slide_id="s", roi=given)
    assert JobRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2, 3], "a box is"),
        ([1, 2, "3", 4], "a box is"),
        ([5, 0, 5, 9], "x0 < x1"),
        ([0, 9, 5, 3], "x0 < x1"),
        ({"type": "Polygon", "coordinates": []}, "at least 1 item"),
        ({"type": "Polygon", "coordinates": [SQUARE[:-1]]}, "ends where it begins"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "at least four"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [float("inf"), 0], [0, 0]]]}, "finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1e12, 0], [0, 0]]]}, "at most"),
        ({"type": "Point", "coordinates": [1, 2]}, "expected tags"),
        ({"type": "Polygon", "coordinates": [SQUARE], "crs": "EPSG:4326"}, "not permitted"),
        ({"type": "MultiPolygon", "coordinates": [[SQUARE]] * (VERTICES_MAX // 5 + 1)}, "vertices"),
    ],
)
def test_what_is_no_region_is_refused_with_a_reason(given: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ROI.validate_python(given)


def test_outputs_come_in_the_order_of_making_and_bring_what_they_need() -> None:
    assert JobRequest(slide_id="s").outputs == OUTPUTS
    asked = JobRequest(slide_id="s", outputs=("preview.png", "labels.ome.tif"))
    assert asked.outputs == ("labels.ome.tif", "statistics.json", "preview.png")
    for wrong in ((), ("everything",)):
        with pytest.raises(ValidationError):
            JobRequest(slide_id="s", outputs=wrong)
