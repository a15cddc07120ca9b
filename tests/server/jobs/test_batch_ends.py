"""How batches end: deleted with or without their jobs; and how many there may be."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_fixtures import GatewayWith
from job_requests import add_slide, code_of
from pydantic import ValidationError

from server.catalogue.entries import batches_of
from server.jobs.batch_records import REQUESTS_BYTES_MAX, BatchFiles, BatchRequest, StoredBatch
from workers.core.settings import Settings
from workers.core.storage.files import write_json
from workers.core.store import Store, new_id


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


def made_batch(gateway: httpx.Client, store: Store, count: int = 2, key: str = "") -> tuple[str, list[str]]:
    """Address of a new batch, and those of its jobs."""
    asked = {"slide_ids": [add_slide(store, 0.5) for _ in range(count)], "model": "made-model"}
    answer = gateway.post("/v1/batches", json=asked, headers={"Idempotency-Key": key} if key else {})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"], [f"/v1/jobs/{item['job_id']}" for item in answer.json()["items"]]


def test_a_batch_that_is_done_is_deleted_and_its_jobs_stay(gateway: httpx.Client, store: Store) -> None:
    address, jobs = made_batch(gateway, store)
    other, _ = made_batch(gateway, store)
    canceled = gateway.delete(address)
    assert (canceled.status_code, canceled.json()["done"]) == (200, True)
    assert gateway.get(address).status_code == 200
    assert gateway.delete(address).status_code == 204
    assert code_of(gateway.get(address)) == (404, "batch_not_found")
    assert code_of(gateway.delete(address)) == (404, "batch_not_found")
    assert [gateway.get(job).json()["state"] for job in jobs] == ["canceled", "canceled"]
    assert [item["id"] for item in gateway.get("/v1/batches").json()["items"]] == [other.rpartition("/")[2]]


def test_with_jobs_nothing_of_a_batch_is_left_whatever_they_were_at(gateway: httpx.Client, store: Store) -> None:
    address, jobs = made_batch(gateway, store, 3)
    _, others = made_batch(gateway, store, 1)
    gateway.delete(jobs[0])  # canceled
    gateway.delete(jobs[1])
    gateway.delete(jobs[1])  # deleted already
    assert gateway.delete(address, params={"jobs": True}).status_code == 204
    assert code_of(gateway.get(address)) == (404, "batch_not_found")
    assert [gateway.get(job).status_code for job in jobs] == [404, 404, 404]
    assert gateway.get(others[0]).json()["state"] == "queued"
    usage = gateway.get("/v1/usage").json()
    assert (usage["jobs"], usage["batches"], usage["unfinished_jobs"]) == (1, 1, 1)
    assert len(list((store.root / "jobs").iterdir())) == 1


def test_a_tenant_has_so_many_batches_and_no_more(gateway_settings: Settings, gateway_with: GatewayWith) -> None:
    store = Store(gateway_settings.data_dir)
    settings = gateway_settings.model_copy(update={"batches_per_tenant": 2})
    with gateway_with(settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        first, _ = made_batch(client, store, 1)
        made_batch(client, store, 1, key="second")
        asked = {"slide_ids": [add_slide(store, 0.5)], "model": "made-model"}
        refused = client.post("/v1/batches", json=asked)
        assert code_of(refused) == (429, "quota_exceeded")
        assert refused.json()["error"]["accepted"] == "2 batches"
        assert client.get("/v1/usage").json()["jobs"] == 2
        client.delete(first, params={"jobs": True})
        assert client.post("/v1/batches", json=asked).status_code == 202


def test_the_requests_of_all_jobs_of_a_batch_are_bounded() -> None:
    ring = [[float(x), 0.0] for x in range(3000)] + [[3000.0, 9.0], [0.0, 0.0]]
    asked: dict[str, Any] = {"roi": {"type": "Polygon", "coordinates": [ring]}}
    few = BatchRequest(slide_ids=("a",), **asked)
    each = len(few.model_dump_json(exclude={"slide_ids"}))
    most = REQUESTS_BYTES_MAX // each
    assert most < 1000
    BatchRequest(slide_ids=tuple(map(str, range(most))), **asked)
    with pytest.raises(ValidationError, match="are accepted"):
        BatchRequest(slide_ids=tuple(map(str, range(most + 1))), **asked)


def test_what_an_earlier_version_kept_goes_to_its_tenant(tmp_path: Path) -> None:
    now = "2026-01-01T00:00:00Z"
    fields = {"id": new_id(), "tenant": "lab-a", "created_at": now, "request": {"slide_ids": ["s"]}, "items": []}
    batch = StoredBatch.model_validate(fields)
    (tmp_path / "batches").mkdir()
    write_json(tmp_path / "batches" / f"{batch.id}.json", batch)
    files = BatchFiles(Store(tmp_path))
    files.adopt()
    files.adopt()
    assert files.find(batch.id) == batch
    assert [path.name for path in batches_of(tmp_path, "lab-a").iterdir()] == [f"{batch.id}.json"]
    assert (list(files.all("lab-a")), list(files.all("lab-b")), list(files.all())) == ([batch], [], [batch])
