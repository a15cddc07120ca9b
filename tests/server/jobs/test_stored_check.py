"""The doctor and the deletion of jobs whose results are in a storage."""

from pathlib import Path

import pytest
from finished_jobs import FILES, finished_job
from queue_fixtures import submitted
from stored_slides import info_of

from server.jobs.checkups import Checkups
from server.jobs.doctor import Doctor
from server.jobs.retention import Retention
from server.jobs.stored_check import StoredCheck
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys
from workers.core.schemas import StoredRequest
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import Key, Storage, StorageSilent
from workers.core.storage.commits import Commits, Manifest
from workers.core.storage.layout import job_record, slide_record
from workers.core.storage.local import LocalStorage
from workers.core.stored.results import publish
from workers.core.stored.slides import publish_slide

pytestmark = pytest.mark.process


@pytest.fixture
def queue_settings(queue_settings: Settings, tmp_path: Path) -> Settings:
    return queue_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})


@pytest.fixture
def storage(jobs: Jobs) -> Storage:
    assert jobs.store.storage is not None
    return jobs.store.storage


@pytest.fixture
def job_id(jobs: Jobs) -> str:
    job_id = finished_job(jobs.store)
    result = jobs.store.read_result(job_id)
    kept = {"files": {name: result.files[name] for name in FILES}}
    jobs.store.write_json(jobs.store.job_dir(job_id) / "result.json", result.model_copy(update=kept))
    publish(jobs.store, job_id, 5)
    return job_id


def found(jobs: Jobs, *, repair: bool = False, digests: bool = False) -> list[tuple[str, str, bool]]:
    """(kind, id, mended) of all findings about the storage; those of the index are others' business."""
    findings = Doctor(jobs, repair=repair, digests=digests).findings()
    return [(each.kind, each.id, each.mended) for each in findings if each.kind != "catalogue_differs"]


def current(jobs: Jobs, job_id: str) -> tuple[Commits, Manifest]:
    commits = jobs.store.results(job_id)
    assert commits is not None
    manifest = commits.current()
    assert manifest is not None
    return commits, manifest


def test_what_is_stored_as_it_should_be_is_not_found_whether_or_not_there_is_a_copy(jobs: Jobs, job_id: str) -> None:
    assert found(jobs, digests=True) == []
    (jobs.store.job_dir(job_id) / "overlay.ome.tif").unlink()
    assert found(jobs, digests=True) == []


def test_results_that_miss_are_stored_again(jobs: Jobs, storage: Storage, job_id: str) -> None:
    storage.delete_prefix(Key("jobs"))
    assert found(jobs) == [("storage_missing", job_id, False)] * 2
    assert found(jobs, repair=True) == [("storage_missing", job_id, True)] * 2
    assert found(jobs, digests=True) == []
    assert StoredRequest.model_validate_json(storage.get(job_record(job_id))) == jobs.store.read_request(job_id)


@pytest.mark.parametrize(("content", "needs_digests"), [(None, False), (b"short", False), (b"x" * 3_000_000, True)])
def test_an_object_that_is_not_what_was_stored_is_stored_again(
    jobs: Jobs, storage: Storage, job_id: str, content: bytes | None, needs_digests: bool
) -> None:
    commits, manifest = current(jobs, job_id)
    key = commits.key(manifest.token, "overlay.ome.tif")
    if content is None:
        storage.delete(key)
    else:
        storage.put(key, content)
    if needs_digests:
        assert found(jobs) == []
    assert found(jobs, digests=True) == [("storage_changed", job_id, False)]
    assert found(jobs, digests=True, repair=True) == [("storage_changed", job_id, True)]
    assert found(jobs, digests=True) == []
    assert current(jobs, job_id)[1].token > manifest.token


def test_what_late_writers_left_is_removed(jobs: Jobs, storage: Storage, job_id: str) -> None:
    commits, manifest = current(jobs, job_id)
    storage.put(commits.key(4, "overlay.ome.tif"), b"late")
    storage.put(commits.key(9, "overlay.ome.tif"), b"may be under way")
    assert found(jobs, repair=True) == [("storage_left_over", job_id, True)]
    assert found(jobs) == []
    assert storage.get(commits.key(9, "overlay.ome.tif")) == b"may be under way"
    assert current(jobs, job_id)[1] == manifest


def test_results_of_a_job_that_was_canceled_are_removed(jobs: Jobs, storage: Storage) -> None:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    storage.put(
        Key(f"jobs/{job_id}/results/commits/{7:020}.json"), Manifest(token=7, files={}).model_dump_json().encode()
    )
    assert found(jobs, repair=True) == [("storage_left_over", job_id, True)]
    assert [stored.key for stored in storage.walk()] == [job_record(job_id)]


def test_results_of_a_job_that_nobody_knows_are_told_and_stay(jobs: Jobs, storage: Storage, job_id: str) -> None:
    ids = [f"{number:032x}" for number in (1, 2**127, 2**128 - 1)]
    for each in ids:
        storage.put(Key(f"jobs/{each}/results/files/1/a"), b"a")
        storage.put(Key(f"jobs/{each}/results/files/1/b"), b"b")
    assert found(jobs, repair=True) == [("storage_unknown", each, False) for each in ids]
    assert found(jobs) == [("storage_unknown", each, False) for each in ids]


def silent(*_: object, **__: object) -> None:
    """Stand in for what is asked of a storage."""
    raise StorageSilent("it does not answer")


def test_a_storage_that_does_not_answer_is_told_once(jobs: Jobs, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStorage, "list", silent)
    assert found(jobs, repair=True) == [("storage_silent", "", False)]


def test_a_job_that_is_deleted_is_gone_from_the_storage_too(
    jobs: Jobs, storage: Storage, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention = Retention(jobs, lambda _removed: None)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete_prefix", silent)
        with pytest.raises(StorageSilent):
            retention.remove_job(job_id)
    assert jobs.store.job_dir(job_id).exists(), "nothing is begun that cannot be ended"
    retention.remove_job(job_id)
    assert list(storage.walk()) == []
    assert not jobs.store.job_dir(job_id).exists()


@pytest.fixture
def slide_id(jobs: Jobs) -> str:
    with jobs.store.incoming() as folder:
        (folder / "original").mkdir()
        (folder / "original.mrxs").write_bytes(b"index")
        (folder / "original" / "Data0000.dat").write_bytes(b"d" * 5000)
        info = info_of(5005, "0" * 64)
        publish_slide(jobs.store, info, folder)
        jobs.store.commit_slide(info, folder)
    return info.id


def test_a_slide_that_is_stored_as_it_should_be_is_not_found(jobs: Jobs, slide_id: str) -> None:
    assert found(jobs, digests=True) == []


def test_slides_are_named_without_a_look_at_their_records(
    jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("not-ours", "f" * 32):  # the other one is not whole
        (jobs.store.root / "slides" / name).mkdir()
    monkeypatch.delattr(type(jobs.store), "read_slide")
    assert StoredCheck(jobs.store, digests=False).slides() == [slide_id]


def test_a_slide_whose_record_cannot_be_read_stops_no_look_at_others(jobs: Jobs, slide_id: str, job_id: str) -> None:
    (jobs.store.slide_dir(slide_id) / "slide.json").write_bytes(b"{")
    assert list(StoredCheck(jobs.store, digests=False).of_slide(slide_id)) == []
    assert found(jobs, digests=True) == []


@pytest.mark.parametrize("missing", ["slide.json", "bytes"])
def test_a_slide_that_misses_is_stored_again(jobs: Jobs, storage: Storage, slide_id: str, missing: str) -> None:
    key = Key(f"slides/{slide_id}/{missing}")
    if missing == "bytes":
        storage.delete_prefix(key)
    else:
        storage.delete(key)
    assert found(jobs) == [("storage_missing", slide_id, False)]
    assert found(jobs, repair=True) == [("storage_missing", slide_id, True)]
    assert found(jobs, digests=True) == []


@pytest.mark.parametrize(("content", "needs_digests"), [(None, False), (b"short", False), (b"e" * 5000, True)])
def test_a_file_of_a_slide_that_is_not_what_was_stored_is_stored_again(
    jobs: Jobs, storage: Storage, slide_id: str, content: bytes | None, needs_digests: bool
) -> None:
    commits = jobs.store.slide_set(slide_id)
    assert commits is not None
    manifest = commits.current()
    assert manifest is not None
    key = commits.key(manifest.token, "original/Data0000.dat")
    if content is None:
        storage.delete(key)
    else:
        storage.put(key, content)
    if needs_digests:
        assert found(jobs) == []
    assert found(jobs, digests=True, repair=True) == [("storage_changed", slide_id, True)]
    assert found(jobs, digests=True) == []
    (key,) = (stored.key for stored in storage.walk() if stored.key.endswith("Data0000.dat"))
    assert storage.get(key) == b"d" * 5000


def test_a_record_of_a_slide_that_was_changed_is_stored_as_it_is(jobs: Jobs, storage: Storage, slide_id: str) -> None:
    folder = jobs.store.slide_dir(slide_id)
    changed = jobs.store.read_slide(slide_id).model_copy(update={"labels": {"case": "7"}})
    jobs.store.write_json(folder / "slide.json", changed)
    assert found(jobs, repair=True) == [("storage_changed", slide_id, True)]
    assert found(jobs) == []
    assert SlideInfo.model_validate_json(storage.get(slide_record(slide_id))) == changed


def test_a_slide_that_nobody_knows_is_told_and_stays(jobs: Jobs, storage: Storage, slide_id: str) -> None:
    storage.put(Key(f"slides/{'0' * 32}/bytes/files/1/original.svs"), b"half")
    assert found(jobs, repair=True) == [("storage_unknown", "0" * 32, False)]
    assert found(jobs) == [("storage_unknown", "0" * 32, False)]


def test_pages_go_through_jobs_and_slides_and_each_comes_once(jobs: Jobs, storage: Storage, job_id: str) -> None:
    more = [finished_job(jobs.store) for _ in range(2)]
    storage.delete_prefix(Key("jobs"))
    told, cursor, count = [], None, 0
    for _ in range(10):
        page = Checkups(jobs).page(1, cursor)
        told += [each.id for each in page.items if each.kind == "storage_missing"]
        count += page.jobs
        if (cursor := page.next_cursor) is None:
            break
    assert set(told) == {job_id, *more}
    assert count == 3


def test_a_job_of_another_data_folder_is_not_forgotten(jobs: Jobs, storage: Storage) -> None:
    job_id = submitted(jobs)
    jobs.store.delete_job(job_id)  # as on a host that has another data folder
    assert found(jobs, repair=True) == [("storage_unknown", job_id, False)]
    assert jobs.redis.exists(JobKeys(job_id).record)
    storage.delete_prefix(Key("jobs"))
    assert found(jobs, repair=True) == [("record_without_folder", job_id, True)]


def test_a_slide_that_is_deleted_is_gone_from_the_storage_too(
    jobs: Jobs, storage: Storage, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retention = Retention(jobs, lambda _removed: None)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete_prefix", silent)
        with pytest.raises(StorageSilent):
            retention.remove_slide(slide_id)
    assert jobs.store.has_slide(slide_id), "nothing is begun that cannot be ended"
    retention.remove_slide(slide_id)
    assert list(storage.walk()) == []
    assert not jobs.store.has_slide(slide_id)
