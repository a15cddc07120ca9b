"""Regions of interest over HTTP: every example of docs/api.md, one sentence for each fault, what is hostile."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from job_requests import add_slide, code_of, submit

from workers.core.settings import Settings
from workers.core.store import Store

ROOT = Path(__file__).resolve().parents[3]
SQUARE = [[100, 100], [300, 100], [300, 300], [100, 300], [100, 100]]
BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
MANY = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [SQUARE]}}] * 3
FAULTS = [
    ({"type": "FeatureCollection", "features": [*MANY, {"type": "Feature", "geometry": {"type": "Polygon"}}]}, None),
    ({"type": "Polygon", "coordinates": [[["a", "b"]] * 1000]}, "roi.coordinates[0][0]: this is no position."),
    ({"type": "MultiPolygon", "coordinates": [[[[0]]]] * 100}, "roi.coordinates[0][0][0]: this is no position."),
    ("[0, 0, 1, 1]", "roi: this is no GeoJSON object."),
    ([3, 3, 1, 1], "roi: a box has a width and a height."),
]


def examples() -> list[Any]:
    text = (ROOT / "docs" / "api.md").read_text().partition("## Region of interest\n")[2].partition("\n## ")[0]
    return [json.loads(each) for each in re.findall(r"^```json\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)]


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


def check(gateway: httpx.Client, roi: Any, **fields: object) -> httpx.Response:
    return gateway.post("/v1/roi/check", json={"roi": roi} | fields)


def test_every_example_of_the_document_is_taken_by_jobs_and_by_the_check(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, 0.5)
    found = examples()
    kinds = [each["type"] if isinstance(each, dict) else type(each[0]).__name__ for each in found]
    assert {*kinds} >= {"int", "dict", "Polygon", "MultiPolygon", "GeometryCollection", "Feature", "FeatureCollection"}
    for roi in found:
        checked = check(gateway, roi)
        assert checked.status_code == 200, checked.text
        body = checked.json()
        assert (body["roi"]["type"], body["on_slide"], body["warnings"]) == ("MultiPolygon", None, [])
        if max(body["bounds"]) > 1000:
            assert code_of(submit(gateway, slide_id, roi=roi)) == (422, "roi_outside")
            assert code_of(check(gateway, roi, slide_id=slide_id)) == (422, "roi_outside")
            continue
        assert check(gateway, roi, slide_id=slide_id).json() == body | {"on_slide": "whole"}
        job = submit(gateway, slide_id, roi=roi)
        assert job.status_code == 202, job.text
        kept = job.json()["request"]["roi"]
        assert [kept["coordinates"]] == [body["roi"]["coordinates"]] or [kept["coordinates"]] == body["roi"][
            "coordinates"
        ]
        assert store.read_request(job.json()["id"]).request.model_dump(mode="json")["roi"] == kept


def test_a_check_without_a_slide_needs_none_and_one_with_a_slide_that_is_not_there_says_so(
    gateway: httpx.Client,
) -> None:
    assert check(gateway, [0, 0, 2, 3]).json() == {
        "roi": {"type": "MultiPolygon", "coordinates": [[[[0, 0], [2, 0], [2, 3], [0, 3], [0, 0]]]]},
        "area_px2": 6,
        "bounds": [0, 0, 2, 3],
        "vertices": 5,
        "on_slide": None,
        "warnings": [],
    }
    assert code_of(check(gateway, [0, 0, 2, 3], slide_id="0" * 32)) == (404, "slide_not_found")


def test_rings_that_cross_are_a_warning_with_its_place(gateway: httpx.Client) -> None:
    (warning,) = check(gateway, BOW_TIE).json()["warnings"]
    assert (warning["code"], warning["polygon"], warning["place"]) == ("roi_self_intersects", 0, [5, 5])


@pytest.mark.parametrize(("roi", "message"), FAULTS)
def test_a_fault_is_one_sentence_of_ours_wherever_it_is_sent(
    gateway: httpx.Client, store: Store, roi: Any, message: str | None
) -> None:
    slide_id = add_slide(store, 0.5)
    batch = gateway.post("/v1/batches", json={"slide_ids": [slide_id], "roi": roi})
    answers = [check(gateway, roi), submit(gateway, slide_id, roi=roi), batch]
    for answer in answers:
        assert code_of(answer) == (422, "invalid_request")
        error = answer.json()["error"]
        assert error["message"] == (message or "roi.features[3].geometry.coordinates: this is no list.")
        assert "validation" not in answer.text
        assert len(answer.text) < 800  # the sentence is told twice, see RFC 9457
    assert store.list_jobs() == []


@pytest.mark.parametrize("roi", ["[" * 900 + "]" * 900, "[" * 10_000 + "]" * 10_000, "[" + "[]," * 430_000 + "[]]"])
def test_what_is_hostile_gets_one_sentence(gateway: httpx.Client, roi: str) -> None:
    for path, rest in (("/v1/roi/check", ""), ("/v1/jobs", ', "slide_id": "x"')):
        content = f'{{"roi": {roi}{rest}}}'.encode()
        answer = gateway.post(path, content=content, headers={"content-type": "application/json"})
        assert code_of(answer) == (422, "body_too_complex")
        assert re.fullmatch(r"[^.]+(\[0\][^.]*)?\.", answer.json()["error"]["message"])
        assert len(answer.text) < 800  # the sentence is told twice, see RFC 9457


def test_json_that_breaks_off_in_the_deep_is_told_as_what_it_is(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/roi/check", content=b'{"roi": [[[[', headers={"content-type": "application/json"})
    assert (*code_of(answer), answer.json()["error"]["accepted"]) == (422, "invalid_request", "JSON")
