"""What a scrape tells, read by a parser of the format, against what a client did."""

import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from gateway_fixtures import GatewayWith
from job_requests import add_slide, submit
from made_slides import write_slide
from queue_fixtures import worker
from scraped import OPEN_METRICS, Samples, families, sample, samples
from starlette.routing import Route

from server.app import create_app, routes_of_rooms
from server.telemetry import looks
from server.web.counting.requests import METHODS, OTHER, Templates
from server.web.error_catalogue import titles
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import Store, new_id

TELL_TALE = "M%C3%BCller-1954.svs"


@pytest.fixture(autouse=True)
def looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "KEPT_S", 0)
    monkeypatch.setattr(looks, "KEPT_TIMES", 0)


def grown(before: Samples, after: Samples, name: str, **labels: str) -> float:
    return sample(after, name, **labels) - sample(before, name, **labels)


def test_both_formats_say_the_same(gateway: httpx.Client) -> None:
    plain, opened = families(gateway), families(gateway, OPEN_METRICS)
    assert {each.name.removesuffix("_total") for each in plain} == {each.name for each in opened}
    assert all(each.documentation for each in opened)
    assert not any(sample.name.endswith("_created") for each in opened for sample in each.samples)


def test_requests_are_counted_by_template_and_class_of_status(gateway: httpx.Client) -> None:
    before = samples(gateway)
    for _ in range(3):
        gateway.get(f"/v1/jobs/{new_id()}")
    gateway.head("/v1/slides")
    gateway.get("/healthz")
    gateway.delete("/v1/models")  # 405
    gateway.request("PROPFIND", f"/{TELL_TALE}")
    after = samples(gateway)
    for count, route, method, status in (
        (3, "/v1/jobs/{job_id}", "GET", "4xx"),
        (1, "/v1/slides", "HEAD", "2xx"),
        (1, "/healthz", "GET", "2xx"),
        (1, "/v1/models", "DELETE", "4xx"),
        (1, "other", "other", "4xx"),
        (1, "/metrics", "GET", "2xx"),
    ):
        assert grown(before, after, "http_requests_total", route=route, method=method, status=status) == count
        # the scrape that tells it is not over yet, but its answer has begun by then only for the one before
        assert grown(before, after, "http_request_seconds_count", route=route, method=method) == count
    assert grown(before, after, "refusals_total", code="job_not_found") == 3


def test_no_label_holds_what_a_client_wrote(gateway: httpx.Client) -> None:
    for path in (f"/{TELL_TALE}", f"/v1/jobs/{TELL_TALE}", f"/v1/models/{TELL_TALE}", f"/assets/{TELL_TALE}"):
        for method in ("GET", "PATCH", "PROPFIND"):
            gateway.request(method, path, params={"q": TELL_TALE}, headers={"X-Request-Id": "n1954"})
    gateway.put("/v1/slides", params={"filename": "1954.txt"}, content=b"1954")
    text = gateway.get("/metrics").text
    named = re.sub(r" [\d.e+-]+$", "", text, flags=re.MULTILINE)  # a number may have these digits by chance
    assert not re.search("1954|Müller|M%C3", named)
    labels = {tuple(sorted(each.labels.items())) for family in families(gateway) for each in family.samples}
    assert {value for each in labels for name, value in each if name == "route"} <= {*TEMPLATES, OTHER}
    assert {value for each in labels for name, value in each if name == "method"} <= {*METHODS, OTHER}
    assert {value for each in labels for name, value in each if name == "code"} <= {*titles(), ""}


TEMPLATES = {route.path_format for route in routes_of_rooms() if isinstance(route, Route)}


def test_the_templates_are_those_of_the_application() -> None:
    assert set(create_app(Settings()).openapi()["paths"]) <= TEMPLATES
    templates = Templates(routes_of_rooms())
    for route in routes_of_rooms():
        assert isinstance(route, Route)
        path = re.sub(r"\{(level|col|row)\}", "1", route.path)
        path = re.sub(r"\{name\}", "statistics", re.sub(r"\{\w+(:path)?\}", "0" * 32, path))
        assert [templates.of(method, path) for method in route.methods or ()] == [route.path_format] * len(
            route.methods or ()
        )


def test_bytes_are_counted_both_ways(gateway: httpx.Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    slide = write_slide(tmp_path / "a.tif", rng.integers(0, 255, (300, 300, 3)).astype(np.uint8)).read_bytes()
    before = samples(gateway)
    stored = gateway.put("/v1/slides?filename=a.tif", content=slide)
    assert stored.status_code == 201, stored.text
    listed = [gateway.get("/v1/slides") for _ in range(2)]
    tus = {"Tus-Resumable": "1.0.0"}
    made = gateway.post("/v1/uploads", headers=tus | {"Upload-Length": str(len(slide))})
    chunk = tus | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    assert gateway.patch(made.headers["location"], headers=chunk, content=slide[:1000]).status_code == 204
    after = samples(gateway)
    assert grown(before, after, "http_received_bytes_total", route="/v1/slides") == len(slide)
    sent = len(stored.content) + sum(len(each.content) for each in listed)
    assert grown(before, after, "http_sent_bytes_total", route="/v1/slides") == sent
    assert grown(before, after, "upload_bytes_total", way="request") == len(slide)
    assert grown(before, after, "upload_bytes_total", way="tus") == 1000
    assert grown(before, after, "upload_bytes_total", way="import") == 0


def test_tiles_are_counted_by_what_they_took(gateway: httpx.Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    path = write_slide(tmp_path / "a.tif", rng.integers(0, 255, (900, 900, 3)).astype(np.uint8), compression="zlib")
    slide_id = gateway.put("/v1/slides?filename=a.tif", content=path.read_bytes()).json()["id"]
    before = samples(gateway)
    address = f"/v1/slides/{slide_id}/thumbnail.jpeg?max_px=64"
    etag = gateway.get(address).headers["etag"]
    gateway.get(address)
    assert gateway.get(address, headers={"If-None-Match": etag}).status_code == 304
    after = samples(gateway)
    for how in ("decoded", "ready", "held"):
        assert grown(before, after, "slide_pictures_total", how=how) == 1, how
    for outcome in ("hit", "miss"):
        assert grown(before, after, "viewing_cache_total", kind="thumbnail", outcome=outcome) <= 1
    assert grown(before, after, "viewing_cache_total", kind="overview", outcome="miss") == 1
    assert sample(after, "tile_children_busy") == 0


def test_the_queue_and_its_workers_are_told(gateway: httpx.Client, gateway_settings: Settings) -> None:
    slide_id = add_slide(Store(gateway_settings.data_dir), 0.5)
    jobs = Jobs(gateway_settings.redis_url, gateway_settings)
    before = samples(gateway)
    assert sample(before, "queue_up") == sample(before, "disk_up") == 1
    assert ("ldiffusion_jobs", frozenset({("state", "running"), ("priority", "batch")})) in before, "zeros are told"
    for _ in range(2):
        submit(gateway, slide_id)
    worker(jobs)
    after = samples(gateway)
    assert sample(after, "jobs", state="queued", priority="interactive") == 2
    assert sample(after, "jobs_oldest_seconds", state="queued", priority="interactive") > 0
    waits = sample(after, "waiting_tasks", priority="interactive")
    assert waits + sample(after, "queue_tasks", queue="control") == 2
    assert sample(after, "workers") == 1
    jobs.close()
    assert 0 < sample(after, "disk_free_bytes") < sample(after, "disk_size_bytes")


def test_a_queue_that_is_away_takes_nothing_else_along(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    away = gateway_settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})
    with gateway_with(away) as url, httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        found = samples(client)
        assert (sample(found, "queue_up"), sample(found, "disk_up")) == (0, 1)
        assert not any("ldiffusion_jobs" in name or "ldiffusion_regions" in name for name, _ in found)
        assert sample(found, "disk_size_bytes") > 0
        assert client.get("/v1/system").json()["error"]["code"] == "queue_unavailable"
