"""Jobs: submit, list, follow, cancel, delete."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from server.deps import JobsDep, SettingsDep, StoreDep
from server.errors import error_responses
from server.routes.results import RESULTS
from workers.core.catalog import find_model
from workers.core.errors import JobNotFound, Unavailable
from workers.core.resolution import resolve_mpp
from workers.core.schemas import FINAL_STATES, Frozen, JobRequest, JobView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class JobList(Frozen):
    """The newest jobs first."""

    items: tuple[JobView, ...]


@router.post("", status_code=202, responses=error_responses(404, 422, 503))
def submit_job(
    request: JobRequest, response: Response, settings: SettingsDep, store: StoreDep, jobs: JobsDep
) -> JobView:
    """Submit a job. What can be known to fail is refused now: the slide, the model, the resolution."""
    slide = store.read_slide(request.slide_id)
    model = find_model(settings.models_dir, request.model)
    resolve_mpp(slide.geometry, request.mpp, model.mpp)
    job_id, created_at = store.new_id(), datetime.now(UTC)
    store.save_request(job_id, request, created_at)
    try:
        jobs.submit(job_id, request, created_at)
    except Unavailable:
        store.delete_job(job_id)
        raise
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return jobs.view(job_id)


@router.get("", responses=error_responses(422, 503))
def list_jobs(jobs: JobsDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JobList:
    """List jobs, the newest first."""
    return JobList(items=tuple(_with_results(view) for view in jobs.list(limit)))


@router.get("/{job_id}", responses=error_responses(404, 503))
def get_job(job_id: str, jobs: JobsDep) -> JobView:
    """Follow one job: its state, regions done and in total, the estimated time left, its results."""
    return _with_results(jobs.view(job_id))


@router.delete(
    "/{job_id}",
    responses={
        200: {"description": "It was queued or running and is canceled."},
        204: {"description": "It was finished and is deleted with its results."},
        **error_responses(404, 503),
    },
    response_model=JobView,
)
def delete_job(job_id: str, store: StoreDep, jobs: JobsDep) -> JobView | Response:
    """Cancel a job that is queued or running; delete one that is finished."""
    view = jobs.view(job_id)
    if view.state not in FINAL_STATES:
        return jobs.cancel(job_id)
    # The folder first: what is on disk but not in the queue counts as lost and would be adopted again.
    with suppress(JobNotFound):
        store.delete_job(job_id)
    jobs.forget(job_id)
    return Response(status_code=204)


def _with_results(view: JobView) -> JobView:
    if view.state != "succeeded":
        return view
    return view.model_copy(update={"results": {name: f"/v1/jobs/{view.id}/{name}" for name in RESULTS}})
