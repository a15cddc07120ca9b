"""Ends that no death and no broken disk can undo: on disk first, in Redis after that, and reconciled."""

import errno
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from queue_fixtures import (
    DEADLINE_S,
    begun,
    entries,
    finishing,
    running,
    submitted,
    sweep,
    until,
    worker,
    write_result,
)

from server.jobs.retention import Retention
from workers.core.errors.base import JobNotFound, MppMissing, QueueUnavailable, SlideInUse
from workers.core.job_files import ENDING, KEPT, keep_ending, stored_view
from workers.core.label_layout import LABELS, chunk_path
from workers.core.queue import ends
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import GOING, UNWRITTEN, JobKeys, Task
from workers.core.slide_schemas import SlideGeometry, SlideInfo
from workers.core.storage import trash
from workers.core.storage.memory import MemoryStorage


class Died(BaseException):
    """The process is gone."""


def dies(*_: object, **__: object) -> None:
    raise Died


def disk_says(jobs: Jobs, job_id: str) -> str | None:
    view = stored_view(jobs.store, job_id)
    return None if view is None else view.state


def test_an_end_that_only_the_disk_heard_of_comes_to_the_queue(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 2)
    with monkeypatch.context() as patch:
        patch.setattr(ends.Ends, "_close", dies)
        with pytest.raises(Died):
            jobs.cancel(job_id)
    assert (disk_says(jobs, job_id), jobs.view(job_id).state) == ("canceled", "running")
    sweep(jobs)
    assert jobs.view(job_id).state == "canceled"
    assert entries(jobs) == []


def test_a_task_heeds_an_end_that_only_the_disk_heard_of(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 2)
    jobs.redis.config_resetstat()
    jobs.ends.heed(job_id)
    assert not {"cmdstat_hget", "cmdstat_hgetall"} & jobs.redis.info("commandstats").keys()  # there is none: not asked
    with monkeypatch.context() as patch:
        patch.setattr(ends.Ends, "_close", dies)
        with pytest.raises(Died):
            jobs.cancel(job_id)
    jobs.ends.heed(job_id)
    assert jobs.view(job_id).state == "canceled"


@pytest.mark.parametrize("state", ["canceled", "failed"])
def test_a_job_that_has_ended_does_not_run_again_after_the_queue_is_lost(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    job_id = running(jobs, 2)
    with monkeypatch.context() as patch:  # dies at the first moment at which a client may have seen the end
        patch.setattr(ends.Ends, "clear", dies)
        with pytest.raises(Died):
            jobs.cancel(job_id) if state == "canceled" else jobs.fail(job_id, MppMissing("No."))
    jobs.redis.flushall()
    sweep(jobs)
    assert jobs.view(job_id).state == state
    assert entries(jobs) == []


def test_the_first_end_on_the_disk_holds(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 1)
    with monkeypatch.context() as patch:
        patch.setattr(ends.Ends, "_close", dies)
        with pytest.raises(Died):
            jobs.fail(job_id, MppMissing("The slide does not say it."))
    assert jobs.cancel(job_id).state == "failed"
    error = jobs.view(job_id).error
    assert error is not None
    assert error.code == "mpp_missing"
    assert disk_says(jobs, job_id) == "failed"


def test_a_job_that_succeeds_in_the_very_moment_stays_so(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = finishing(jobs)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "finish"))
    write_result(jobs, job_id)
    close = ends.Ends._close

    def late(self: ends.Ends, *arguments: Any, **named: Any) -> bool:
        me.finished(lease)
        return close(self, *arguments, **named)

    monkeypatch.setattr(ends.Ends, "_close", late)
    assert jobs.cancel(job_id).state == "succeeded"
    assert disk_says(jobs, job_id) == "succeeded"
    assert not (jobs.store.job_dir(job_id) / ENDING).exists()


def broken(number: int, times: int) -> Callable[..., Any]:
    """`keep_ending` on a disk that fails so often."""
    left = [number] * times

    def keep(*arguments: Any) -> Any:
        if left:
            raise OSError(left.pop(), "made")
        return keep_ending(*arguments)

    return keep


def test_a_result_outlives_a_queue_that_has_forgotten_its_job(jobs: Jobs) -> None:
    job_id = finishing(jobs)
    write_result(jobs, job_id)
    jobs.redis.flushall()
    jobs.fail(job_id, MppMissing("Something asked for it failed."))  # a product of it, for one
    assert disk_says(jobs, job_id) == "succeeded"
    assert jobs.store.read_result(job_id).job_id == job_id


def test_an_end_that_the_disk_cannot_take_is_written_when_it_can(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 2)
    monkeypatch.setattr(ends, "keep_ending", broken(errno.EROFS, 3))
    assert jobs.cancel(job_id).state == "canceled"
    assert disk_says(jobs, job_id) == "queued"
    sweep(jobs)  # still broken
    assert jobs.redis.smembers(UNWRITTEN) == {job_id.encode()}
    sweep(jobs)
    assert disk_says(jobs, job_id) == "canceled"
    assert jobs.redis.smembers(UNWRITTEN) == set()
    jobs.redis.flushall()
    sweep(jobs)
    assert entries(jobs) == []


def test_on_a_full_disk_a_cancel_makes_the_room_it_needs(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = running(jobs, 2)
    (jobs.store.job_dir(job_id) / "overlay.ome.tif").write_bytes(b"half")
    monkeypatch.setattr(ends, "keep_ending", broken(errno.ENOSPC, 1))
    assert jobs.cancel(job_id).state == "canceled"
    assert disk_says(jobs, job_id) == "canceled"
    assert jobs.redis.smembers(UNWRITTEN) == set()


def slide_of(jobs: Jobs, job_id: str) -> str:
    """Store a slide of the id that the request of a job names."""
    slide_id = jobs.view(job_id).request.slide_id
    geometry = SlideGeometry.model_validate(
        {"l0_width": 10, "l0_height": 10, "levels": [{"width": 10, "height": 10, "downsample": 1}]}
    )
    with jobs.store.incoming() as folder:
        (folder / "original.tif").write_bytes(b"slide")
        info = SlideInfo(
            id=slide_id, filename="a.tif", size_bytes=5, sha256="a" * 64, vendor="made", backend="tifffile",
            geometry=geometry, created_at=jobs.view(job_id).created_at,
        )  # fmt: skip
        jobs.store.commit_slide(info, folder)
    return slide_id


def test_a_job_whose_end_only_the_queue_knows_does_not_hold_its_slide(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    retention = Retention(jobs, lambda _: None)
    slide_id = slide_of(jobs, job_id)
    with pytest.raises(SlideInUse):
        retention.remove_slide(slide_id)
    jobs.cancel(job_id)
    (jobs.store.job_dir(job_id) / ENDING).unlink()
    retention.remove_slide(slide_id)
    assert jobs.store.list_jobs() == []


def test_age_spares_a_slide_that_a_job_of_another_data_folder_reads(jobs: Jobs) -> None:
    job_id = running(jobs, 2)
    slide_id = slide_of(jobs, job_id)
    jobs.store.storage = MemoryStorage()
    shutil.rmtree(jobs.store.job_dir(job_id))  # it lies in the other folder: the queue alone knows of it here
    jobs.settings = jobs.settings.model_copy(update={"retention_days": 30})
    retention, later = Retention(jobs, lambda _: None), datetime.now(UTC) + timedelta(days=40)
    assert retention.sweep(later) == 0
    with pytest.raises(SlideInUse):
        retention.remove_slide(slide_id)
    jobs.cancel(job_id)
    assert retention.sweep(later) > 0
    assert slide_id not in [info.id for info in jobs.store.list_slides()]


def test_while_redis_cannot_write_a_deletion_is_not_begun(jobs: Jobs) -> None:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    retention = Retention(jobs, lambda _: None)
    before = sorted(path.name for path in jobs.store.job_dir(job_id).iterdir())
    jobs.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable):
            retention.remove_job(job_id)
    finally:
        jobs.redis.config_set("maxmemory", 0)
    assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == before
    assert jobs.view(job_id).state == "canceled"
    retention.remove_job(job_id)
    with pytest.raises(JobNotFound):
        jobs.view(job_id)


def test_a_deletion_that_was_cut_short_is_completed(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, kept = submitted(jobs), submitted(jobs)
    jobs.cancel(job_id)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "forget", dies)
        with pytest.raises(Died):
            Retention(jobs, lambda _: None).remove_job(job_id)
    jobs.is_going(kept)  # and here it died before it had begun
    sweep(jobs)
    with pytest.raises(JobNotFound):
        jobs.view(job_id)
    assert jobs.redis.hgetall(JobKeys(job_id).record) == {}
    assert jobs.redis.smembers(GOING) == {kept.encode()}
    assert jobs.view(kept).state == "queued"


def test_an_end_is_written_where_there_are_no_hard_links(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "made")

    monkeypatch.setattr("workers.core.job_files.os.link", no_link)
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == ["ended.json", "job.json"]


def test_a_cancel_does_not_wait_until_very_many_files_are_removed(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    held, sound = threading.Event(), trash.removed

    def slow(folder: Path) -> bool:
        return held.wait(DEADLINE_S) and sound(folder)

    monkeypatch.setattr(trash, "removed", slow)
    job_id = running(jobs, 2)
    chunk = chunk_path(jobs.store.job_dir(job_id), LABELS, 0, 0)
    chunk.parent.mkdir(parents=True)
    chunk.touch()
    assert jobs.cancel(job_id).state == "canceled"
    assert {path.name for path in jobs.store.job_dir(job_id).iterdir()} == KEPT - {"webhook.json"}
    assert any(jobs.store.trash.folder.iterdir())
    held.set()
    until(lambda: not any(jobs.store.trash.folder.iterdir()))
