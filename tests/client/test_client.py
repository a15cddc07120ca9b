"""Both clients against a real gateway: what they send, check, show and refuse."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from both_clients import KINDS, Line, client_of
from finished_jobs import FILES, MOMENT, STATISTICS, finished_job
from made_slides import MadeSlide

from ldiffusion_client import Client, Damaged, JobEnded, Missing, Progress, Refused, RemoteError, TookTooLong
from ldiffusion_client.products import FILE_RESULTS
from workers.core.schemas import JobRequest, Provenance
from workers.core.settings import Settings
from workers.core.store import Store


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def either(gateway: httpx.Client, kind: str) -> Iterator[Any]:
    """One client and then the other, for what a driver does; what is said is the same text for both."""
    with client_of(kind, str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def client(gateway: httpx.Client) -> Iterator[Client]:
    with Client(str(gateway.base_url)) as client:
        yield client


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


@pytest.fixture
def slide(made_slide: MadeSlide) -> Path:
    """A slide of 12 MB, whose every byte matters to its digest."""
    return made_slide(np.random.default_rng(3).integers(0, 255, (2000, 2000, 3), dtype=np.uint8))


@pytest.fixture
def small(made_slide: MadeSlide) -> Path:
    return made_slide(np.full((300, 300, 3), 200, np.uint8), "small.tif")


def cancel(url: str, job_id: str, begun: threading.Event) -> None:
    assert begun.wait(60)
    with Client(url) as client:
        client.delete_job(job_id)


def test_an_upload_arrives_as_it_was_sent_and_tells_how_far_it_is(either: Any, slide: Path, store: Store) -> None:
    told: list[tuple[str, int, int]] = []
    info = either.upload(slide, name="renamed.tif", progress=lambda *progress: told.append(progress))
    assert info.filename == "renamed.tif"
    assert store.slide_file(info.id).read_bytes() == slide.read_bytes()
    size = slide.stat().st_size
    assert list(dict.fromkeys(what for what, _, _ in told)) == ["reading", "sending", "checking"]
    for what in ("reading", "sending"):
        done = [count for name, count, _ in told if name == what]
        assert done == sorted(done)
        assert done[-1] == size
    assert {total for _, _, total in told} == {size}


def test_what_the_server_has_is_not_sent_again(client: Client, small: Path, gateway: httpx.Client) -> None:
    first = client.upload(small)
    assert client.upload(small) == first
    assert client.upload(small, name="other.tif").id != first.id
    fresh = client.upload(small, resume=False)
    assert (fresh.sha256, fresh.id == first.id) == (first.sha256, False)
    assert len(gateway.get("/v1/uploads").json()["items"]) == 3
    for each in client.slides():
        client.delete_slide(each.id)
    assert client.upload(small).id not in (first.id, fresh.id)


def test_a_line_that_breaks_is_taken_up_where_it_broke(gateway: httpx.Client, kind: str, slide: Path) -> None:
    size = slide.stat().st_size
    with Line(str(gateway.base_url), [5_000_000, 4_000_000]).open() as line, client_of(kind, line.url) as client:
        info = client.upload(slide)
        assert info.sha256 == hashlib.sha256(slide.read_bytes()).hexdigest()
        assert line.sent < size + 4_000_000  # what was on its way when the line broke, and the heads
    assert len(gateway.get("/v1/uploads").json()["items"]) == 1


def test_a_client_that_was_killed_goes_on_when_it_is_started_again(gateway: httpx.Client, slide: Path) -> None:
    code = "import sys; from ldiffusion_client import Client; print(Client(sys.argv[1]).upload(sys.argv[2]).sha256)"
    with Line(str(gateway.base_url), [6_000_000], stalls=True).open() as line:
        process = subprocess.Popen([sys.executable, "-c", code, line.url, str(slide)])
        assert line.stalled.wait(60)
        process.kill()
        process.wait()
    with Line(str(gateway.base_url), []).open() as line:
        done = subprocess.run([sys.executable, "-c", code, line.url, str(slide)], check=True, capture_output=True)
        assert line.sent < slide.stat().st_size - 4_000_000
    assert done.stdout.decode().strip() == hashlib.sha256(slide.read_bytes()).hexdigest()


def test_a_refusal_is_told_with_the_servers_code_and_kind(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.write_bytes(b"no slide")
    with pytest.raises(Refused) as caught:
        client.upload(path)
    assert caught.value.code == "slide_unreadable"
    with pytest.raises(Missing) as missing:
        client.submit("0" * 32)
    assert (missing.value.code, missing.value.status, missing.value.value) == ("slide_not_found", 404, "0" * 32)
    with pytest.raises(Refused) as caught:
        client.submit("0" * 32, mpp=-1.0)
    assert caught.value.code == "invalid_request"
    assert "greater than 0" in (caught.value.accepted or "")


def test_a_region_is_looked_at_before_a_slide_is_sent_and_with_one(client: Client, small: Path) -> None:
    ring = [(100, 100), (280, 100), (280, 280), (100, 280)]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": (ring,), "isEllipse": True}}
    found = client.check_roi(feature)
    assert (found.roi["type"], found.bounds, found.on_slide, found.warnings) == (
        *("MultiPolygon", (100, 100, 280, 280)),
        *(None, ()),
    )
    assert client.check_roi([0, 0, 10, 20]).area_px2 == 200
    slide = client.upload(small)
    assert client.check_roi(feature, slide.id).on_slide == "whole"
    with pytest.raises(Refused) as caught:
        client.check_roi([5000, 0, 6000, 10], slide.id)
    assert caught.value.code == "roi_outside"
    with pytest.raises(Refused) as caught:
        client.check_roi([{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}])
    assert (caught.value.code, caught.value.value) == ("invalid_request", "Point")
    assert caught.value.message == "roi[0].geometry: a Point encloses nothing."


def test_a_job_is_asked_for_once_listed_filtered_canceled_and_deleted(client: Client, small: Path) -> None:
    slide = client.upload(small)
    first = client.submit(slide.id, model="made-model", roi=[0, 0, 100, 100], idempotency_key="k", priority="batch")
    again = client.submit(slide.id, model="made-model", roi=[0, 0, 100, 100], idempotency_key="k", priority="batch")
    other = client.submit(slide.id, model="made-model", seed=7, outputs=["statistics.json"])
    assert first.id == again.id != other.id
    assert (other.request.seed, other.request.outputs, first.request.priority) == (7, ("statistics.json",), "batch")
    assert [job.id for job in client.jobs()] == [other.id, first.id]
    assert [job.id for job in client.jobs(1)] == [other.id]
    canceled = client.delete_job(other.id)
    assert canceled is not None
    assert canceled.state == "canceled"
    assert [job.id for job in client.jobs(state=["queued"], since=MOMENT)] == [first.id]
    with pytest.raises(JobEnded) as caught:
        client.wait(other.id)
    assert (caught.value.code, caught.value.job.id) == ("job_canceled", other.id)
    assert client.delete_job(other.id) is None
    with pytest.raises(Missing):
        client.wait(other.id)
    with pytest.raises(TookTooLong):
        client.wait(first.id, timeout_s=0)


def test_lists_come_whole_in_pages(client: Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldiffusion_client.protocol.PAGE_SIZE", 2)
    made = {finished_job(store) for _ in range(5)}
    assert {job.id for job in client.jobs()} == made
    assert len(client.jobs(limit=3)) == 3


@pytest.mark.parametrize("listeners", [1, 8], ids=["nobody else may listen", "by events"])
def test_a_job_is_followed_to_its_end(
    gateway_settings: Settings, gateway_with: Callable[..., Any], kind: str, listeners: int
) -> None:
    told: list[Progress] = []
    begun = threading.Event()

    def seen(progress: Progress) -> None:
        told.append(progress)
        begun.set()

    settings = gateway_settings.model_copy(update={"event_listeners_max": listeners})
    store = Store(settings.data_dir)
    job_id = store.new_id()
    store.save_request(job_id, JobRequest(slide_id="1" * 32), MOMENT)
    with (
        gateway_with(settings) as url,
        client_of(kind, url) as client,
        httpx.stream("GET", f"{url}/v1/jobs/{job_id}/events") as taken,
    ):
        assert taken.status_code == 200
        next(taken.iter_bytes())
        canceling = threading.Thread(target=cancel, args=(url, job_id, begun))
        canceling.start()
        with pytest.raises(JobEnded) as caught:
            client.wait(job_id, progress=seen)
        canceling.join()
    assert caught.value.job.state == "canceled"
    assert told[0].state == "queued"


def test_a_batch_is_waited_for_and_canceled(client: Client, small: Path, tmp_path: Path) -> None:
    slide = client.upload(small)
    batch = client.submit_batch([slide.id, "0" * 32], model="made-model")
    assert [item.state for item in batch.items] == ["queued", "refused"]
    assert client.batches() == [batch]
    rows = client.cohort(batch.id)
    assert [(row["name"], row["slide"], row["state"]) for row in rows] == [
        (small.name, slide.id, "queued"),
        ("", "0" * 32, "refused"),
    ]
    assert rows[1]["error"].startswith("slide_not_found: ")
    assert client.download_cohort(batch.id, tmp_path / "c.csv").read_text().startswith("name,slide,state,")
    assert client.download_cohort(batch.id, tmp_path / "c.parquet").read_bytes().startswith(b"PAR1")
    with pytest.raises(TookTooLong):
        client.wait_batch(batch.id, timeout_s=0)
    assert client.cancel_batch(batch.id).counts == {"canceled": 1, "refused": 1}
    seen: list[Any] = []
    assert client.wait_batch(batch.id, progress=seen.append) == client.batch(batch.id) == seen[0]
    assert client.cancel_batch(batch.id) == seen[0]  # there is nothing left to cancel, and it is still there
    assert client.delete_batch(batch.id) is None
    assert client.batches() == []
    assert client.usage().jobs == 1


def test_results_are_fetched_and_checked_and_not_fetched_twice(either: Any, store: Store, tmp_path: Path) -> None:
    job = either.wait(finished_job(store))
    out = tmp_path / "out"
    assert either.download_results(job, out) == [*FILES, "result.json"]
    assert Provenance.model_validate(either.record(job).model_dump()) == store.read_result(job.id)
    fetched = {path.name: path.read_bytes() for path in out.iterdir()}
    assert Provenance.model_validate_json(fetched.pop("result.json")) == store.read_result(job.id)
    assert fetched == FILES
    (out / "regions.geojson.gz").write_bytes(b"half")
    for name in ("overlay.ome.tif", "statistics.json"):
        (out / name).chmod(0o400)
    told: list[str] = []
    either.download_results(job, out, progress=lambda name, *_: told.append(name))
    assert set(told) == {"regions.geojson.gz"}
    assert either.download(job.id, "statistics", tmp_path / "s.json").read_bytes() == STATISTICS


def test_a_result_that_was_altered_is_not_kept(client: Client, store: Store, tmp_path: Path) -> None:
    job = client.wait(finished_job(store))
    (store.job_dir(job.id) / "overlay.ome.tif").write_bytes(b"p" * 3_000_000)
    for fetch in (
        lambda: client.download_results(job, tmp_path / "out"),
        lambda: client.download(job.id, "overlay.ome.tif", tmp_path / "out" / "o.tif"),
    ):
        with pytest.raises(Damaged):
            fetch()
        assert list((tmp_path / "out").iterdir()) == []


def test_models_and_links(client: Client, store: Store) -> None:
    assert [card.name for card in client.models()] == ["made-model"]
    job_id = finished_job(store)
    assert httpx.get(client.link(f"/v1/jobs/{job_id}/statistics")).content == STATISTICS


def test_another_kind_of_server_is_told_apart(kind: str) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        answering = threading.Thread(target=other.handle_request)
        answering.start()
        with client_of(kind, f"http://127.0.0.1:{other.server_port}") as client, pytest.raises(RemoteError) as caught:
            client.job("0" * 32)
        answering.join()
    assert caught.value.code == "http_501"


@pytest.mark.parametrize("url", ["http://127.0.0.1:80x", "127.0.0.1:8000", "http://[", "", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_told_at_once(kind: str, url: str) -> None:
    with pytest.raises(RemoteError) as caught, client_of(kind, url) as client:
        client.models()
    assert caught.value.code in ("invalid_url", "server_unreachable")


def test_the_names_of_results_are_those_of_the_gateway(store: Store, client: Client) -> None:
    job = client.job(finished_job(store))
    assert {FILE_RESULTS.get(name, name) for name in FILES} <= job.results.keys()
    assert json.loads(job.model_dump_json())["results"]["statistics"].endswith("/statistics")
