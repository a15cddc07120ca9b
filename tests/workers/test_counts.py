"""What workers count of a job, against its plan and its result."""

from types import ModuleType

import pytest
from pipeline_fixtures import asked_for, work

from workers import tasks
from workers.core.errors.base import LDiffusionError
from workers.core.queue.census import read_tallies
from workers.core.queue.jobs import Jobs
from workers.core.store import new_id
from workers.core.telemetry.status import WorkerStatus
from workers.core.telemetry.tallies import TALLIES
from workers.pipeline import inference
from workers.runtime import Runtime


@pytest.fixture
def lease_s() -> float:
    return 5.0


@pytest.fixture
def telling(here: Runtime) -> Runtime:
    """A worker that says how it is, and has counted nothing yet."""
    TALLIES.take()
    here.leases.status = WorkerStatus("auto")
    return here


def sums(runtime: Runtime) -> dict[tuple[str, ...], float]:
    runtime.leases.retire()
    return {(tally.name, *labels): value for tally, labels, value in read_tallies(runtime.leases.jobs)}


def test_a_job_is_counted_by_its_regions_phases_and_end(telling: Runtime, jobs: Jobs, slide_id: str) -> None:
    job_id = asked_for(jobs, slide_id)
    work(telling)
    plan, result, told = jobs.store.read_plan(job_id), jobs.store.read_result(job_id), sums(telling)
    assert told["regions", "made-model", "done"] == len(plan.regions)
    assert {name: value for name, value in told.items() if name[0] == "tasks"} == {
        ("tasks", "plan", "done"): 1,
        ("tasks", "region", "done"): len(plan.regions),
        ("tasks", "finish", "done"): 1,
    }
    assert told["jobs_ended", "succeeded", ""] == 1
    phases = {name[1]: value for name, value in told.items() if name[0] == "phases"}
    assert phases.keys() == {"plan", "read", "forward", "write", *plan.outputs}
    assert (phases["plan"], phases["write"]) == (1, len(plan.regions))
    assert phases["read"] >= phases["forward"] > 0
    for name in plan.outputs:
        assert told["phase_seconds", name] == pytest.approx(result.timings_s[name], abs=0.5)
    assert told["forward_passes", "made-model"] > 0
    assert told["model_loads", "made-model"] == 1
    status = telling.leases.status
    assert status is not None
    assert (status.view(1).model, status.view(1).device) == ("made-model", telling.settings.device)


def test_what_goes_wrong_is_counted_by_its_code(
    telling: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LDiffusionError("made")

    monkeypatch.setattr(inference, "_infer", broken)
    asked_for(jobs, slide_id)
    work(telling)
    told = sums(telling)
    assert told["regions", "made-model", "internal_error"] == 1
    assert told["jobs_ended", "failed", "internal_error"] == 1


def test_a_region_of_a_job_that_is_gone_has_no_model(telling: Runtime, jobs: Jobs, colour: ModuleType) -> None:
    tasks.segment_region(new_id(), 0)
    assert not any(name[0] == "regions" for name in sums(telling))
