"""What is past its time goes, with all that came of it; what a job needs, and what is younger, stays."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.catalogue.entries import batches_of
from server.jobs.batch_records import BatchFiles, BatchRequest, StoredBatch, StoredItem
from server.jobs.retention import Removed, Retention
from workers.core.errors.base import JobNotFound, QueueUnavailable, SlideInUse, SlideNotFound
from workers.core.job_files import Ending, keep_ending, view_from_disk
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideGeometry, SlideInfo, SlideLevel
from workers.core.store import Store, new_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 30


class HeldJobs(Jobs):
    """A queue that only remembers what it was told: deletion is decided on the disk."""

    def __init__(self, data_dir: Path, days: float = DAYS) -> None:
        self.settings = Settings(data_dir=data_dir, retention_days=days)
        self.store = Store(data_dir)
        self.forgotten: list[str] = []
        self.is_up = True

    def ping(self) -> None:
        if not self.is_up:
            raise QueueUnavailable("The queue does not answer.")

    def is_going(self, job_id: str) -> None:
        self.ping()

    def settle(self, job_id: str) -> bool:
        return False

    def forget(self, job_id: str) -> None:
        self.ping()
        self.forgotten.append(job_id)


@pytest.fixture
def queue(tmp_path: Path) -> HeldJobs:
    return HeldJobs(tmp_path)


@pytest.fixture
def told() -> list[Removed]:
    return []


@pytest.fixture
def retention(queue: HeldJobs, told: list[Removed]) -> Retention:
    return Retention(queue, told.append)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def slide(store: Store, days: float) -> str:
    level = SlideLevel(width=10, height=10, downsample=1)
    info = SlideInfo(
        id=new_id(),
        filename="a.tif",
        size_bytes=5,
        sha256="0" * 64,
        vendor="generic-tiff",
        backend="openslide",
        geometry=SlideGeometry(l0_width=10, l0_height=10, levels=(level,)),
        created_at=ago(days),
    )
    with store.incoming() as folder:
        (folder / "original.tif").write_bytes(b"bytes")
        store.commit_slide(info, folder)
    return info.id


def job(store: Store, slide_id: str, created: float, ended: float | None, state: str = "succeeded") -> str:
    """A job that was created and has ended so many days ago; None: it has not."""
    job_id = new_id()
    request = JobRequest(slide_id=slide_id, model="made-model", mpp=0.5)
    store.save_request(job_id, request, ago(created))
    if ended is None:
        return job_id
    if state != "succeeded":
        keep_ending(store, job_id, Ending.model_validate({"state": state, "finished_at": ago(ended)}))
        return job_id
    fields: dict[str, Any] = {"job_id": job_id, "slide_id": slide_id, "slide_sha256": "0" * 64, "slide_filename": "a"}
    fields |= {"model": "made-model", "model_digest": "d", "mpp_x": 0.5, "mpp_y": 0.5, "mpp_source": "request"}
    fields |= {"model_mpp": 0.5, "seed": 0, "region_px": 512, "halo_px": 0, "regions": 1, "backend": "openslide"}
    fields |= {"versions": {}, "timings_s": {}, "files": {}}
    fields |= {"created_at": ago(created).isoformat(), "finished_at": ago(ended).isoformat()}
    folder = store.job_dir(job_id)
    (folder / "labels.zarr").mkdir()
    (folder / "labels.zarr" / "0").write_bytes(b"chunk")
    (folder / "result.json").write_text(json.dumps(fields))
    return job_id


def left(store: Store) -> set[str]:
    """Names of all folders that hold something of a slide or job, wherever they are."""
    return {path.name for kind in ("slides", "jobs", "trash") for path in (store.root / kind).iterdir()}


# --- by age -----------------------------------------------------------------------------------------------------------


def test_an_old_slide_goes_with_its_jobs_and_all_their_files(
    queue: HeldJobs, retention: Retention, told: list[Removed]
) -> None:
    old = slide(queue.store, 40)
    jobs = [
        job(queue.store, old, 39, 38),
        job(queue.store, old, 39, 38, "failed"),
        job(queue.store, old, 35, 34, "canceled"),
    ]
    kept = slide(queue.store, 1)
    assert retention.sweep(NOW) == 4
    assert left(queue.store) == {kept}
    assert sorted(queue.forgotten) == sorted(jobs)
    assert {(each.kind, each.id, each.reason, each.slide_id) for each in told} == {
        ("slide", old, "age", old),
        *(("job", each, "age", old) for each in jobs),
    }
    assert all(each.size_bytes > 0 for each in told)


def test_a_slide_is_as_old_as_the_last_thing_done_with_it(queue: HeldJobs, retention: Retention) -> None:
    used = slide(queue.store, 100)
    old, young = job(queue.store, used, 90, 89), job(queue.store, used, 35, 29)
    retention.sweep(NOW)
    assert left(queue.store) == {used, young}
    assert queue.forgotten == [old]


@pytest.mark.parametrize("days", [31, 1000])
def test_an_unfinished_job_pins_itself_and_its_slide(queue: HeldJobs, retention: Retention, days: int) -> None:
    pinned = slide(queue.store, days)
    running = job(queue.store, pinned, days, None)
    assert retention.sweep(NOW) == 0
    assert left(queue.store) == {pinned, running}


def test_results_of_a_slide_that_is_gone_go_by_their_own_age(queue: HeldJobs, retention: Retention) -> None:
    old, young = job(queue.store, new_id(), 40, 31), job(queue.store, new_id(), 40, 29)
    retention.sweep(NOW)
    assert left(queue.store) == {young}
    assert queue.forgotten == [old]


def test_nothing_goes_where_everything_is_kept(tmp_path: Path) -> None:
    queue = HeldJobs(tmp_path, days=0)
    slide_id = slide(queue.store, 10_000)
    assert Retention(queue, lambda _removed: pytest.fail("removed")).sweep(NOW) == 0
    assert left(queue.store) == {slide_id}


def test_without_the_queue_nothing_is_begun(queue: HeldJobs, retention: Retention) -> None:
    slide_id = slide(queue.store, 40)
    queue.is_up = False
    with pytest.raises(QueueUnavailable):
        retention.sweep(NOW)
    assert left(queue.store) == {slide_id}


def test_a_folder_that_cannot_be_read_stays_and_stops_nothing(queue: HeldJobs, retention: Retention) -> None:
    old = slide(queue.store, 40)
    broken = job(queue.store, old, 40, 39)
    (queue.store.job_dir(broken) / "job.json").write_text("{")
    assert retention.sweep(NOW) == 1
    assert left(queue.store) == {broken}


@given(
    slides=st.lists(
        st.tuples(
            st.integers(0, 60),
            st.lists(st.tuples(st.integers(0, 60), st.one_of(st.none(), st.integers(0, 60))), max_size=3),
        ),
        max_size=4,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_what_stays_is_what_a_literal_rule_says(
    tmp_path_factory: pytest.TempPathFactory, slides: list[tuple[int, list[tuple[int, int | None]]]]
) -> None:
    queue = HeldJobs(tmp_path_factory.mktemp("data"))
    expected = set()
    for uploaded, jobs in slides:
        slide_id = slide(queue.store, uploaded + 0.5)
        uses = [uploaded + 0.5]
        for created, ended in jobs:
            last = None if ended is None else min(created, ended) + 0.5
            job_id = job(queue.store, slide_id, created + 0.5, last)
            uses.append(0 if last is None else last)
            expected |= {job_id} if uses[-1] < DAYS else set()
        expected |= {slide_id} if min(uses) < DAYS else set()
    Retention(queue, lambda _removed: None).sweep(NOW)
    assert left(queue.store) == expected


# --- on request -------------------------------------------------------------------------------------------------------


def test_what_is_asked_for_goes_at_any_age(queue: HeldJobs, retention: Retention, told: list[Removed]) -> None:
    wanted, other = slide(queue.store, 0), slide(queue.store, 0)
    mine, theirs = job(queue.store, wanted, 0, 0), job(queue.store, other, 0, 0)
    retention.remove_slide(wanted)
    assert left(queue.store) == {other, theirs}
    assert queue.forgotten == [mine]
    assert [(each.kind, each.reason) for each in told] == [("job", "request"), ("slide", "request")]
    with pytest.raises(SlideNotFound):
        retention.remove_slide(wanted)


def test_a_slide_that_a_job_reads_is_not_removed(queue: HeldJobs, retention: Retention, told: list[Removed]) -> None:
    wanted = slide(queue.store, 40)
    ended, running = job(queue.store, wanted, 39, 38), job(queue.store, wanted, 1, None)
    with pytest.raises(SlideInUse) as caught:
        retention.remove_slide(wanted)
    assert caught.value.value == running
    assert left(queue.store) == {wanted, ended, running}
    assert not told


def test_what_the_disk_does_not_let_go_of_is_told_and_tried_again(
    queue: HeldJobs, retention: Retention, told: list[Removed], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = slide(queue.store, 0)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_args, **_options: None)
        retention.remove_slide(wanted)
    assert [each.is_whole for each in told] == [False]
    assert [path.name for path in queue.store.root.glob("trash/*/original.tif")] == ["original.tif"]
    retention.sweep(NOW)
    assert left(queue.store) == set()
    other = slide(queue.store, 0)
    retention.remove_slide(other)
    assert [each.is_whole for each in told] == [False, True]


def test_a_batch_goes_with_its_last_job_or_by_age(queue: HeldJobs, retention: Retention) -> None:
    def batch(days: float, *job_ids: str) -> Path:
        items = tuple(StoredItem(slide_id="s", job_id=job_id) for job_id in job_ids)
        asked = BatchRequest(slide_ids=("s",))
        made = StoredBatch(id=new_id(), created_at=ago(days), request=asked, items=items)
        BatchFiles(queue.store).write(made)
        return batches_of(queue.store.root, made.tenant) / f"{made.id}.json"

    old_slide, new_slide = slide(queue.store, 40), slide(queue.store, 0)
    gone, kept = job(queue.store, old_slide, 39, 38), job(queue.store, new_slide, 1, 1)
    old, refused, being_made, alive = batch(39, gone), batch(39), batch(0, new_id()), batch(39, gone, kept)
    retention.sweep(NOW)
    assert [path.exists() for path in (old, refused, being_made, alive)] == [False, False, True, True]
    queue.view = lambda job_id: view_from_disk(queue.store, job_id)  # type: ignore[method-assign]
    retention.remove_job(kept)
    assert [path.exists() for path in (being_made, alive)] == [True, False]


def test_one_slide_that_cannot_be_read_hides_no_other(queue: HeldJobs, retention: Retention) -> None:
    broken, old, new = (slide(queue.store, days) for days in (40, 40, 0))
    (queue.store.slide_dir(broken) / "slide.json").write_bytes(b"\xff{")
    assert {info.id for info in queue.store.list_slides()} == {old, new}
    assert retention.sweep(NOW) == 1
    assert left(queue.store) == {broken, new}


# --- with a real queue ------------------------------------------------------------------------------------------------


def test_a_job_is_forgotten_by_the_queue_too(jobs: Jobs) -> None:
    slide_id = slide(jobs.store, 0)
    job_id = job(jobs.store, slide_id, 0, None)
    jobs.submit(job_id, jobs.store.read_request(job_id).request)
    told: list[Removed] = []
    retention = Retention(jobs, told.append)
    with pytest.raises(SlideInUse):
        retention.remove_slide(slide_id)
    jobs.cancel(job_id)
    retention.remove_job(job_id)
    with pytest.raises(JobNotFound):
        jobs.view(job_id)
    with pytest.raises(JobNotFound):
        retention.remove_job(job_id)
    retention.remove_slide(slide_id)
    assert left(jobs.store) == set()
    assert [each.kind for each in told] == ["job", "slide"]
