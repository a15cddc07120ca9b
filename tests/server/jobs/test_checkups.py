"""The doctor over HTTP: the same findings page by page, one look at a time, and nothing mended."""

import threading

import pytest
from queue_fixtures import running, stored, submitted

from server.jobs.checkups import Checkups
from server.jobs.doctor import Doctor
from workers.core.errors.access import TooMany
from workers.core.queue.jobs import Jobs
from workers.core.store import new_id

pytestmark = pytest.mark.process


def spoiled(jobs: Jobs) -> list[tuple[str, str, str]]:
    """Make jobs of which some are not as they should be; return all that the doctor finds."""
    for _ in range(4):
        stored(jobs)
        running(jobs, 2)
        jobs.store.delete_job(submitted(jobs))
        jobs.store.job_dir(new_id()).mkdir()
    (jobs.store.root / "trash" / "a").mkdir()
    return [(each.kind, each.id, each.detail) for each in Doctor(jobs).findings()]


@pytest.mark.parametrize(("limit", "look_s"), [(1000, 60), (5, 60), (1, 60), (1000, 0)])
def test_pages_are_all_that_the_doctor_finds(jobs: Jobs, limit: int, look_s: float) -> None:
    wanted = spoiled(jobs)
    assert len(wanted) == 13
    checkups, found, looked, pages, cursor = Checkups(jobs, look_s), [], 0, 0, None
    while True:
        page = checkups.page(limit, cursor)
        assert len(page.items) <= limit + 1, "the trash is on the last page"
        found += [(each.kind, each.id, each.detail) for each in page.items]
        looked, pages, cursor = looked + page.jobs, pages + 1, page.next_cursor
        if cursor is None:
            break
    assert found == wanted
    assert looked == 16
    assert pages >= 12 / limit
    assert (pages > 1) == (limit < 13 or look_s == 0)
    assert [(each.kind, each.id, each.detail) for each in Doctor(jobs).findings()] == wanted, "nothing was mended"


def test_one_looks_at_a_time(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(jobs)
    is_inside, may_go = threading.Event(), threading.Event()
    looks = Doctor.looks

    def slow(doctor: Doctor, after: str = "") -> object:
        is_inside.set()
        assert may_go.wait(60)
        return looks(doctor, after)

    monkeypatch.setattr(Doctor, "looks", slow)
    checkups = Checkups(jobs)
    first = threading.Thread(target=checkups.page, args=(100,))
    first.start()
    assert is_inside.wait(60)
    with pytest.raises(TooMany) as refused:
        checkups.page(100)
    assert refused.value.retry_after_s
    may_go.set()
    first.join()
    assert checkups.page(100).jobs == 1


@pytest.mark.parametrize("digests", [False, True])
def test_digests_are_read_only_on_request(jobs: Jobs, monkeypatch: pytest.MonkeyPatch, digests: bool) -> None:
    asked = []
    monkeypatch.setattr(Doctor, "__init__", lambda _self, _jobs, *, digests: asked.append(digests))
    monkeypatch.setattr(Doctor, "looks", lambda _self, _after: iter([]))
    Checkups(jobs).page(100, digests=digests)
    assert asked == [digests]
