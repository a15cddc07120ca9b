"""Batches, lists and repeated requests over HTTP, on a gateway without a worker."""

import io
import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from finished_jobs import finished_job
from gateway_fixtures import GatewayWith
from job_requests import add_slide, code_of, submit
from queue_fixtures import gpu_worker, worker

from workers.core.errors.base import DiskFull
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import RATES, JobKeys, Task
from workers.core.queue.leases import Leases
from workers.core.queue.rates import pace_of
from workers.core.settings import Settings
from workers.core.store import Store, new_id


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


@pytest.fixture
def queue(gateway_settings: Settings) -> Jobs:
    """The queue of `gateway`."""
    return Jobs(gateway_settings.redis_url, gateway_settings)


def submit_batch(gateway: httpx.Client, slide_ids: list[str], key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return gateway.post("/v1/batches", json={"slide_ids": slide_ids, "model": "made-model"} | fields, headers=headers)


def start(queue: Jobs, job_id: str) -> None:
    """Let a job begin, as a worker does."""
    leases = Leases(queue, new_id())
    leases.beat()
    lease = leases.begin(Task(job_id, "plan"))
    assert lease is not None
    leases.planned(lease, [0], 1, 0.1)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_one_bad_slide_fails_alone(gateway: httpx.Client, store: Store, queue: Jobs) -> None:
    good, blind, other = add_slide(store, 0.5), add_slide(store, None), add_slide(store, 0.25)
    answer = submit_batch(gateway, [good, blind, "0" * 32, other], seed=4)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert [item["state"] for item in batch["items"]] == ["queued", "refused", "refused", "queued"]
    assert [item["error"]["code"] for item in batch["items"][1:3]] == ["mpp_missing", "slide_not_found"]
    assert (batch["counts"], batch["done"]) == ({"queued": 2, "refused": 2}, False)
    assert gateway.get(answer.headers["location"]).json() == batch
    job = gateway.get(f"/v1/jobs/{batch['items'][3]['job_id']}").json()
    assert (job["request"]["slide_id"], job["request"]["seed"], job["request"]["priority"]) == (other, 4, "batch")
    assert (queue.batch_control.count, queue.control.count) == (1, 0)  # one at a time, as batches


def test_a_batch_is_a_table_with_the_numbers_of_those_that_are_done(
    gateway: httpx.Client, store: Store, queue: Jobs
) -> None:
    slides = [add_slide(store, 0.5), add_slide(store, 0.5), add_slide(store, None)]
    batch = submit_batch(gateway, slides).json()
    done = store.job_dir(batch["items"][0]["job_id"])
    (store.job_dir(finished_job(store))).rename(done.with_name("made"))
    for name in ("result.json", "statistics.json"):
        (done.with_name("made") / name).rename(done / name)
    nuclei = {"index": 1, "name": "nucleus, small", "mm2": 0.25, "share_of_tissue": 0.125, "count": 7}
    (done / "statistics.json").write_text(json.dumps({"slide_mm2": 4.0, "tissue_mm2": 2.0, "classes": [nuclei]}))
    queue.redis.delete(JobKeys(batch["items"][0]["job_id"]).record)  # it ended, and Redis knows no more of it
    answer = gateway.get(f"/v1/batches/{batch['id']}/cohort.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = arrow_csv.read_csv(io.BytesIO(answer.content)).to_pydict()
    assert table["slide"] == slides
    assert table["state"] == ["succeeded", "queued", "refused"]
    assert table["tissue_mm2"] == [2.0, None, None]
    assert table["count_nucleus, small"] == [7, None, None]
    assert [error.partition(":")[0] for error in table["error"]] == ["", "", "mpp_missing"]
    assert gateway.get(f"/v1/batches/{'0' * 32}/cohort.csv").status_code == 404
    answer = gateway.get(f"/v1/batches/{batch['id']}/cohort.parquet")
    typed = pq.read_table(io.BytesIO(answer.content))
    assert answer.headers["content-disposition"].endswith(f'"cohort-{batch["id"]}.parquet"')
    assert typed.column_names == list(table)
    for name in ("slide", "state", "tissue_mm2", "count_nucleus, small", "share_nucleus, small"):
        assert typed[name].to_pylist() == table[name]
    assert str(typed.schema.field("finished_at").type) == "timestamp[us, tz=UTC]"
    assert gateway.get(f"/v1/batches/{'0' * 32}/cohort.parquet").status_code == 404


def test_cancel_stops_what_has_not_started_and_the_rest_if_told(
    gateway: httpx.Client, store: Store, queue: Jobs
) -> None:
    batch = submit_batch(gateway, [add_slide(store, 0.5) for _ in range(3)]).json()
    address = f"/v1/batches/{batch['id']}"
    start(queue, batch["items"][1]["job_id"])
    canceled = gateway.delete(address).json()
    assert [item["state"] for item in canceled["items"]] == ["canceled", "running", "canceled"]
    assert canceled["done"] is False
    canceled = gateway.delete(address, params={"running": True}).json()
    assert (canceled["counts"], canceled["done"]) == ({"canceled": 3}, True)
    assert gateway.delete(f"/v1/jobs/{batch['items'][0]['job_id']}").status_code == 204
    assert gateway.get(address).json()["counts"] == {"canceled": 2, "deleted": 1}


def test_a_batch_that_was_cut_short_is_completed_by_its_key(
    gateway: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide_ids = [add_slide(store, 0.5) for _ in range(3)]
    sound = Store.save_request

    def dying(self: Store, *arguments: Any) -> None:
        if len(store.list_jobs()) == 1:
            raise DiskFull("The gateway ends here.")
        sound(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_request", dying)
        assert submit_batch(gateway, slide_ids, "once").status_code == 507
    assert len(store.list_jobs()) == 1
    first = submit_batch(gateway, slide_ids, "once").json()
    assert submit_batch(gateway, slide_ids, "once").json() == first
    assert (first["counts"], len(store.list_jobs())) == ({"queued": 3}, 3)
    assert code_of(submit_batch(gateway, slide_ids[:2], "once")) == (422, "idempotency_key_reused")


def test_batches_are_listed_in_pages(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, 0.5)
    ids = [submit_batch(gateway, [slide_id]).json()["id"] for _ in range(3)]
    first = gateway.get("/v1/batches", params={"limit": 2}).json()
    second = gateway.get("/v1/batches", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_a_batch_without_a_job_is_refused_and_leaves_nothing(gateway: httpx.Client, store: Store) -> None:
    blind = add_slide(store, None)
    answer = submit_batch(gateway, [blind, "0" * 32], "once")
    assert code_of(answer) == (422, "invalid_request")
    assert answer.json()["error"]["value"] == blind
    assert gateway.get("/v1/batches").json()["items"] == []
    assert submit_batch(gateway, [add_slide(store, 0.5)], "once").status_code == 202  # the key is free again


@pytest.mark.parametrize("slide_ids", [[], ["a", "a"], ["x"] * 1001, [""], ["a" * 65]])
def test_a_batch_of_nothing_of_one_twice_or_of_too_many_is_refused(gateway: httpx.Client, slide_ids: list[str]) -> None:
    assert code_of(submit_batch(gateway, slide_ids)) == (422, "invalid_request")


@pytest.mark.parametrize("batch_id", ["0" * 32, "..%2f..%2fserver", "é"])
def test_an_unknown_batch_is_told(gateway: httpx.Client, batch_id: str) -> None:
    for method in ("GET", "DELETE"):
        answer = gateway.request(method, f"/v1/batches/{batch_id}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] in ("batch_not_found", "not_found")


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_the_answer_says_what_is_known_of_the_job(gateway: httpx.Client, store: Store, queue: Jobs) -> None:
    slide_id = add_slide(store, 0.25)  # 1000 x 1000 px, 500 x 500 working px
    found = submit(gateway, slide_id, region_px=256).json()["preflight"]
    assert (found["regions_max"], found["tiles_max"], found["estimated_s"]) == (4, 4, None)
    assert found["estimated_peak_bytes"] > 6e8
    digest = gateway.get("/v1/models/made-model").json()["digest"]
    queue.redis.hset(RATES, pace_of(digest, 256), 1.5)
    job = submit(gateway, slide_id, roi=[0, 0, 10, 10], region_px=256).json()
    assert (job["preflight"]["regions_max"], job["preflight"]["estimated_s"]) == (1, 1.5)
    assert gateway.get(f"/v1/jobs/{job['id']}").json() == job


def test_a_heavy_job_is_estimated_for_workers_with_a_gpu_or_told_that_there_are_none(
    gateway: httpx.Client, store: Store, queue: Jobs
) -> None:
    config = queue.settings.models_dir / "made-model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cpu_s_per_mm2": 30.0}))
    card = gateway.get("/v1/models/made-model").json()
    assert card["heavy"]
    queue.redis.hset(RATES, pace_of(card["digest"], 256), 1.5)
    slide_id = add_slide(store, 0.25)
    worker(queue), worker(queue)
    alone = submit(gateway, slide_id, region_px=256).json()["preflight"]
    gpu_worker(queue)
    beside = submit(gateway, slide_id, region_px=256, seed=1).json()["preflight"]
    assert "no worker with a GPU" in alone["notice"]
    assert (alone["estimated_s"], beside["estimated_s"], beside["notice"]) == (3.0, 6.0, None)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"roi": [2000, 0, 2100, 10]}, "roi_outside"),
        ({"roi": [3, 3, 1, 1]}, "invalid_request"),
        ({"outputs": ["nothing"]}, "invalid_request"),
        ({"on_bad_tile": "ignore"}, "invalid_request"),
        ({"webhook": {"url": "https://hooks.example/", "secret": "lab"}}, "webhook_refused"),
    ],
)
def test_what_can_be_known_to_fail_is_refused_and_leaves_nothing(
    gateway: httpx.Client, store: Store, fields: dict[str, Any], code: str
) -> None:
    assert code_of(submit(gateway, add_slide(store, 0.5), **fields)) == (422, code)
    assert store.list_jobs() == []


def test_a_job_that_does_not_fit_is_refused(gateway_with: GatewayWith, gateway_settings: Settings, queue: Jobs) -> None:
    slide_id = add_slide(Store(gateway_settings.data_dir), 0.5)
    told = gateway_settings.model_copy(update={"worker_memory": 5 * 10**8})
    for settings, expected in ((gateway_settings, 202), (told, 422)):
        with gateway_with(settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
            answer = submit(client, slide_id)
            assert answer.status_code == expected
    assert answer.json()["error"]["code"] == "job_too_large"
    Leases(queue, "small").beat()
    assert answer.json()["error"]["accepted"] == "at most 476 MiB, the memory of a worker"
    queue.redis.set("ldiffusion:worker:small", 5 * 10**8)
    assert queue.memory_bytes() == 5 * 10**8
    with gateway_with(gateway_settings) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert code_of(submit(client, slide_id)) == (422, "job_too_large")


def test_results_that_the_disk_has_no_room_for_are_refused_before_anything_is_made(
    gateway: httpx.Client, store: Store, gateway_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = [add_slide(store, 0.5) for _ in range(3)]
    wanted = submit(gateway, slides[0]).json()["preflight"]["estimated_disk_bytes"]
    for free, one, three in ((3 * wanted, 202, 202), (3 * wanted - 1, 202, 507), (wanted - 1, 507, 507)):
        disk = SimpleNamespace(free=gateway_settings.disk_reserve_bytes + free)
        monkeypatch.setattr("server.jobs.submission.disk_usage", partial(lambda found, _path: found, disk))
        assert submit(gateway, slides[0]).status_code == one
        count = len(store.list_jobs())
        answer = submit_batch(gateway, slides)
        assert answer.status_code == three
        assert len(store.list_jobs()) == count + (3 if three == 202 else 0)
    assert code_of(answer) == (507, "disk_full")


def test_the_same_request_with_the_same_key_is_one_job(gateway: httpx.Client, store: Store) -> None:
    slide_id = add_slide(store, 0.5)
    body = {"slide_id": slide_id, "model": "made-model"}

    def post(key: str, **more: Any) -> httpx.Response:
        return gateway.post("/v1/jobs", json=body | more, headers={"Idempotency-Key": key})

    first = post("a")
    assert (first.status_code, post("a").json(), post("a", seed=0).json()) == (202, first.json(), first.json())
    assert post("a").headers["location"] == first.headers["location"]
    assert post("b").json()["id"] != first.json()["id"]
    assert code_of(post("a", seed=1)) == (422, "idempotency_key_reused")
    assert len(store.list_jobs()) == 2
    assert code_of(post("c", roi=[5000, 0, 6000, 1])) == (422, "roi_outside")
    assert post("c").status_code == 202  # nothing came of the first: the key is free
    assert code_of(post("a b")) == (422, "invalid_request")


def test_lists_have_filters_and_pages(gateway: httpx.Client, store: Store) -> None:
    slides = [add_slide(store, 0.5) for _ in range(2)]
    ids = [submit(gateway, slide_id).json()["id"] for slide_id in slides * 2]
    gateway.delete(f"/v1/jobs/{ids[0]}")

    def listed(**params: Any) -> list[str]:
        answer = gateway.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert listed() == ids[::-1]
    assert listed(slide=slides[1]) == [ids[3], ids[1]]
    assert listed(state="canceled") == [ids[0]]
    assert listed(state=["canceled", "queued"]) == ids[::-1]
    assert listed(model="other") == []
    moment = gateway.get(f"/v1/jobs/{ids[2]}").json()["created_at"]
    assert listed(since=moment) == ids[:1:-1]
    page = gateway.get("/v1/jobs", params={"limit": 3}).json()
    assert listed(limit=3, cursor=page["next_cursor"]) == [ids[0]]
    page = gateway.get("/v1/slides", params={"limit": 1}).json()
    rest = gateway.get("/v1/slides", params={"cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == slides[::-1]
    assert rest["next_cursor"] is None
    for wrong in ({"cursor": "!"}, {"state": "lost"}, {"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}):
        assert code_of(gateway.get("/v1/jobs", params=wrong)) == (422, "invalid_request")


def test_results_that_were_not_asked_for_have_no_address(gateway: httpx.Client, store: Store, queue: Jobs) -> None:
    job = submit(gateway, add_slide(store, 0.5), outputs=["labels.ome.tif"]).json()
    queue.redis.hset(JobKeys(job["id"]).record, "state", "succeeded")
    found = gateway.get(f"/v1/jobs/{job['id']}").json()["results"]
    assert {"labels.ome.tif", "result"} <= set(found)
    assert not {"overlay.ome.tif", "regions.geojson", "statistics", "preview.png"} & set(found)
