"""One shape for every error: of every route the gateway has, and of what no route sees."""

import errno
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from server.app import create_app
from server.routes.operators.health import PROBES
from server.web.error_catalogue import titles
from server.web.errors import add_error_handlers, status_of
from workers.core.errors import base, jobs
from workers.core.settings import Settings

NO_ID = "0" * 32
OPENAPI: dict[str, Any] = create_app(Settings()).openapi()
OPERATIONS = [(method.upper(), path) for path, methods in OPENAPI["paths"].items() for method in methods]


def assert_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the one shape and return what is under `error`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance", "request_id", "error"}
    assert answer.json()["status"] == status
    assert answer.json()["type"] == f"/docs/errors#{code}"
    assert answer.json()["title"] == titles()[code]
    assert answer.json()["detail"] == answer.json()["error"]["message"]
    assert answer.json()["instance"] == answer.request.url.raw_path.decode().partition("?")[0][:200]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()["error"]
    assert set(body) == {"code", "message", "value", "accepted"}
    assert body["code"] == code
    assert body["message"].endswith(".") or code == "invalid_request"
    return body


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [(errno.EROFS, 503, "storage_fault"), (errno.EIO, 503, "storage_fault"), (errno.ENOSPC, 507, "disk_full")],
)
def test_a_disk_that_fails_is_told(number: int, status: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    def write() -> None:
        raise OSError(number, "made")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        number = errno.EBADF
        answer = client.get("/")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_the_generated_list_of_routes_is_the_whole_api() -> None:
    assert len(OPERATIONS) >= 21  # which they are is below
    assert {("PUT", "/v1/slides"), ("PATCH", "/v1/uploads/{upload_id}")} <= set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_answers_nonsense_in_the_one_shape(gateway: httpx.Client, method: str, path: str) -> None:
    address = path.replace("{slide_id}", NO_ID).replace("{job_id}", NO_ID).replace("{name}", "nothing")
    address = address.replace("{upload_id}", NO_ID).replace("{batch_id}", NO_ID)
    answer = gateway.request(method, address, params={"limit": "many"}, json={"limit": "many"})
    if path in PROBES:  # whatever is asked of them
        assert answer.status_code == 200
        return
    assert 400 <= answer.status_code < 500
    if method == "HEAD":
        assert answer.content == b""
        return
    assert_error(answer, answer.status_code, answer.json()["error"]["code"])


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_answers_a_wrong_method_in_the_one_shape(gateway: httpx.Client, method: str, path: str) -> None:
    answer = gateway.request("PROPFIND", path)
    assert_error(answer, 405, "method_not_allowed")
    assert method in answer.headers["allow"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_route_declares_the_one_shape_for_its_errors(method: str, path: str) -> None:
    answers = OPENAPI["paths"][path][method.lower()]["responses"]
    for status, answer in answers.items():
        if int(status) >= 400:
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (status, schema)
    assert {"422", "500"} <= set(answers)


def test_operation_ids_are_stable_and_unique() -> None:
    ids = [OPENAPI["paths"][path][method.lower()]["operationId"] for method, path in OPERATIONS]
    names = [
        *("delete_job", "delete_slide", "get_job", "get_model", "get_result", "get_slide", "healthz"),
        *("list_jobs", "list_models", "list_slides", "readyz", "submit_job", "upload_slide", "upload_slide_form"),
        "upload_slide_set",
        *("delete_batch", "follow_job", "get_batch", "get_cohort", "list_batches", "submit_batch"),
        *("append_chunk", "create_upload", "delete_upload", "describe_uploads", "get_upload", "list_uploads"),
        *("change_job", "change_slide", "check_roi", "import_slide", "locate_upload", "make_link"),
        *("get_overlay_dzi", "get_overlay_tile", "get_slide_dzi", "get_slide_tile", "get_thumbnail"),
        *("get_coarse_preview", "get_live_dzi", "get_live_tile", "get_qupath_script"),
        *("correct_objects", "get_correction_history", "get_corrected_statistics", "get_corrections"),
        *("get_cohort_parquet", "undo_corrections"),
        *("get_confidence_dzi", "get_confidence_tile", "get_difference", "get_difference_dzi", "get_difference_tile"),
        *("find_objects", "get_density"),
        *("find_features", "get_usage", "get_zarr_part", "list_products", "look_at_store", "make_zarr"),
        *("get_metrics", "get_system"),
    ]
    assert sorted(ids) == sorted(names)


def test_an_unknown_path_is_told_in_the_one_shape(gateway: httpx.Client) -> None:
    body = assert_error(gateway.get("/v2/slides"), 404, "not_found")
    assert body["value"] == "GET /v2/slides"


def test_a_missing_field_is_named(gateway: httpx.Client) -> None:
    body = assert_error(gateway.post("/v1/jobs", json={"model": "made-model"}), 422, "invalid_request")
    assert body["message"].startswith("slide_id: ")


def test_a_field_out_of_range_is_named_with_what_was_given(gateway: httpx.Client) -> None:
    body = assert_error(gateway.get("/v1/slides", params={"limit": 0}), 422, "invalid_request")
    assert body["message"].startswith("limit: ")
    assert body["value"] == "0"
    assert "greater than or equal to 1" in body["accepted"]


def test_an_unknown_field_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/jobs", json={"slide_id": NO_ID, "magnification": 40})
    body = assert_error(answer, 422, "invalid_request")
    assert body["message"].startswith("magnification: ")
    assert body["value"] == "40"


def test_broken_json_is_told_in_the_one_shape(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    assert assert_error(answer, 422, "invalid_request")["accepted"] == "JSON"


def test_a_long_value_is_not_echoed_whole(gateway: httpx.Client) -> None:
    body = assert_error(gateway.get("/v1/slides", params={"limit": "x" * 5000}), 422, "invalid_request")
    assert len(body["value"]) == 201


def test_an_unexpected_error_tells_nothing_of_the_inside(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_models_dir: Path) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("server.routes.models.catalogue.list_models", broken)
    answer = gateway.get("/v1/models")
    body = assert_error(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert body["value"] is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (base.SlideNotFound, 404),
        (base.JobNotFound, 404),
        (base.ModelNotFound, 404),
        (base.ResultNotFound, 404),
        (base.UploadNotFound, 404),
        (base.UploadExpired, 410),
        (base.HeaderInvalid, 400),
        (base.VersionUnsupported, 412),
        (base.BodyUnsupported, 415),
        (base.ChecksumMismatch, 460),
        (base.UploadJoined, 403),
        (base.OffsetMismatch, 409),
        (base.UploadLocked, 423),
        (base.UploadUnfinished, 409),
        (base.RequestInvalid, 422),
        (base.SlideUnreadable, 422),
        (base.SlideTooLarge, 422),
        (base.MppMissing, 422),
        (base.MppOutOfRange, 422),
        (base.ModelInvalid, 422),
        (base.UploadTooLarge, 413),
        (base.UploadEmpty, 400),
        (base.UploadIncomplete, 400),
        (base.ResultNotReady, 409),
        (base.SlideInUse, 409),
        (base.JobCanceled, 409),
        (base.DiskFull, 507),
        (jobs.BatchNotFound, 404),
        (jobs.RoiOutside, 422),
        (jobs.JobTooLarge, 422),
        (jobs.KeyReused, 422),
        (jobs.KeyInUse, 503),
        (jobs.SlideDamaged, 422),
        (jobs.WebhookRefused, 422),
        (jobs.TooManyListeners, 503),
        (base.QueueUnavailable, 503),
        (base.LDiffusionError, 500),
    ],
)
def test_status_of_domain_errors(error: type[base.LDiffusionError], status: int) -> None:
    assert status_of(error) == status
