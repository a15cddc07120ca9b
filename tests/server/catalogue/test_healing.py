"""Whatever happens to the index, and to what it is made of: lists and counts say what the disk says, and none fails."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from catalogue_fixtures import without_queue
from job_requests import add_slide
from queue_fixtures import REQUEST, begun, finishing, stored, submitted, worker, write_result
from sqlalchemy import text

from server.catalogue import database, entries, rows
from server.catalogue.catalogue import Catalogue
from server.catalogue.listing import list_jobs, list_slides
from server.catalogue.pages import JobFilter, SlideFilter
from server.catalogue.tables import ENTRIES
from workers.core.errors.base import JobLost
from workers.core.job_files import ENDING
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import Task
from workers.core.store import Store


@pytest.fixture(autouse=True, params=["at once", "later"])
def settles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that have ended are settled in the index at once, or not within a test: lists say the same."""
    monkeypatch.setattr(entries, "CLEARED_S", -60.0 if request.param == "at once" else 3600.0)


def slides(catalogue: Catalogue) -> set[str]:
    return {info.id for info in list_slides(catalogue, 100, SlideFilter(tenant="local"))[0]}


def in_memory(catalogue: Catalogue) -> bool:
    return catalogue._database.is_memory


def jobs_in(catalogue: Catalogue, *states: str) -> set[str]:
    return {view.id for view in list_jobs(catalogue, 100, JobFilter(tenant="local", states=states))[0]}


# --- the index itself -------------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    path.write_bytes(b"this is no index" * 1000)


def without_a_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE catalogue_entry")


def of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE catalogue_version SET version = 0")
        connection.execute("DELETE FROM catalogue_entry")


def gone(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


@pytest.mark.parametrize("harm", [cut_short, overwritten, without_a_table, of_another_version, gone])
def test_a_file_that_is_harmed_is_made_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    jobs = without_queue(tmp_path)
    ids = {add_slide(jobs.store, 0.5) for _ in range(30)}
    catalogue = Catalogue(jobs)
    assert slides(catalogue) == ids
    catalogue.close()
    harm(tmp_path / database.FILE)
    again = Catalogue(jobs)
    assert slides(again) == ids
    assert not in_memory(again)
    again.close()
    with sqlite3.connect(tmp_path / database.FILE) as connection:
        assert connection.execute("SELECT count(*) FROM catalogue_entry").fetchone() == (30,)


@pytest.mark.parametrize("harm", [gone, overwritten])
def test_a_file_that_is_harmed_under_a_server_is_made_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    jobs = without_queue(tmp_path)
    ids = {add_slide(jobs.store, 0.5)}
    catalogue = Catalogue(jobs)
    assert slides(catalogue) == ids
    harm(tmp_path / database.FILE)
    ids.add(add_slide(jobs.store, 0.5))
    assert slides(catalogue) == ids
    assert catalogue.stored("local").slides == 2


def test_where_no_file_can_be_it_is_kept_in_memory_until_one_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = without_queue(tmp_path)
    (tmp_path / database.FILE).mkdir()
    ids = {add_slide(jobs.store, 0.5)}
    catalogue = Catalogue(jobs)
    assert slides(catalogue) == ids
    assert "kept in memory" in caplog.text
    ids.add(add_slide(jobs.store, 0.5))
    assert slides(catalogue) == ids
    catalogue.tend()
    assert in_memory(catalogue)
    (tmp_path / database.FILE).rmdir()
    catalogue.tend()
    assert not in_memory(catalogue)
    assert slides(catalogue) == ids
    catalogue.close()


def test_while_somebody_else_has_it_locked_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    jobs = without_queue(tmp_path)
    catalogue = Catalogue(jobs)
    assert slides(catalogue) == set()
    with sqlite3.connect(tmp_path / database.FILE, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        ids = {add_slide(jobs.store, 0.5)}
        assert slides(catalogue) == ids
        assert in_memory(catalogue)
        other.execute("ROLLBACK")
    catalogue.tend()
    assert not in_memory(catalogue)
    assert slides(catalogue) == ids


def test_a_database_whose_tables_somebody_drops_is_made_anew(jobs: Jobs, catalogue: Catalogue) -> None:
    ids = {add_slide(jobs.store, 0.5)}
    assert slides(catalogue) == ids
    with catalogue._database.engine().begin() as connection:
        connection.execute(text("DROP TABLE catalogue_entry"))
    assert slides(catalogue) == ids
    assert not in_memory(catalogue)


def test_two_gateways_make_it_at_once(jobs: Jobs, catalogue: Catalogue) -> None:
    ids = {add_slide(jobs.store, 0.5) for _ in range(5)}
    other = Catalogue(jobs)
    assert slides(other) == slides(catalogue) == ids
    jobs.store.delete_slide(ids.pop())
    ids.add(add_slide(jobs.store, 0.5))
    assert slides(catalogue) == slides(other) == ids
    other.close()


# --- what it is made of -----------------------------------------------------------------------------------------------


def test_what_comes_and_goes_by_hand_is_seen(jobs: Jobs, catalogue: Catalogue, tmp_path: Path) -> None:
    ids = {add_slide(jobs.store, 0.5) for _ in range(3)}
    assert slides(catalogue) == ids
    moved = ids.pop()
    jobs.store.slide_dir(moved).rename(tmp_path / "elsewhere")
    assert slides(catalogue) == ids
    (tmp_path / "elsewhere").rename(jobs.store.slide_dir(moved))
    assert slides(catalogue) == ids | {moved}


def test_a_record_that_was_changed_by_hand_is_found_and_mended(jobs: Jobs, catalogue: Catalogue) -> None:
    slide_id = add_slide(jobs.store, 0.5)
    assert slides(catalogue) == {slide_id}
    path = jobs.store.slide_dir(slide_id) / "slide.json"
    path.write_text(path.read_text().replace('"size_bytes": 4', '"size_bytes": 9'))
    assert catalogue.stored("local").slides_bytes == 4, "nobody has said so"
    assert [facts.id for facts in catalogue.differing()] == [slide_id]
    assert catalogue.reconcile() == 1
    assert catalogue.stored("local").slides_bytes == 9
    assert catalogue.differing() == []


def test_who_has_read_before_another_wrote_changes_nothing(jobs: Jobs, catalogue: Catalogue) -> None:
    slide_id = add_slide(jobs.store, 0.5)
    assert slides(catalogue) == {slide_id}
    engine = catalogue._database.engine()
    with rows.reading(engine) as connection:
        (early,) = (late,) = rows.look_at(connection, catalogue._host, ENTRIES.c.id == slide_id)
    assert rows.renew(engine, late.facts, late.revision)
    assert not rows.renew(engine, early.facts, early.revision)


def test_an_end_is_seen_whoever_dies_before_it_is_in_the_queue(jobs: Jobs, catalogue: Catalogue) -> None:
    """A worker writes an end to the disk, then to the queue; the index counts it once both have it."""
    job_id = finishing(jobs)
    me = worker(jobs)
    lease = begun(me, Task(job_id, "finish"))
    assert jobs_in(catalogue, "succeeded") == set()
    write_result(jobs, job_id)
    assert jobs_in(catalogue, "succeeded") == set(), "the worker may have died here"
    assert jobs_in(catalogue, "finishing") == {job_id}
    me.finished(lease)
    assert jobs_in(catalogue, "succeeded") == {job_id}
    assert jobs_in(catalogue, "finishing") == set()


def test_an_end_that_is_taken_back_is_none(jobs: Jobs, catalogue: Catalogue) -> None:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    jobs.redis.hset(f"ldiffusion:job:{job_id}", "state", "succeeded")  # its last task was quicker than the cancel
    assert jobs_in(catalogue, "canceled") == set()
    write_result(jobs, job_id)
    (jobs.store.job_dir(job_id) / ENDING).unlink()
    assert jobs_in(catalogue, "succeeded") == {job_id}


def test_a_failed_job_that_is_queued_again_is_queued(jobs: Jobs, catalogue: Catalogue) -> None:
    job_id = submitted(jobs)
    jobs.fail(job_id, JobLost("made", value=job_id))
    assert jobs_in(catalogue, "failed") == {job_id}
    jobs.resume(job_id)
    assert jobs_in(catalogue, "failed") == set()
    assert jobs_in(catalogue, "queued") == {job_id}


def test_a_job_that_comes_again_under_its_name_is_another(jobs: Jobs, catalogue: Catalogue) -> None:
    job_id = submitted(jobs)
    jobs.cancel(job_id)
    assert jobs_in(catalogue, "canceled") == {job_id}
    jobs.store.delete_job(job_id)
    jobs.forget(job_id)
    jobs.store.save_request(job_id, REQUEST, datetime.now(UTC))
    jobs.submit(job_id, REQUEST)
    assert jobs_in(catalogue, "canceled") == set()
    assert jobs_in(catalogue) == jobs_in(catalogue, "queued") == {job_id}


def test_a_job_that_only_the_disk_knows_is_listed(jobs: Jobs, catalogue: Catalogue) -> None:
    job_id = stored(jobs)
    write_result(jobs, job_id)
    assert jobs_in(catalogue, "succeeded") == {job_id}


def test_a_death_in_the_middle_of_making_it_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = without_queue(tmp_path)
    ids = {add_slide(jobs.store, 0.5) for _ in range(5)}
    monkeypatch.setattr(rows, "AT_ONCE", 2)
    sound = Store.read_slide
    left = [3]

    def dying(self: Store, slide_id: str) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return sound(self, slide_id)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_slide", dying)
        with pytest.raises(KeyboardInterrupt):
            Catalogue(jobs).learn("slide")
    assert slides(Catalogue(jobs)) == ids
    shutil.rmtree(jobs.store.slide_dir(ids.pop()))
    assert slides(Catalogue(jobs)) == ids
