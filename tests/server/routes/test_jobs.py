"""Jobs over HTTP without a worker: what is refused at once, what is queued, canceled and deleted."""

import errno
import shutil
from pathlib import Path

import httpx
import pytest
import redis
from job_requests import add_slide, code_of, submit

from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.store import Store


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


def test_a_job_is_queued_and_can_be_followed(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, 0.25)
    answer = submit(gateway, slide_id, seed=7)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["state"], job["request"]["seed"], job["results"]) == ("queued", 7, {})
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert gateway.get(answer.headers["location"]).json() == job
    assert gateway.get("/v1/jobs").json()["items"] == [job]
    stored = store.read_request(job["id"])
    assert stored.request == JobRequest(slide_id=slide_id, model="made-model", seed=7)


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "storage_fault")])
def test_of_a_job_that_the_disk_does_not_take_nothing_stays(
    gateway: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    slide_id = add_slide(store, 0.25)

    def fail(path: Path, model: object) -> None:
        if path.name == "job.json":
            raise OSError(number, "made")

    monkeypatch.setattr("workers.core.store.write_json", fail)
    assert code_of(submit(gateway, slide_id))[1] == code
    assert store.list_jobs() == []
    monkeypatch.undo()
    job_id = submit(gateway, slide_id).json()["id"]
    assert store.list_jobs() == [job_id]


def test_a_slide_without_resolution_is_refused_at_once(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, None)
    assert code_of(submit(gateway, slide_id)) == (422, "mpp_missing")
    assert store.list_jobs() == []
    assert submit(gateway, slide_id, mpp=0.5).status_code == 202


@pytest.mark.parametrize(("own", "asked"), [(1.01, None), (0.25, 1.01), (0.25, 60), (0.25, 0.001)])
def test_a_resolution_out_of_range_is_refused_at_once(
    gateway: httpx.Client, store: Store, own: float, asked: float | None
) -> None:
    answer = submit(gateway, add_slide(store, own), mpp=asked)
    assert code_of(answer) == (422, "mpp_implausible" if asked == 0.001 else "mpp_out_of_range")
    assert answer.json()["error"]["accepted"]
    assert store.list_jobs() == []


@pytest.mark.parametrize("slide_id", ["0" * 32, "../../etc/passwd", ""])
def test_an_unknown_slide_is_refused_at_once(gateway: httpx.Client, store: Store, slide_id: str) -> None:
    assert code_of(submit(gateway, slide_id)) == (404, "slide_not_found")
    assert store.list_jobs() == []


@pytest.mark.parametrize("model", ["other-model", "../models/made-model", ""])
def test_an_unknown_model_is_refused_at_once(gateway: httpx.Client, store: Store, model: str) -> None:
    answer = submit(gateway, add_slide(store, 0.5), model=model)
    assert code_of(answer) == (404, "model_not_found")
    assert answer.json()["error"]["accepted"] == "made-model"


def test_a_job_that_waits_is_canceled_and_then_deleted(gateway: httpx.Client, store: Store) -> None:
    job_id = submit(gateway, add_slide(store, 0.5)).json()["id"]
    canceled = gateway.delete(f"/v1/jobs/{job_id}")
    assert (canceled.status_code, canceled.json()["state"]) == (200, "canceled")
    assert gateway.get(f"/v1/jobs/{job_id}").json()["state"] == "canceled"
    assert gateway.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert code_of(gateway.get(f"/v1/jobs/{job_id}")) == (404, "job_not_found")
    assert store.list_jobs() == []


def test_a_slide_that_a_job_reads_is_not_deleted(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, 0.5)
    job_id = submit(gateway, slide_id).json()["id"]
    answer = gateway.delete(f"/v1/slides/{slide_id}")
    assert code_of(answer) == (409, "slide_in_use")
    assert answer.json()["error"]["value"] == job_id
    assert store.slide_file(slide_id).read_bytes() == b"TIFF"
    gateway.delete(f"/v1/jobs/{job_id}")
    assert gateway.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert code_of(gateway.get(f"/v1/slides/{slide_id}")) == (404, "slide_not_found")
    assert list((store.root / "slides").iterdir()) == []


def test_lists_are_limited_to_the_newest(gateway: httpx.Client, store: Store) -> None:
    slide_ids = [add_slide(store, 0.5) for _ in range(3)]
    listed = gateway.get("/v1/slides", params={"limit": 2}).json()["items"]
    assert [item["id"] for item in listed] == [slide_ids[2], slide_ids[1]]


def test_nothing_stays_of_a_job_that_cannot_be_queued(
    gateway: httpx.Client, gateway_settings: Settings, store: Store
) -> None:
    slide_id = add_slide(store, 0.5)
    with redis.Redis.from_url(gateway_settings.redis_url) as connection:
        # A key of the wrong kind makes every write of a job fail, as a queue server that is out of memory would.
        connection.set("ldiffusion:jobs", "not a sorted set")
        try:
            answer = submit(gateway, slide_id)
        finally:
            connection.delete("ldiffusion:jobs")
    assert code_of(answer) == (503, "queue_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert store.list_jobs() == []


def test_models_are_listed_and_shown(gateway: httpx.Client) -> None:
    cards = gateway.get("/v1/models").json()["items"]
    assert [card["name"] for card in cards] == ["made-model"]
    assert gateway.get("/v1/models/made-model").json() == cards[0]
    assert code_of(gateway.get("/v1/models/other")) == (404, "model_not_found")


def test_health(gateway: httpx.Client, store: Store) -> None:
    assert gateway.get("/healthz").json() == {"status": "ok", "parts": []}
    assert gateway.get("/readyz").json() == {"status": "ok", "parts": ["store", "queue"]}
    shutil.rmtree(store.root)
    answer = gateway.get("/readyz")
    assert code_of(answer) == (503, "unavailable")
    assert "data folder" in answer.json()["error"]["message"]
    assert gateway.get("/healthz").status_code == 200
    store.root.mkdir()
