"""Jobs whose results go to a storage: before they count as succeeded, and of one writer only."""

from pathlib import Path

import pytest
from pipeline_fixtures import asked_for, work
from queue_fixtures import begun, finishing, worker

from workers import tasks
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.core.queue.lease import Lease
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.storage.base import Key, StorageSilent
from workers.core.storage.layout import job_record
from workers.core.storage.local import LocalStorage
from workers.runtime import Runtime

pytestmark = pytest.mark.process


@pytest.fixture
def lease_s() -> float:
    return 1.5


@pytest.fixture
def queue_settings(queue_settings: Settings, tmp_path: Path) -> Settings:
    return queue_settings.model_copy(update={"storage_url": f"file://{tmp_path}/storage"})


def token_of(jobs: Jobs, job_id: str) -> int:
    results = jobs.store.results(job_id)
    assert results is not None
    manifest = results.current()
    assert manifest is not None
    for name, entry in manifest.files.items():
        content = (jobs.store.job_dir(job_id) / name).read_bytes()
        assert results.storage.get(results.key(manifest.token, name)) == content
        assert entry.size_bytes == len(content)
    assert manifest.files.keys() == {*jobs.store.read_result(job_id).files, "result.json"}
    return manifest.token


def test_a_job_that_succeeded_is_stored_and_a_finish_done_again_stores_nothing(
    here: Runtime, jobs: Jobs, slide_id: str
) -> None:
    job_id = asked_for(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    token = token_of(jobs, job_id)
    jobs.redis.hset(JobKeys(job_id).record, "state", "finishing")
    here.leases.beat()
    tasks.finish_slide(job_id)
    assert jobs.view(job_id).state == "succeeded"
    assert token_of(jobs, job_id) == token


def test_a_storage_that_fails_fails_the_job_after_all_tries_and_resume_goes_on(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Key] = []

    def silent(_self: LocalStorage, key: Key, _data: object) -> None:
        tried.append(key)
        raise StorageSilent("it does not answer")

    monkeypatch.setattr(tasks, "FAULT_PAUSE_S", 0)
    job_id = asked_for(jobs, slide_id)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "put", silent)
        work(here)
    view = jobs.view(job_id)
    assert view.error is not None
    assert (view.state, view.error.code) == ("failed", "storage_fault")
    assert "The storage does not work" in view.error.message
    tokens = [key.split("/")[4] for key in tried]
    assert len(tokens) == here.settings.task_retries + 1
    assert sorted(set(tokens)) == tokens, "each try has a greater token than the one before"
    assert jobs.resume(job_id).state == "queued"
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert f"{token_of(jobs, job_id):020}" > tokens[-1]


def test_tokens_grow_whatever_happens_to_tries_and_queue(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    me, tokens = worker(jobs), []
    for _ in range(3):
        lease = begun(me, Task(job_id, "finish"))
        tokens.append(lease.token)
        me.landed(lease, f"output-{lease.token}")  # its tries begin anew
        assert jobs.redis.hget(JobKeys(job_id).attempts, "finish") == b"1"
    jobs.redis.hset(JobKeys(job_id).record, "token", tokens[-1] + 10**12)  # the clock is set back
    tokens.append(begun(me, Task(job_id, "finish")).token)
    assert tokens == sorted(set(tokens))
    jobs.redis.flushall()
    again = finishing(jobs)
    assert begun(worker(jobs), Task(again, "finish")).token > tokens[2]


def test_of_a_job_that_was_canceled_meanwhile_no_result_is_shown(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStorage.put

    def canceled_then_put(self: LocalStorage, key: Key, data: bytes | Path) -> object:
        jobs.cancel(job_id)
        return put(self, key, data)

    job_id = asked_for(jobs, slide_id)
    monkeypatch.setattr(LocalStorage, "put", canceled_then_put)
    work(here)
    assert jobs.view(job_id).state == "canceled"
    results = jobs.store.results(job_id)
    assert results is not None
    assert results.current() is None


def test_of_a_job_that_was_canceled_after_its_results_were_stored_nothing_stays(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = Leases.finished

    def canceled_then_finished(self: Leases, lease: Lease) -> None:
        assert token_of(jobs, job_id) == lease.token
        jobs.cancel(job_id)
        finished(self, lease)

    job_id = asked_for(jobs, slide_id)
    monkeypatch.setattr(Leases, "finished", canceled_then_finished)
    work(here)
    assert jobs.view(job_id).state == "canceled"
    assert jobs.store.storage is not None
    assert [stored.key for stored in jobs.store.storage.walk()] == [job_record(job_id)]
