"""Work that nobody wants any more ends in the middle, but never in the middle of an exchange with the queue."""

import threading
import time
from typing import Any

import pytest
from pipeline_fixtures import asked_for, work
from queue_fixtures import DEADLINE_S

from workers import writers
from workers.core.errors.base import JobCanceled, QueueUnavailable
from workers.core.queue.jobs import Jobs
from workers.core.queue.lease import Superseded
from workers.pipeline import stitch
from workers.pipeline.overview import Overview
from workers.process.cancellation import Watch, interruptible
from workers.runtime import Runtime

QUICK_S = 0.02


@pytest.fixture
def lease_s() -> float:
    return 5.0


def forever() -> None:
    """Compute until interrupted."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        time.sleep(QUICK_S)
    pytest.fail("nobody interrupted it")


@pytest.mark.parametrize("reason", [JobCanceled("Canceled."), Superseded("Taken.")])
def test_a_long_computation_ends_with_the_reason(reason: Exception) -> None:
    looks: list[int] = []

    def check() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise reason

    with pytest.raises(type(reason)) as raised, Watch(check, QUICK_S), interruptible():
        forever()
    assert raised.value is reason
    assert len(looks) >= 3


def test_outside_of_the_place_for_it_nothing_is_raised_and_inside_at_once() -> None:
    told = threading.Event()

    def check() -> None:
        told.set()
        raise JobCanceled("Canceled.")

    with Watch(check, QUICK_S):
        assert told.wait(DEADLINE_S)
        time.sleep(5 * QUICK_S)  # signals come and go
        with pytest.raises(JobCanceled), interruptible():
            pytest.fail("it went on")


def test_a_queue_that_does_not_answer_is_no_reason() -> None:
    looks = threading.Semaphore(0)

    def check() -> None:
        looks.release()
        raise QueueUnavailable("It does not answer.")

    with Watch(check, QUICK_S), interruptible():
        for _ in range(3):
            assert looks.acquire(timeout=DEADLINE_S)


def test_without_a_watch_and_in_other_threads_nothing_happens() -> None:
    with interruptible():
        pass
    done = []

    def elsewhere() -> None:
        with Watch(lambda: None, QUICK_S), interruptible():
            done.append(1)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(DEADLINE_S)
    assert done == [1]


@pytest.mark.parametrize("phase", ["plan", "region", "finish"])
def test_a_canceled_job_stops_in_the_middle_of_whatever_it_is_at(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    job_id = asked_for(jobs, slide_id)
    entered: list[int] = []

    def stuck(*_: Any, **__: Any) -> Any:
        entered.append(1)
        threading.Timer(0.1, jobs.cancel, (job_id,)).start()
        forever()

    places: dict[str, tuple[Any, str]] = {
        "plan": (Overview, "from_slide"),
        "region": (here.engine("made-model"), "predict"),
        "finish": (writers, "write_regions"),
    }
    monkeypatch.setattr(*places[phase], stuck)
    work(here)
    assert entered == [1]
    view = jobs.view(job_id)
    assert (view.state, view.error) == ("canceled", None)
    assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == ["ended.json", "job.json"]
    for queue in jobs.queues:
        assert queue.failed_job_registry.count == 0


def test_a_folder_that_is_cleared_under_a_task_is_a_cancel_and_no_fault(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = asked_for(jobs, slide_id)
    sound = stitch.write_region

    def cleared(*arguments: Any) -> None:
        jobs.cancel(job_id)
        sound(*arguments)

    monkeypatch.setattr(stitch, "write_region", cleared)
    with caplog.at_level("INFO", "workers.tasks"):
        work(here)
    told = [message for message in caplog.messages if "region" in message and " in " in message]
    assert [message.split(": ")[1].split(" in ")[0] for message in told] == ["canceled"]
    assert jobs.view(job_id).state == "canceled"
    for queue in jobs.queues:
        assert queue.failed_job_registry.count == 0
    assert sorted(path.name for path in jobs.store.job_dir(job_id).iterdir()) == ["ended.json", "job.json"]
