"""Jobs: submit, list, follow, cancel, delete."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from server.access.guards import Caller, CallerDep
from server.access.quotas import Quotas
from server.catalogue import listing
from server.catalogue.pages import JobFilter
from server.jobs import submission
from server.routes.deps import CatalogueDep, JobsDep, QuotasDep, RetentionDep, RootPathDep
from server.routes.filters import FilterDep, PageDep
from server.routes.path_deps import JobDep
from server.routes.results import RESULTS
from server.web.document import told
from server.web.errors import error_responses
from server.web.root_path import link_to
from workers.core.frozen import Frozen
from workers.core.job_files import change_labels
from workers.core.own_labels import LabelChanges
from workers.core.quality_schemas import LAYER
from workers.core.schemas import FINAL_STATES, OUTPUTS, JobState, JobSubmission, JobView
from workers.core.stored.jobs import require_own_job

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

KeyHeader = Annotated[
    str | None,
    Header(description="Any text of yours. The same key with the same body makes one job, however often it is sent."),
]


class JobList(Frozen):
    """A page of jobs, the newest first."""

    items: tuple[JobView, ...]
    next_cursor: str | None = None


class JobChange(Frozen):
    """What may be changed of a job."""

    labels: LabelChanges


@router.post("", status_code=202, responses={202: told("Location"), **error_responses(404, 413, 422, 503, 507)})
def submit_job(
    request: JobSubmission,
    response: Response,
    jobs: JobsDep,
    quotas: QuotasDep,
    caller: CallerDep,
    root_path: RootPathDep,
    idempotency_key: KeyHeader = None,
) -> JobView:
    """Submit a job. What can be known to fail is refused now; `preflight` says what is known of the rest."""
    view = submission.submit_job(jobs, request, requester_of(caller, quotas, idempotency_key))
    response.headers["Location"] = link_to(root_path, f"/v1/jobs/{view.id}")
    return with_results(root_path, view)


@router.get("", responses=error_responses(422, 503))
def list_jobs(
    catalogue: CatalogueDep,
    root_path: RootPathDep,
    asked: FilterDep,
    page: PageDep,
    state: Annotated[list[JobState] | None, Query(description="In one of these states.")] = None,
    slide: Annotated[str | None, Query(description="Of this slide.")] = None,
    model: Annotated[str | None, Query(description="With this model.")] = None,
) -> JobList:
    """List jobs, the newest first, in pages."""
    wanted = JobFilter(**dict(asked), states=tuple(state or ()), slide_id=slide, model=model)
    views, following = listing.list_jobs(catalogue, page.limit, wanted, page.cursor)
    return JobList(items=tuple(map(partial(with_results, root_path), views)), next_cursor=following)


@router.get("/{job_id}", responses=error_responses(404, 503))
def get_job(view: JobDep, root_path: RootPathDep) -> JobView:
    """Look at one job: its state and phase, regions, rate, the estimated time left, its results."""
    return with_results(root_path, view)


@router.patch("/{job_id}", responses=error_responses(404, 409, 413, 422, 503, 507))
def change_job(
    view: JobDep, change: JobChange, jobs: JobsDep, catalogue: CatalogueDep, root_path: RootPathDep
) -> JobView:
    """Change the labels of a job. All else of it is as it was asked for."""
    require_own_job(jobs.store, view.id)
    change_labels(jobs.store, view.id, change.labels)
    catalogue.renew("job", view.id, view.tenant)
    return with_results(root_path, jobs.view(view.id))


@router.delete(
    "/{job_id}",
    responses={
        200: {"description": "It was queued or running and is canceled."},
        204: {"description": "It was finished and is deleted with its results."},
        **error_responses(404, 409, 503),
    },
    response_model=JobView,
)
def delete_job(view: JobDep, jobs: JobsDep, retention: RetentionDep, root_path: RootPathDep) -> JobView | Response:
    """Cancel a job that is queued or running; delete one that is finished."""
    if view.state not in FINAL_STATES:
        return with_results(root_path, jobs.cancel(view.id))
    retention.remove_job(view.id)
    return Response(status_code=204)


def requester_of(caller: Caller, quotas: Quotas, key: str | None) -> submission.Requester:
    """Return who asks for jobs, with an Idempotency-Key if one came."""
    return submission.Requester(caller.tenant, key, partial(quotas.more_jobs, caller.tenant))


def with_results(root_path: str, view: JobView) -> JobView:
    """Return the job with the addresses of its results, once it has succeeded; outputs it did not make are left out."""
    if view.state != "succeeded":
        return view
    absent = {*OUTPUTS, LAYER} - {*view.request.outputs} - ({LAYER} if view.request.quality else set())
    made = (name for name, result in RESULTS.items() if result.file not in absent)
    return view.model_copy(
        update={"results": {name: link_to(root_path, f"/v1/jobs/{view.id}/{name}") for name in made}}
    )
