"""Products over a real queue: asked for once, made once, kept; refused, failed, lost and deleted ones."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from fiducials import Finished
from pipeline_fixtures import work
from queue_fixtures import drain, entries, worker

from workers import product_tasks, tasks
from workers.core import products as queue_side
from workers.core.errors.base import JobNotFound, ProductFailed, ProductRefused, ResultNotFound, ResultNotReady
from workers.core.products import Failed, Products, read_made
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.store import new_id
from workers.process.watchdog import Watchdog
from workers.runtime import Runtime

NAME = "confidence.ome.tif"


@pytest.fixture
def asked(plain: Finished, queue_settings: Settings, tmp_path: Path) -> Iterator[Products]:
    """The products of a queue whose data folder is a copy of the one with the job `plain`."""
    shutil.copytree(plain.store.root, tmp_path / "data", ignore=shutil.ignore_patterns("products"))
    jobs = Jobs(queue_settings.redis_url, queue_settings)
    yield Products(jobs)
    jobs.close()


@pytest.fixture
def job_id(plain: Finished) -> str:
    return plain.job_id


@pytest.fixture
def runtime(asked: Products, queue_settings: Settings, colour: ModuleType) -> Runtime:
    return tasks.configure(queue_settings, Leases(asked.jobs, new_id()), colour.ColourEngine)


def folder_of(asked: Products, job_id: str) -> Path:
    return asked.store.job_dir(job_id) / "products"


def test_it_is_made_once_for_all_who_ask(asked: Products, job_id: str, runtime: Runtime) -> None:
    assert [asked.ask(job_id, NAME) for _ in range(3)] == [None] * 3
    assert entries(asked.jobs) == [("workers.product_tasks.make_product", [job_id, NAME])]
    assert asked.view(job_id, NAME).state == "making"
    work(runtime)
    made = asked.ask(job_id, NAME)
    assert made is not None
    path = folder_of(asked, job_id) / NAME
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert path.stat().st_size == made.size_bytes
    assert entries(asked.jobs) == []
    assert asked.view(job_id, NAME).state == "made"
    assert sorted(each.name for each in path.parent.iterdir()) == [NAME, f"{NAME}.json"]
    assert not asked.jobs.redis.exists(JobKeys(job_id).products)


def test_what_is_made_needs_no_queue(asked: Products, job_id: str) -> None:
    asked.made(job_id, product_tasks.make(asked.store, job_id, NAME))
    nowhere = asked.jobs.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    assert Products(Jobs(nowhere.redis_url, nowhere)).ask(job_id, NAME) is not None


def test_a_folder_has_the_digest_of_what_is_in_it(asked: Products, job_id: str, runtime: Runtime) -> None:
    asked.ask(job_id, "labels.ome.zarr")
    work(runtime)
    made = read_made(asked.store, job_id, "labels.ome.zarr")
    assert made is not None
    folder = folder_of(asked, job_id) / "labels.ome.zarr"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert made.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    (folder / names[-1]).write_bytes(b"other")
    assert product_tasks.digest_of_folder(folder) != made.sha256


def test_what_cannot_be_made_says_why_and_is_not_tried_again(asked: Products, job_id: str, runtime: Runtime) -> None:
    assert asked.ask(job_id, "segmentation.dcm") is None
    work(runtime)
    for _ in range(2):
        with pytest.raises(ProductRefused, match="this slide did not come as DICOM"):
            asked.ask(job_id, "segmentation.dcm")
    assert entries(asked.jobs) == []
    assert asked.view(job_id, "segmentation.dcm").state == "failed"
    assert asked.jobs.view(job_id).state == "succeeded"


def test_what_a_worker_has_no_memory_for_is_refused_until_tomorrow(
    asked: Products, job_id: str, queue_settings: Settings, colour: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watchdog, "fault", lambda _: None)  # the memory is that of the tests
    name = "regions-within-1px.geojson.gz"
    small = Leases(asked.jobs, new_id())
    small.memory_bytes = 0
    runtime = tasks.configure(queue_settings, small, colour.ColourEngine)
    assert asked.ask(job_id, name) is None
    work(runtime)
    for _ in range(2):
        with pytest.raises(ProductRefused, match="too little memory"):
            asked.ask(job_id, name)
    failed = folder_of(asked, job_id) / f"{name}.failed.json"
    old = Failed.model_validate_json(failed.read_bytes())
    long_ago = datetime.now(UTC) - timedelta(seconds=queue_side.REFUSED_S + 1)
    asked.store.write_json(failed, old.model_copy(update={"failed_at": long_ago}))
    assert asked.ask(job_id, name) is None


def test_a_fault_is_tried_again_and_then_told_for_a_while(
    asked: Products, job_id: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def broken(path: Path, _source: product_tasks.Source) -> None:
        calls.append(path)
        raise ZeroDivisionError

    monkeypatch.setattr(product_tasks, "MAKERS", {**product_tasks.MAKERS, NAME: broken})
    asked.ask(job_id, NAME)
    work(runtime)
    assert len(calls) == asked.attempts_max
    with pytest.raises(ProductFailed, match="through a fault of ours"):
        asked.ask(job_id, NAME)
    assert [path.name for path in folder_of(asked, job_id).iterdir()] == [f"{NAME}.failed.json"]
    assert asked.jobs.view(job_id).state == "succeeded"
    failed = folder_of(asked, job_id) / f"{NAME}.failed.json"
    old = Failed.model_validate_json(failed.read_bytes())
    long_ago = datetime.now(UTC) - timedelta(seconds=queue_side.TRY_AGAIN_S + 1)
    asked.store.write_json(failed, old.model_copy(update={"failed_at": long_ago}))
    monkeypatch.undo()
    assert asked.ask(job_id, NAME) is None
    work(runtime)
    assert asked.ask(job_id, NAME) is not None
    assert not failed.exists()


def test_a_worker_that_died_is_replaced_with_the_next_question(asked: Products, job_id: str) -> None:
    asked.ask(job_id, NAME)
    drain(asked.jobs)
    dead = worker(asked.jobs)
    assert asked.begin(job_id, NAME, dead.worker_id)
    other = worker(asked.jobs)
    assert not asked.begin(job_id, NAME, other.worker_id)
    asked.ask(job_id, NAME)
    assert entries(asked.jobs) == []  # while it lives, nobody else begins
    dead.retire()
    asked.ask(job_id, NAME)
    assert len(entries(asked.jobs)) == 1
    for _ in range(asked.attempts_max - 1):
        assert asked.begin(job_id, NAME, other.worker_id)
    assert not asked.begin(job_id, NAME, other.worker_id)
    with pytest.raises(ProductFailed, match="A worker died"):
        asked.ask(job_id, NAME)


def test_what_fell_out_of_the_queue_is_queued_again_after_a_lease(asked: Products, job_id: str) -> None:
    asked.ask(job_id, NAME)
    key = JobKeys(job_id).products
    entry = json.loads(asked.jobs.redis.hget(key, NAME))
    entry["since"] -= 60
    asked.jobs.redis.hset(key, NAME, json.dumps(entry))
    asked.ask(job_id, NAME)
    assert len(entries(asked.jobs)) == 1  # it is old, and still in the queue
    drain(asked.jobs)
    asked.ask(job_id, NAME)
    assert len(entries(asked.jobs)) == 1


def test_a_queue_that_forgot_everything_is_asked_anew(asked: Products, job_id: str) -> None:
    asked.ask(job_id, NAME)
    asked.jobs.redis.flushall()
    asked.ask(job_id, NAME)
    assert len(entries(asked.jobs)) == 1


def test_nothing_is_made_of_a_job_that_has_not_succeeded(asked: Products, job_id: str) -> None:
    (asked.store.job_dir(job_id) / "result.json").unlink()
    with pytest.raises(ResultNotReady):
        asked.ask(job_id, NAME)
    with pytest.raises(JobNotFound):
        asked.ask(new_id(), NAME)
    with pytest.raises(ResultNotFound):
        asked.ask(job_id, "overlay.gif")
    assert entries(asked.jobs) == []


def test_a_deleted_job_takes_its_products_along(asked: Products, job_id: str, runtime: Runtime) -> None:
    asked.ask(job_id, NAME)
    asked.store.delete_job(job_id)
    asked.jobs.forget(job_id)
    assert not asked.jobs.redis.exists(JobKeys(job_id).products)
    work(runtime)
    assert not asked.store.job_dir(job_id).exists()


def test_a_job_that_is_deleted_meanwhile_leaves_nothing(
    asked: Products, job_id: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path, source: product_tasks.Source) -> None:
        asked.store.delete_job(job_id)
        path.mkdir(parents=True)  # as a library does that knows nothing of deletions
        (path / "chunk").write_bytes(b"late")
        source.check()

    monkeypatch.setattr(product_tasks, "MAKERS", {**product_tasks.MAKERS, NAME: slow})
    asked.ask(job_id, NAME)
    work(runtime)
    assert not asked.store.job_dir(job_id).exists()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "result.json"])
def test_a_name_in_the_queue_that_is_no_product_does_nothing(
    asked: Products, job_id: str, runtime: Runtime, name: str
) -> None:
    with asked.jobs.redis.pipeline() as pipe:
        asked.jobs.enqueue(pipe, Task(job_id, "product", product=name), "interactive")
        pipe.execute()
    work(runtime)
    assert not folder_of(asked, job_id).exists()


def test_a_half_made_one_is_swept_and_made_again(asked: Products, job_id: str) -> None:
    folder = folder_of(asked, job_id)
    (folder / f".{NAME}.0123" / NAME).mkdir(parents=True)
    (folder / "labels.ome.zarr").mkdir()  # moved to its place, but its worker died before the record
    (folder / "labels.ome.zarr" / "old").write_bytes(b"x")
    for name in (NAME, "labels.ome.zarr"):
        product_tasks.make(asked.store, job_id, name)
    assert sorted(path.name for path in folder.iterdir()) == [NAME, "labels.ome.zarr"]
    assert not (folder / "labels.ome.zarr" / "old").exists()


def test_makers_and_names_are_the_same_list() -> None:
    assert set(product_tasks.MAKERS) == set(queue_side.PRODUCTS)
