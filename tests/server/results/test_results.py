"""Results over HTTP: a finished job made by hand, fetched whole, in part, conditionally and compressed."""

import gzip
import hashlib
import json
from datetime import UTC, datetime

import httpx
import pytest

from workers.core.schemas import JobRequest, Provenance
from workers.core.settings import Settings
from workers.core.store import Store

GEOJSON = json.dumps({"type": "FeatureCollection", "features": [], "filler": "x" * 600_000}).encode()
FILES = {
    "overlay.ome.tif": bytes(range(256)) * 1000,
    "labels.ome.tif": b"labels",
    "objects.parquet": b"PAR1",
    "regions.geojson.gz": gzip.compress(GEOJSON),
    "statistics.json": b'{"classes": [], "tissue_mm2": 0.0, "slide_mm2": 1.0}',
    "preview.png": b"\x89PNG",
}
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def job_id(gateway: httpx.Client, gateway_settings: Settings) -> str:
    """A job in the store of `gateway` that has all its results; the queue does not know it."""
    store = Store(gateway_settings.data_dir)
    job_id = store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32, model="made-model"), MOMENT)
    for name, content in FILES.items():
        (store.job_dir(job_id) / name).write_bytes(content)
    store.write_json(store.job_dir(job_id) / "result.json", provenance(job_id))
    return job_id


def provenance(job_id: str) -> Provenance:
    return Provenance(
        job_id=job_id,
        slide_id="1" * 32,
        slide_sha256="2" * 64,
        slide_filename="a.svs",
        model="made-model",
        model_digest="3" * 64,
        mpp_x=0.5,
        mpp_y=0.5,
        mpp_source="metadata",
        model_mpp=0.5,
        seed=0,
        region_px=512,
        halo_px=64,
        regions=1,
        backend="openslide",
        versions={},
        timings_s={},
        files={name: sha256(content) for name, content in FILES.items()},
        created_at=MOMENT,
        finished_at=MOMENT,
    )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "file", "media_type"),
    [
        ("overlay.ome.tif", "overlay.ome.tif", "image/tiff"),
        ("labels.ome.tif", "labels.ome.tif", "image/tiff"),
        ("regions.geojson.gz", "regions.geojson.gz", "application/gzip"),
        ("statistics", "statistics.json", "application/json"),
        ("preview.png", "preview.png", "image/png"),
    ],
)
def test_a_result_comes_whole_with_its_digest_as_etag(
    gateway: httpx.Client, job_id: str, name: str, file: str, media_type: str
) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/{name}")
    assert answer.status_code == 200
    assert answer.content == FILES[file]
    assert answer.headers["content-type"] == media_type
    assert answer.headers["etag"] == f'"{sha256(FILES[file])}"'
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "content-encoding" not in answer.headers
    head = gateway.head(f"/v1/jobs/{job_id}/{name}")
    assert head.content == b""
    assert head.headers["content-length"] == str(len(FILES[file]))
    assert head.headers["etag"] == answer.headers["etag"]


def test_the_provenance_is_a_result_too(gateway: httpx.Client, job_id: str) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/result")
    assert Provenance.model_validate_json(answer.content) == provenance(job_id)
    assert answer.headers["etag"] == f'"{sha256(answer.content)}"'


@pytest.mark.parametrize(
    ("name", "saved_as"),
    [("result", "result.json"), ("statistics", "statistics.json"), ("statistics.csv", "statistics.csv")],
)
def test_a_result_is_saved_under_a_name_that_says_what_it_is(
    gateway: httpx.Client, job_id: str, name: str, saved_as: str
) -> None:
    disposition = gateway.get(f"/v1/jobs/{job_id}/{name}").headers["content-disposition"]
    assert disposition.endswith(f'filename="{saved_as}"')


def test_a_job_that_only_the_disk_knows_is_shown_with_the_addresses_of_its_results(
    gateway: httpx.Client, job_id: str
) -> None:
    view = gateway.get(f"/v1/jobs/{job_id}").json()
    assert view["state"] == "succeeded"
    assert len(view["results"]) == 9
    for address in view["results"].values():
        assert gateway.get(address).status_code == 200
    assert [job["id"] for job in gateway.get("/v1/jobs").json()["items"]] == [job_id]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=255900-", 255_900, 255_999), ("bytes=-100", 255_900, 255_999)],
)
def test_a_range_gives_those_bytes(gateway: httpx.Client, job_id: str, asked: str, first: int, last: int) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/256000"
    assert answer.content == FILES["overlay.ome.tif"][first : last + 1]


def test_a_range_past_the_end_is_refused_in_the_one_shape(gateway: httpx.Client, job_id: str) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"range": "bytes=256000-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */256000"
    assert answer.json()["error"]["accepted"] == "bytes within 0-255999"
    assert "etag" not in answer.headers


def test_a_range_that_is_none_is_refused_in_the_one_shape(gateway: httpx.Client, job_id: str) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"range": "rows=1-2"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["value"] == "rows=1-2"


def test_a_range_header_of_many_ranges_costs_no_more_than_the_file(gateway: httpx.Client, job_id: str) -> None:
    many = "bytes=" + ",".join(f"{start}-{start}" for start in range(0, 1_400, 2))
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"range": many})
    assert answer.status_code == 200
    assert answer.content == FILES["overlay.ome.tif"]


def test_if_range_gives_the_part_only_of_the_version_it_names(gateway: httpx.Client, job_id: str) -> None:
    etag = f'"{sha256(FILES["overlay.ome.tif"])}"'
    address = f"/v1/jobs/{job_id}/overlay.ome.tif"
    assert gateway.get(address, headers={"range": "bytes=0-9", "if-range": etag}).status_code == 206
    assert gateway.get(address, headers={"range": "bytes=0-9", "if-range": '"other"'}).status_code == 200


@pytest.mark.parametrize("held", ['"{}"', 'W/"{}"', '"a", "{}"', "*"])
def test_if_none_match_of_the_current_version_gives_304(gateway: httpx.Client, job_id: str, held: str) -> None:
    etag = sha256(FILES["overlay.ome.tif"])
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"if-none-match": held.format(etag)})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == f'"{etag}"'


def test_if_none_match_of_another_version_gives_the_file(gateway: httpx.Client, job_id: str) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif", headers={"if-none-match": '"other"'})
    assert answer.status_code == 200


@pytest.mark.parametrize("accepted", ["gzip", "br;q=1.0, gzip;q=0.2", "*"])
def test_geojson_leaves_as_it_is_stored_for_who_takes_gzip(gateway: httpx.Client, job_id: str, accepted: str) -> None:
    with gateway.stream("GET", f"/v1/jobs/{job_id}/regions.geojson", headers={"accept-encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    assert raw == FILES["regions.geojson.gz"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
def test_geojson_is_inflated_for_who_does_not(gateway: httpx.Client, job_id: str, accepted: str) -> None:
    address = f"/v1/jobs/{job_id}/regions.geojson"
    answer = gateway.get(address, headers={"accept-encoding": accepted, "range": "bytes=0-9"})
    assert answer.status_code == 200
    assert answer.content == GEOJSON
    assert "content-encoding" not in answer.headers
    assert answer.headers["accept-ranges"] == "none"
    assert answer.headers["etag"] != f'"{sha256(FILES["regions.geojson.gz"])}"'
    held = {"accept-encoding": accepted, "if-none-match": answer.headers["etag"]}
    assert gateway.get(address, headers=held).status_code == 304


def test_an_unknown_result_is_not_found(gateway: httpx.Client, job_id: str) -> None:
    answer = gateway.get(f"/v1/jobs/{job_id}/labels.zarr")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "result_not_found"
    assert "overlay.ome.tif" in answer.json()["error"]["accepted"]


def test_results_of_an_unfinished_job_are_not_ready(gateway: httpx.Client, gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    job_id = store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32), MOMENT)
    answer = gateway.get(f"/v1/jobs/{job_id}/overlay.ome.tif")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "result_not_ready"


@pytest.mark.parametrize("wrong_id", ["..", "%2e%2e", "..%2f..%2fetc", "0" * 31, "A" * 32, "%00" * 32])
def test_ids_that_are_none_are_not_found(gateway: httpx.Client, wrong_id: str) -> None:
    for address in (f"/v1/jobs/{wrong_id}", f"/v1/jobs/{wrong_id}/result", f"/v1/slides/{wrong_id}"):
        answer = gateway.get(address, follow_redirects=False)
        assert answer.status_code == 404, address
        assert answer.json()["error"]["code"].endswith("not_found")


def test_a_finished_job_is_deleted_with_its_results(
    gateway: httpx.Client, gateway_settings: Settings, job_id: str
) -> None:
    assert gateway.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert not Store(gateway_settings.data_dir).job_dir(job_id).exists()
    assert gateway.get(f"/v1/jobs/{job_id}").status_code == 404
    assert gateway.delete(f"/v1/jobs/{job_id}").status_code == 404
