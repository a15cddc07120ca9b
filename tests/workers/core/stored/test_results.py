"""Results of a job in a storage: all of them or none, found by name, fetched back as they were."""

from pathlib import Path

import pytest
from finished_jobs import FILES, finished_job, storable_job

from workers.core.queue.lease import Superseded
from workers.core.storage.base import Key, StorageSilent, Stored
from workers.core.storage.commits import Fenced
from workers.core.storage.layout import job_record
from workers.core.storage.memory import MemoryStorage
from workers.core.store import Store
from workers.core.stored.results import entries_of, find_result, local_result, publish


class Counting(MemoryStorage):
    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []

    def put(self, key: Key, data: bytes | Path) -> Stored:
        self.puts.append(key)
        return super().put(key, data)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def store(tmp_path: Path, counting: Counting) -> Store:
    return Store(tmp_path, counting)


@pytest.fixture
def job_id(store: Store, counting: Counting) -> str:
    job_id = storable_job(store)
    counting.delete(job_record(job_id))
    counting.puts.clear()
    return job_id


def test_all_results_are_stored_and_come_back_as_they_were(store: Store, counting: Counting, job_id: str) -> None:
    assert find_result(store, job_id, "overlay.ome.tif") is None
    publish(store, job_id, 5)
    kept = {path.name: path.read_bytes() for path in store.job_dir(job_id).iterdir()}
    assert kept.keys() == {*FILES, "result.json", "job.json"}
    for name in (*FILES, "result.json"):
        found = find_result(store, job_id, name)
        assert found is not None
        assert counting.get(found.key) == kept[name]
        (store.job_dir(job_id) / name).unlink()
        assert local_result(store, job_id, name).read_bytes() == kept[name]
    assert find_result(store, job_id, "job.json") is None
    assert {path.name for path in store.job_dir(job_id).iterdir()} == kept.keys()


def test_what_is_stored_is_not_stored_again_unless_it_changed(store: Store, counting: Counting, job_id: str) -> None:
    publish(store, job_id, 5)
    count = len(counting.puts)
    publish(store, job_id, 6)
    publish(store, job_id, 4)  # a late one has nothing to say
    assert len(counting.puts) == count
    result = store.read_result(job_id)
    store.write_json(store.job_dir(job_id) / "result.json", result.model_copy(update={"halo_px": 1}))
    with pytest.raises(Fenced):
        publish(store, job_id, 4)
    assert len(counting.puts) == count, "told before anything is sent"
    publish(store, job_id, 6)
    assert len(list(counting.walk())) == count, "the older set is gone"
    publish(store, job_id, 7, anew=True)
    assert len(counting.puts) == 3 * count


def test_a_writer_that_lost_its_lease_stops_at_the_next_file_shows_nothing_and_leaves_nothing(
    store: Store, counting: Counting, job_id: str
) -> None:
    for calls in range(len(FILES) + 2):
        left = [calls]

        def check(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Superseded

        with pytest.raises(Superseded):
            publish(store, job_id, calls + 1, check)
        assert find_result(store, job_id, "result.json") is None
        assert list(counting.walk()) == [], "nobody may commit after it"
    publish(store, job_id, 100)
    assert len(list(counting.walk())) == len(entries_of(store, job_id)) + 1


def test_a_copy_that_is_not_what_was_stored_is_refused(store: Store, counting: Counting, job_id: str) -> None:
    publish(store, job_id, 5)
    found = find_result(store, job_id, "regions.geojson.gz")
    assert found is not None
    counting.put(found.key, b"gone")
    (store.job_dir(job_id) / "regions.geojson.gz").unlink()
    with pytest.raises(StorageSilent):
        local_result(store, job_id, "regions.geojson.gz")
    assert not (store.job_dir(job_id) / "regions.geojson.gz").exists()


def test_without_a_storage_nothing_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    job_id = finished_job(store)
    publish(store, job_id, 1)
    assert find_result(store, job_id, "result.json") is None
    assert local_result(store, job_id, "result.json") == store.job_dir(job_id) / "result.json"
