"""Lists in pages: everything once, the newest first, by what the disk and the queue say at that moment."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_fixtures import REQUEST, entries, running, stored, submitted, sweep

from server.catalogue import rows
from server.catalogue.catalogue import Catalogue
from server.catalogue.database import Database
from server.catalogue.entries import Facts
from server.catalogue.listing import list_jobs
from server.catalogue.pages import JobFilter, entries_after, of_tenant
from server.catalogue.pagination import Place, page, read_cursor, write_cursor
from workers.core.errors.base import RequestInvalid
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest

PLACES = st.builds(Place, st.floats(0, 2e9, allow_nan=False), st.text("0123456789abcdef", min_size=1, max_size=4))


@given(places=st.lists(PLACES, unique=True, max_size=30), limit=st.integers(1, 7))
def test_pages_show_everything_once_the_newest_first(places: list[Place], limit: int) -> None:
    database = Database(Path("nowhere"))
    database.go_without()
    engine = database.engine()
    rows.add(engine, [Facts("slide", name, name, "", "lab-a", time) for time, name in places])
    newest = sorted({place.id: place for place in reversed(places)}.values(), reverse=True)  # an id stands once
    shown: list[Place] = []
    cursor: str | None = None
    for _ in range(len(places) + 1):
        with rows.reading(engine) as connection:
            following = entries_after(connection, "slide", of_tenant("lab-a"), read_cursor(cursor), limit + 1)
        items, cursor = page([(place, place) for place in following], limit)
        shown += items
        if cursor is None:
            break
    database.close()
    assert shown == newest


@pytest.mark.parametrize("text", ["x", "AAAA", "!!!!", "é" * 5, "MTIzNA==x"])
def test_a_cursor_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="cursor"):
        read_cursor(text)
    assert read_cursor(None) is read_cursor("") is None
    assert read_cursor(write_cursor(Place(1.25, "ab"))) == (1.25, "ab")


def test_jobs_of_redis_and_of_the_disk_come_in_one_order_and_in_pages(jobs: Jobs, catalogue: Catalogue) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [stored(jobs, start + timedelta(hours=hour)) for hour in range(7)]
    for number in (0, 2, 3, 6):
        jobs.submit(ids[number], REQUEST, start + timedelta(hours=number))
    first, cursor = list_jobs(catalogue, 3)
    stored(jobs)  # one that comes in between
    second, last = list_jobs(catalogue, 4, cursor=read_cursor(cursor))
    assert [view.id for view in first + second] == ids[::-1]
    assert last is None


def test_filters_are_all_of_them(jobs: Jobs, catalogue: Catalogue) -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    one, other = running(jobs, 1), submitted(jobs)
    aged = stored(jobs, old, JobRequest(slide_id="x" * 32, model="other"))
    jobs.cancel(aged)

    def found(**wanted: Any) -> set[str]:
        return {view.id for view in list_jobs(catalogue, 10, JobFilter(**wanted))[0]}

    assert found() == {one, other, aged}
    assert found(states=("running",)) == {one}
    assert found(states=("running", "canceled")) == {one, aged}
    assert found(slide_id=REQUEST.slide_id) == {one, other}
    assert found(model="other") == {aged}
    assert found(since=old + timedelta(hours=1)) == {one, other}
    assert found(states=("queued",), model="other") == set()


def test_one_job_that_cannot_be_read_hides_no_other(
    jobs: Jobs, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    broken, torn, good = (stored(jobs) for _ in range(3))
    (jobs.store.job_dir(broken) / "job.json").write_bytes(b'{"id": "\xff')
    (jobs.store.job_dir(torn) / "ended.json").write_text('{"state"')
    assert [view.id for view in list_jobs(catalogue, 10)[0]] == [good]
    assert broken in caplog.text
    assert torn in caplog.text
    sweep(jobs)
    assert entries(jobs) == [("plan_slide", [good])]
