"""The same request sent several times at once, or again after a refusal: one job or batch, and the key stays right."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from catalogue_fixtures import quotas_of
from job_requests import add_slide
from queue_fixtures import DEADLINE_S, REQUEST
from redis.lock import Lock

from server.catalogue.catalogue import Catalogue
from server.catalogue.entries import batches_of
from server.jobs import idempotency, submission
from server.jobs.batch_records import BatchRequest, StoredBatch, job_id_of
from server.jobs.batches import Batches
from server.jobs.idempotency import Reservation
from server.jobs.submission import Requester, submit_job
from workers.core.errors.access import QuotaExceeded
from workers.core.errors.base import QueueUnavailable
from workers.core.errors.jobs import KeyInUse
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobSubmission
from workers.core.store import Store, new_id


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Set when the first job is being written, and what lets it go on."""
    begun, go_on = threading.Event(), threading.Event()
    sound = Store.save_request

    def slow(self: Store, *arguments: Any) -> bool:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        return sound(self, *arguments)

    monkeypatch.setattr(Store, "save_request", slow)
    return begun, go_on


def keyed(jobs: Jobs, quota_jobs: int = 0) -> Requester:
    jobs.settings = jobs.settings.model_copy(update={"quota_jobs": quota_jobs})
    return Requester(key="once", room=partial(quotas_of(jobs).more_jobs, "local"))


def asked(jobs: Jobs) -> JobSubmission:
    return JobSubmission(**dict(REQUEST) | {"slide_id": add_slide(jobs.store, 0.5)})


def three_times(make: Callable[[], str], slowed: tuple[threading.Event, threading.Event]) -> set[str]:
    """Ids of what the same request makes that is sent twice more while the first is at work."""
    begun, go_on = slowed
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(make)
        assert begun.wait(DEADLINE_S)
        others = [pool.submit(make) for _ in range(2)]
        others[0].done()
        go_on.set()
        return {future.result(DEADLINE_S) for future in (first, *others)}


def test_a_job_sent_three_times_at_once_is_one_whatever_the_quota(
    jobs: Jobs, slowed: tuple[threading.Event, threading.Event]
) -> None:
    request, requester = asked(jobs), keyed(jobs, quota_jobs=1)
    ids = three_times(lambda: submit_job(jobs, request, requester).id, slowed)
    assert ids == set(jobs.store.list_jobs())
    assert len(ids) == 1
    assert submit_job(jobs, request, requester).id in ids


def test_a_batch_sent_three_times_at_once_is_one_whatever_the_quota(
    jobs: Jobs, slowed: tuple[threading.Event, threading.Event]
) -> None:
    request = BatchRequest(slide_ids=tuple(add_slide(jobs.store, 0.5) for _ in range(3)), model="made-model")
    requester = keyed(jobs, quota_jobs=3)
    ids = three_times(lambda: Batches(jobs).make(request, requester).id, slowed)
    assert (len(ids), len(jobs.store.list_jobs()), len(jobs.active())) == (1, 3, 3)


def test_a_batch_that_is_laid_out_twice_names_the_same_jobs() -> None:
    batch_id, slide_id, other = new_id(), new_id(), new_id()
    assert job_id_of(batch_id, slide_id) == job_id_of(batch_id, slide_id)
    assert len({job_id_of(*pair) for pair in ((batch_id, slide_id), (batch_id, other), (other, slide_id))}) == 3


def test_a_batch_that_the_quota_refused_leaves_its_key_free(jobs: Jobs) -> None:
    slides = tuple(add_slide(jobs.store, 0.5) for _ in range(2))
    requester = keyed(jobs, quota_jobs=1)
    with pytest.raises(QuotaExceeded):
        Batches(jobs).make(BatchRequest(slide_ids=slides, model="made-model"), requester)
    assert jobs.store.list_jobs() == []
    assert len(Batches(jobs).make(BatchRequest(slide_ids=slides[:1], model="made-model"), requester).items) == 1


def test_who_waits_too_long_is_told_and_frees_no_key(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "WAIT_S", 0.01)
    request, requester = asked(jobs), keyed(jobs)
    reservation = Reservation(jobs, "job", "once", request)
    with reservation.turn():
        made_id = reservation.take(new_id())
        with pytest.raises(KeyInUse):
            submit_job(jobs, request, requester)
    assert submit_job(jobs, request, requester).id == made_id  # the first died on the way: its id is used


def test_a_turn_lasts_as_long_as_its_request_and_hardly_longer_than_its_gateway(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "TURN_S", 0.3)
    monkeypatch.setattr(idempotency, "WAIT_S", 0.9)
    reservation = Reservation(jobs, "job", "once", REQUEST)
    with reservation.turn(), pytest.raises(KeyInUse), reservation.turn():
        pass  # never reached: the first is still at work after three times its lease
    with suppress(ZeroDivisionError), reservation.turn():
        monkeypatch.setattr(Lock, "release", lambda _lock: None)  # as a gateway that is killed
        raise ZeroDivisionError
    with reservation.turn():
        pass


def test_a_turn_that_took_too_long_or_lost_its_queue_ends_without_an_error(jobs: Jobs) -> None:
    with Reservation(jobs, "job", "once", REQUEST).turn():
        jobs.redis.flushall()


def test_a_request_that_the_queue_fails_removes_no_folder_that_was_there(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise QueueUnavailable("Gone.")

    request, job_id = asked(jobs), new_id()
    admission = submission.Admission(jobs)
    admission.create(job_id, request, admission.admit(request))
    monkeypatch.setattr(jobs, "submit", failing)
    for wanted, stays in ((job_id, True), (new_id(), False)):
        with pytest.raises(QueueUnavailable):
            admission.create(wanted, request, admission.admit(request))
        assert jobs.store.job_dir(wanted).exists() == stays


def test_a_batch_whose_record_is_damaged_hides_no_other(jobs: Jobs) -> None:
    request = BatchRequest(slide_ids=(add_slide(jobs.store, 0.5),), model="made-model")
    made = [Batches(jobs).make(request, Requester()) for _ in range(2)]
    folder = batches_of(jobs.store.root, "local")
    (folder / f"{made[0].id}.json").write_bytes(b"\xff")
    (folder / ".half-written.json").write_text(StoredBatch.__doc__ or "")
    (folder / "a-directory.json").mkdir()
    assert [batch.id for batch in Batches(jobs).list(Catalogue(jobs), 10)[0]] == [made[1].id]
