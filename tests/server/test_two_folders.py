"""A gateway and a worker, each with a data folder of its own: they share a queue and a storage, and nothing else."""

import hashlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest
import tifffile
from gateway_fixtures import GatewayWith
from numpy.typing import NDArray
from pipeline_fixtures import chunks, work
from queue_fixtures import sweep, until
from storages import BUCKET, SECRET
from two_folders import ADDED, ASKED, is_gone, on_one_machine, state_of, submitted, uploaded, worker_on

from workers import stages, tasks
from workers.core.label_layout import STORE
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import HOSTS
from workers.core.settings import Settings
from workers.runtime import Runtime

pytestmark = pytest.mark.process


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.huge)])
def shared(request: pytest.FixtureRequest, gateway_settings: Settings, tmp_path: Path) -> Settings:
    """Settings of the gateway: a storage, and a data folder that no worker has."""
    if request.param == "folder":
        return gateway_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})
    told = {name: getattr(gateway_settings, name) for name in ("data_dir", "models_dir", "redis_url")}
    told |= {"storage_url": f"s3://{BUCKET}/two/{tmp_path.name}", "storage_region": "eu-central-1"}
    told |= {"storage_endpoint": request.getfixturevalue("moto_server"), "disk_reserve_bytes": 0}
    return Settings(**told, storage_access_key_id="AKIDEXAMPLE", storage_secret_access_key=SECRET)


@pytest.fixture
def worker(shared: Settings, tmp_path: Path, colour: ModuleType) -> Iterator[Runtime]:
    """This process as a worker with a data folder of its own."""
    yield from worker_on(shared.model_copy(update={"data_dir": tmp_path / "worker"}), colour)


@pytest.fixture
def slide(made_slide: Callable[..., Path], stained: NDArray[np.uint8]) -> bytes:
    return made_slide(stained).read_bytes()


@pytest.fixture
def client(shared: Settings, gateway_with: GatewayWith) -> Iterator[httpx.Client]:
    with gateway_with(shared) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def test_a_job_on_a_host_that_has_nothing_gives_the_labels_of_one_machine(
    shared: Settings, client: httpx.Client, worker: Runtime, slide: bytes, gateway_with: GatewayWith,
    colour: ModuleType, tmp_path: Path,
) -> None:  # fmt: skip
    slide_id = uploaded(client, slide)
    job_id = submitted(client, slide_id)
    work(worker)
    view = state_of(client, job_id)
    assert (view["state"], view["error"]) == ("succeeded", None)
    there, here = worker.settings.data_dir, shared.data_dir
    assert not (there / "slides" / slide_id).exists()
    assert (there / "slide-cache" / slide_id / "original.tif").read_bytes() == slide
    assert not (there / "jobs" / job_id).exists()
    assert not (here / "scratch").exists()
    assert not (here / "jobs" / job_id / STORE).exists()
    labels = client.get(f"/v1/jobs/{job_id}/labels.ome.tif")
    result = client.get(f"/v1/jobs/{job_id}/result").json()
    assert hashlib.sha256(labels.content).hexdigest() == result["files"]["labels.ome.tif"]
    assert result["slide_sha256"] == hashlib.sha256(slide).hexdigest()
    assert client.get(f"/v1/jobs/{job_id}/overlay_files/0/0_0.png").status_code == 200
    assert [each["id"] for each in client.get("/v1/jobs", params={"state": "succeeded"}).json()["items"]] == [job_id]
    array = chunks(worker.leases.jobs, job_id)
    assert len(array) > 10
    expected_array, expected = on_one_machine(shared, slide, tmp_path / "alone", gateway_with, colour)
    assert array == expected_array
    with tifffile.TiffFile(io.BytesIO(labels.content)) as found, tifffile.TiffFile(io.BytesIO(expected)) as alone:
        assert [level.asarray().tobytes() for level in found.series[0].levels] == [
            level.asarray().tobytes() for level in alone.series[0].levels
        ]


def test_of_two_hosts_one_computes_a_job_and_the_other_when_that_one_is_gone(
    shared: Settings, client: httpx.Client, worker: Runtime, slide: bytes, colour: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.core.queue.reaper.HOST_GONE_S", 0.0)
    job_id = submitted(client, uploaded(client, slide))
    tasks.plan_slide(job_id)
    tasks.segment_region(job_id, worker.store.read_plan(job_id).regions[0])
    jobs = worker.leases.jobs
    started = worker.store.job_dir(job_id)
    other = shared.model_copy(update={"data_dir": tmp_path / "other"})
    for runtime in worker_on(other, colour):
        work(runtime)
        assert state_of(client, job_id)["state"] == "running"
        assert not (tmp_path / "other" / "scratch").exists(), "it is not its job"
        worker.leases.retire()
        jobs.redis.zadd(HOSTS, {jobs.host: 0})
        sweep(runtime.leases.jobs)
        work(runtime)
        assert state_of(client, job_id)["state"] == "succeeded"
        assert (tmp_path / "other" / "scratch" / job_id / STORE).is_dir()
    assert (started / STORE).is_dir()
    assert client.get(f"/v1/jobs/{job_id}/labels.ome.tif").status_code == 200
    refused = client.get(f"/v1/jobs/{job_id}/confidence.ome.tif")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "product_refused")


def test_what_a_worker_elsewhere_fails_at_has_failed_for_the_gateway_and_is_resumed(
    client: httpx.Client, worker: Runtime, slide: bytes, shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(client, uploaded(client, slide))
    jobs = worker.leases.jobs
    monkeypatch.setattr(tasks, "FAULT_PAUSE_S", 0)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "finish_job", _broken)
        work(worker)
    assert state_of(client, job_id)["state"] == "failed"
    assert (shared.data_dir / "jobs" / job_id / "ended.json").exists()
    assert not (jobs.store.job_dir(job_id) / "ended.json").exists()
    before = chunks(jobs, job_id)
    assert before, "all that was computed is kept for who resumes it"
    of_gateway = Jobs(shared.redis_url, shared)
    of_gateway.resume(job_id)
    of_gateway.close()
    work(worker)
    assert state_of(client, job_id)["state"] == "succeeded"
    assert chunks(jobs, job_id) == before


def test_what_a_host_has_of_a_job_that_was_canceled_goes_and_of_one_that_goes_on_stays(
    client: httpx.Client, worker: Runtime, slide: bytes
) -> None:
    slide_id = uploaded(client, slide)
    canceled, going = submitted(client, slide_id), submitted(client, slide_id)
    jobs = worker.leases.jobs
    for job_id in (canceled, going):
        tasks.plan_slide(job_id)
    client.delete(f"/v1/jobs/{canceled}")
    before = {path.name for path in jobs.store.job_dir(going).iterdir()}
    assert "plan.json" in before
    jobs.ends.tend_scratch()
    assert [path.name for path in jobs.store.job_dir(canceled).iterdir()] == ["job.json"]
    assert {path.name for path in jobs.store.job_dir(going).iterdir()} == before
    assert jobs.store.copies.names() == [slide_id]


def test_a_second_gateway_with_a_folder_of_its_own_shows_the_same_and_changes_nothing(
    shared: Settings, client: httpx.Client, worker: Runtime, slide: bytes, gateway_with: GatewayWith, tmp_path: Path
) -> None:
    slide_id = uploaded(client, slide)
    job_id = submitted(client, slide_id)
    second = shared.model_copy(update={"data_dir": tmp_path / "second"})
    paths = [
        f"/v1/slides/{slide_id}",
        f"/v1/slides/{slide_id}/slide.dzi",
        f"/v1/slides/{slide_id}/slide_files/10/0_0.jpeg",
        f"/v1/slides/{slide_id}/thumbnail.jpeg",
        *(f"/v1/jobs/{job_id}{each}" for each in ("", "/result", "/statistics", "/labels.ome.tif", "/regions.geojson")),
        *(f"/v1/jobs/{job_id}/{each}" for each in ("overlay.dzi", "overlay_files/9/0_0.png")),
    ]
    with gateway_with(second) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as other:
        assert other.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
        assert other.get(f"/v1/jobs/{job_id}/result").status_code == 409
        work(worker)
        for path in paths:
            here, there = client.get(path), other.get(path)
            assert here.status_code == there.status_code == 200, path
            assert here.content == there.content, path
        job = other.post("/v1/jobs", json={"slide_id": slide_id, **ASKED}).json()["id"]
        busy = client.delete(f"/v1/slides/{slide_id}").json()["error"]
        assert (busy["code"], busy["value"]) == ("slide_in_use", job), "a job of the other reads it"
        work(worker)
        assert client.post(f"/v1/jobs/{job_id}/corrections", json=ADDED | {"revision": 0}).status_code == 200
        for path in ("", "/history", "/statistics"):
            here, there = (each.get(f"/v1/jobs/{job_id}/corrections{path}") for each in (client, other))
            assert here.status_code == there.status_code == 200, path
            assert here.json() == there.json(), path
        assert other.get(f"/v1/jobs/{job_id}/corrections").json()["revision"] == 1
        refused = [
            other.delete(f"/v1/slides/{slide_id}"),
            other.patch(f"/v1/slides/{slide_id}", json={"labels": {"case": "7"}}),
            other.delete(f"/v1/jobs/{job_id}"),
            other.patch(f"/v1/jobs/{job_id}", json={"labels": {"case": "7"}}),
            other.post(f"/v1/jobs/{job_id}/corrections", json=ADDED | {"revision": 1}),
            other.post(f"/v1/jobs/{job_id}/corrections/undo", json={"revision": 1, "undo": 1}),
        ]
        assert {(each.status_code, each.json()["error"]["code"]) for each in refused} == {(409, "on_another_host")}
        assert client.patch(f"/v1/slides/{slide_id}", json={"labels": {"case": "7"}}).status_code == 200
        assert other.get(f"/v1/slides/{slide_id}").json()["labels"] == {"case": "7"}
        assert client.delete(f"/v1/slides/{slide_id}").status_code == 204
        for path in paths:
            until(partial(is_gone, other, path))
        assert [each["id"] for each in other.get("/v1/jobs").json()["items"]] == [job]


def test_a_batch_is_read_at_any_gateway_and_removed_at_its_own(
    shared: Settings, client: httpx.Client, worker: Runtime, slide: bytes, gateway_with: GatewayWith, tmp_path: Path
) -> None:
    slide_id = uploaded(client, slide)
    asked = {"slide_ids": [slide_id, "0" * 32], **ASKED}
    key = {"Idempotency-Key": "once"}
    batch = client.post("/v1/batches", json=asked, headers=key).json()
    path = f"/v1/batches/{batch['id']}"
    second = shared.model_copy(update={"data_dir": tmp_path / "second"})
    with gateway_with(second) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as other:
        assert other.get(path).json() == batch
        assert other.post("/v1/batches", json=asked, headers=key).json() == batch, "no second job"
        work(worker)
        assert other.get(path).json() == client.get(path).json()
        assert other.get(path).json()["counts"] == {"succeeded": 1, "refused": 1}
        tables = [each.get(f"{path}/cohort.csv").text for each in (client, other)]
        assert tables[0] == tables[1]
        assert "succeeded" in tables[0]
        assert "deleted" not in tables[0]
        for refused in (other.delete(path), other.delete(path, params={"jobs": True})):
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "on_another_host")
        assert client.delete(path, params={"jobs": True}).status_code == 204
        assert other.get(path).status_code == 404
    storage = worker.store.storage
    assert storage is not None
    assert {stored.key.split("/")[0] for stored in storage.walk()} == {"slides"}


def _broken(*_: object, **__: object) -> None:
    raise OSError(5, "the disk of the worker is broken")


def test_what_was_deleted_is_nowhere_in_the_storage_and_runs_nowhere_again(
    client: httpx.Client, worker: Runtime, slide: bytes, shared: Settings
) -> None:
    slide_id = uploaded(client, slide)
    job_id = submitted(client, slide_id)
    work(worker)
    other = submitted(client, slide_id)
    assert client.delete(f"/v1/jobs/{other}").json()["state"] == "canceled"
    work(worker)
    assert client.delete(f"/v1/slides/{slide_id}").status_code == 204
    storage = worker.store.storage
    assert storage is not None
    assert list(storage.walk()) == []
    for each in (job_id, other):
        assert client.get(f"/v1/jobs/{each}").status_code == 404
    assert worker.store.list_jobs() == []
    assert worker.store.copies.names() == [slide_id]
    worker.leases.jobs.ends.tend_scratch()
    assert worker.store.copies.names() == []
    assert list((worker.settings.data_dir / "scratch").iterdir()) == []


def test_a_worker_that_cannot_have_the_slide_says_why(
    client: httpx.Client, shared: Settings, slide: bytes, tmp_path: Path, colour: ModuleType
) -> None:
    small = shared.model_copy(update={"data_dir": tmp_path / "small", "slide_cache": 1000})
    for runtime in worker_on(small, colour):
        job_id = submitted(client, uploaded(client, slide))
        work(runtime)
    error = state_of(client, job_id)["error"]
    assert error["code"] == "cache_too_small"
    assert "LDIFFUSION_SLIDE_CACHE" in error["accepted"]
