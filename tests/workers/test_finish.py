"""A finish that dies: what is complete is kept, tries are counted for each output, regions are never lost."""

from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import asked_for, chunks, work
from queue_fixtures import begun, drain, finishing, sweep, worker

from workers import stages, writers
from workers.core.digests import sha256_of
from workers.core.errors.base import ResultNotReady
from workers.core.job_files import ENDING, stored_view
from workers.core.label_layout import STORE
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JobKeys, Task
from workers.outputs.landed import LANDED, Landed
from workers.runtime import Runtime

WRITERS = ("write_overlay", "write_labels", "write_objects", "write_regions", "write_statistics", "write_preview")


def counted(monkeypatch: pytest.MonkeyPatch, faults: dict[str, int]) -> list[str]:
    """Have writers fail so often; return the list of calls."""
    calls: list[str] = []

    def watched(name: str) -> Any:
        sound = getattr(writers, name)

        def write(path: Path, *arguments: Any) -> Any:
            calls.append(name)
            path.write_bytes(b"half")
            if calls.count(name) <= faults.get(name, 0):
                raise RuntimeError("once in a while")
            return sound(path, *arguments)

        return write

    for name in WRITERS:
        monkeypatch.setattr(writers, name, watched(name))
    return calls


def test_a_finish_goes_on_after_the_outputs_that_are_complete(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, {"write_regions": 2, "write_preview": 1})
    job_id = asked_for(jobs, slide_id)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert {name: calls.count(name) for name in calls} == dict.fromkeys(calls, 1) | {
        "write_regions": 3,
        "write_preview": 2,
    }
    result, folder = jobs.store.read_result(job_id), jobs.store.job_dir(job_id)
    assert result.files == {name: sha256_of(folder / name) for name in result.files}
    assert set(result.files) >= set(jobs.store.read_plan(job_id).outputs)
    assert set(result.timings_s) >= set(jobs.store.read_plan(job_id).outputs)
    assert not (folder / LANDED).exists()


def test_what_does_not_hold_what_was_written_down_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("one")
    for name in ("kept", "changed", "gone"):
        (tmp_path / name).write_text("whole")
        Landed(tmp_path).add(name, 1.25)
    (tmp_path / "changed").write_text("other")
    (tmp_path / "gone").unlink()
    again = Landed(tmp_path)
    assert [name in again for name in ("kept", "changed", "gone")] == [True, False, False]
    assert (again["kept"].seconds, again["kept"].size_bytes) == (1.25, 5)
    (tmp_path / LANDED).write_text("{")
    assert "kept" not in Landed(tmp_path)
    Landed(tmp_path).add("kept", 1.25)
    (tmp_path / "plan.json").write_text("another")
    assert "kept" not in Landed(tmp_path)


def die_in_finish(jobs: Jobs, job_id: str, *landed: str) -> None:
    """Begin the finish, complete these outputs, be killed."""
    victim = worker(jobs)
    lease = begun(victim, Task(job_id, "finish"))
    for name in landed:
        victim.landed(lease, name)
    victim.retire()
    drain(jobs)
    sweep(jobs)


def test_tries_are_counted_for_each_output(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    for output in ("a", "b", "c", "d", "e", "f"):
        die_in_finish(jobs, job_id)
        die_in_finish(jobs, job_id, output)
    assert jobs.view(job_id).state == "finishing"
    for _ in range(jobs.settings.task_retries):
        assert jobs.view(job_id).state == "finishing"
        die_in_finish(jobs, job_id)
    assert jobs.view(job_id).state == "failed"


def test_an_output_that_does_not_stay_does_not_kill_workers_forever(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    deaths = 0
    while jobs.view(job_id).state == "finishing":
        assert deaths < 20
        die_in_finish(jobs, job_id, "a", "b")
        deaths += 1


def test_a_lost_finish_keeps_the_regions_and_can_be_resumed(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = asked_for(jobs, slide_id)
    with monkeypatch.context() as patch:
        counted(patch, {"write_regions": 99})
        work(here)
    assert jobs.view(job_id).state == "failed"
    folder = jobs.store.job_dir(job_id)
    landed = chunks(jobs, job_id)
    assert landed
    assert not (folder / "overlay.ome.tif").exists()
    jobs.redis.flushall()
    here.leases.beat()
    sweep(jobs)
    view = stored_view(jobs.store, job_id)
    assert view is not None
    assert view.state == "failed"
    with monkeypatch.context() as patch:
        patch.setattr(stages, "segment_one", None)  # no region is computed again
        assert jobs.resume(job_id).state == "queued"
        work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert chunks(jobs, job_id).items() >= landed.items()
    assert not (folder / ENDING).exists()
    with pytest.raises(ResultNotReady, match="Only a job that failed"):
        jobs.resume(job_id)


def test_a_canceled_finish_keeps_nothing(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    (jobs.store.job_dir(job_id) / STORE).mkdir()
    jobs.cancel(job_id)
    assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == ["ended.json", "job.json"]


def test_what_killed_writers_left_half_written_is_swept(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = asked_for(jobs, slide_id)
    finish = stages.finish_job

    def with_leftovers(*arguments: Any, **named: Any) -> Any:
        folder = jobs.store.job_dir(job_id)
        (folder / ".0123456789ab.overlay.ome.tif").write_bytes(b"half")
        (folder / STORE / "labels" / "c" / "0" / "1.0123.partial").write_bytes(b"half")
        (folder / STORE / "labels" / "c" / "0" / ".0123456789ab.1").write_bytes(b"half")
        return finish(*arguments, **named)

    monkeypatch.setattr(stages, "finish_job", with_leftovers)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    found = [path.name for path in jobs.store.job_dir(job_id).rglob("*")]
    assert not [name for name in found if name.endswith(".partial") or name.startswith(".0123")]
    assert jobs.redis.hgetall(JobKeys(job_id).attempts) == {}
