"""The client against a real gateway: what it sends, checks, shows and refuses."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from server.client import Client, RemoteError, area_table
from workers.core.schemas import JobRequest, JobView, Provenance
from workers.core.settings import Settings
from workers.core.store import Store

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
FILES = {"overlay.ome.tif": b"o" * 3_000_000, "regions.geojson.gz": b"gzip", "statistics.json": b"{}"}
UNSERVED = {"plan.json": "0" * 64}
"""Stands in `result.json` and is no result that a client can ask for."""


@pytest.fixture
def client(gateway: httpx.Client) -> Iterator[Client]:
    with Client(str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


def finished_job(store: Store) -> str:
    """Put a job with results into the store."""
    job_id = store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32, model="made-model"), MOMENT)
    for name, content in FILES.items():
        (store.job_dir(job_id) / name).write_bytes(content)
    numbers = {"mpp_x": 0.5, "mpp_y": 0.5, "model_mpp": 0.5, "seed": 0, "region_px": 512, "halo_px": 64, "regions": 1}
    texts = dict.fromkeys(("slide_sha256", "slide_filename", "model", "model_digest", "backend"), "made")
    provenance = Provenance.model_validate(
        numbers
        | texts
        | {"job_id": job_id, "slide_id": "1" * 32, "mpp_source": "metadata", "versions": {}, "timings_s": {}}
        | {"files": {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()} | UNSERVED}
        | {"created_at": MOMENT, "finished_at": MOMENT}
    )
    store.write_json(store.job_dir(job_id) / "result.json", provenance)
    return job_id


def waiting_job(job_id: str) -> JobView:
    """Return what a client was told of a job when it was submitted."""
    return JobView(id=job_id, state="queued", request=JobRequest(slide_id="1" * 32), created_at=MOMENT)


def test_an_upload_arrives_as_it_was_sent(client: Client, cmu_slide: Path, store: Store) -> None:
    info = client.upload(cmu_slide)
    assert info.filename == cmu_slide.name
    assert store.slide_file(info.id).read_bytes() == cmu_slide.read_bytes()


def test_a_refusal_is_told_with_the_servers_code(client: Client, tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    slide.write_bytes(b"no slide")
    with pytest.raises(RemoteError) as caught:
        client.upload(slide)
    assert caught.value.code == "slide_unreadable"
    with pytest.raises(RemoteError) as caught:
        client.submit({"slide_id": "0" * 32})
    assert caught.value.code == "slide_not_found"


def test_results_are_fetched_and_checked(client: Client, store: Store, tmp_path: Path) -> None:
    job = client.follow(waiting_job(finished_job(store)))
    assert client.fetch_results(job, tmp_path / "out") == [*FILES, "result.json"]
    fetched = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert Provenance.model_validate_json(fetched.pop("result.json")) == store.read_result(job.id)
    assert fetched == FILES


def test_a_result_that_was_altered_is_not_kept(client: Client, store: Store, tmp_path: Path) -> None:
    job_id = finished_job(store)
    (store.job_dir(job_id) / "overlay.ome.tif").write_bytes(b"p" * 3_000_000)
    job = client.follow(waiting_job(job_id))
    with pytest.raises(RemoteError) as caught:
        client.fetch_results(job, tmp_path / "out")
    assert caught.value.code == "checksum_mismatch"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_canceled_job_is_no_success(client: Client, store: Store, gateway: httpx.Client) -> None:
    job_id = store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32), MOMENT)
    gateway.delete(f"/v1/jobs/{job_id}")
    with pytest.raises(RemoteError) as caught:
        client.follow(waiting_job(job_id))
    assert caught.value.code == "job_canceled"


def test_a_finished_job_is_followed_to_its_end(client: Client, store: Store) -> None:
    assert client.follow(waiting_job(finished_job(store))).state == "succeeded"


def test_another_kind_of_server_is_told_apart(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    slide.write_bytes(b"x")
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        answering = threading.Thread(target=other.handle_request)
        answering.start()
        with Client(f"http://127.0.0.1:{other.server_port}") as client, pytest.raises(RemoteError) as caught:
            client.upload(slide)
        answering.join()
    assert caught.value.code == "http_501"


@pytest.mark.parametrize("url", ["http://127.0.0.1:80x", "127.0.0.1:8000", "http://[", ""])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(RemoteError) as caught, Client(url) as client:
        client.submit({})
    assert caught.value.code in ("invalid_url", "server_unreachable")


def test_the_area_table_shows_every_class() -> None:
    row = {"index": 0, "color": [0, 0, 0], "pixels": 10}
    classes = [
        row | {"name": "background", "mm2": 0.75, "share_of_tissue": 0.75, "mean_confidence": 0.875},
        row | {"name": "nucleus", "mm2": 0.25, "share_of_tissue": 0.25, "mean_confidence": None},
    ]
    lines = area_table({"tissue_mm2": 1.0, "classes": classes}).splitlines()
    assert lines[0].split() == ["class", "mm²", "%", "of", "tissue", "confidence"]
    assert lines[1].split() == ["background", "0.7500", "75.00", "0.875"]
    assert lines[2].split() == ["nucleus", "0.2500", "25.00", "–"]
    assert lines[3].split() == ["tissue", "1.0000"]
    assert "0.00" in area_table({"tissue_mm2": 0, "classes": [classes[1] | {"share_of_tissue": None}]})
