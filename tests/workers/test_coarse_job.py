"""A large job shows its coarse preview while it runs, over a real queue in this process."""

from typing import Any

import pytest
from pipeline_fixtures import asked_for, work

from server.results.coarse import coarse_of
from workers.core.objects.coarse import CoarsePreview
from workers.core.queue.jobs import Jobs
from workers.pipeline import coarse
from workers.runtime import Runtime


def test_a_large_job_shows_a_coarse_preview_until_it_is_done(
    here: Runtime, jobs: Jobs, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse, "REGIONS_MIN_PX", 1)
    job_id, seen = asked_for(jobs, slide_id), list[int]()
    plain = coarse.make_coarse

    def noted(*args: Any) -> CoarsePreview:
        made = plain(*args)
        shown = coarse_of(jobs.store, job_id)
        assert shown is not None
        assert shown.samples == made.samples > 0
        seen.append(sum(value is not None for value in shown.classes[0].share))
        return made

    monkeypatch.setattr(coarse, "make_coarse", noted)
    work(here)
    assert jobs.view(job_id).state == "succeeded"
    assert len(seen) == 1
    assert seen[0] > 0
    assert coarse_of(jobs.store, job_id) is None
    work_again = asked_for(jobs, slide_id, priority="batch")
    work(here)
    assert jobs.view(work_again).state == "succeeded"
    assert len(seen) == 1
