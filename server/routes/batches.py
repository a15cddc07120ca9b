"""Batches: one question for many slides."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from server.access.guards import CallerDep
from server.catalogue.pagination import read_cursor
from server.jobs.batch_records import BatchRequest, BatchView
from server.jobs.batch_table import batch_csv, batch_parquet
from server.jobs.batches import Batches
from server.routes.deps import CatalogueDep, JobsDep, QuotasDep, RetentionDep, RootPathDep, StoreDep
from server.routes.filters import CursorQuery
from server.routes.jobs import KeyHeader, requester_of
from server.routes.path_deps import BatchesDep
from server.web.document import told
from server.web.errors import error_responses
from server.web.root_path import link_to
from workers.core.frozen import Frozen

router = APIRouter(prefix="/v1/batches", tags=["jobs"])

PARQUET = "application/vnd.apache.parquet"


class BatchList(Frozen):
    """A page of batches, the newest first."""

    items: tuple[BatchView, ...]
    next_cursor: str | None = None


@router.post("", status_code=202, responses={202: told("Location"), **error_responses(413, 422, 503, 507)})
def submit_batch(
    request: BatchRequest,
    response: Response,
    jobs: JobsDep,
    quotas: QuotasDep,
    caller: CallerDep,
    root_path: RootPathDep,
    idempotency_key: KeyHeader = None,
) -> BatchView:
    """Make a job for each slide. A slide that cannot have one is listed with its error; the others go on."""
    batch = Batches(jobs).make(request, requester_of(caller, quotas, idempotency_key))
    response.headers["Location"] = link_to(root_path, f"/v1/batches/{batch.id}")
    return batch


@router.get("", responses=error_responses(422, 503))
def list_batches(
    jobs: JobsDep,
    catalogue: CatalogueDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: CursorQuery = None,
) -> BatchList:
    """List batches, the newest first."""
    items, following = Batches(jobs).list(catalogue, limit, read_cursor(cursor), caller.tenant)
    return BatchList(items=items, next_cursor=following)


@router.get("/{batch_id}", responses=error_responses(404, 503))
def get_batch(batch_id: str, batches: BatchesDep) -> BatchView:
    """Look at one batch: how many of its jobs stand where, and each of them."""
    return batches.view(batch_id)


@router.get(
    "/{batch_id}/cohort.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **error_responses(404, 503)},
)
def get_cohort(batch_id: str, batches: BatchesDep, store: StoreDep) -> Response:
    """Return a batch as a table: a row for each slide with area, share, counts and warnings, and where its job stands.

    The columns are those of `--summary` on the command line.
    """
    table = batch_csv(batches.view(batch_id), store)
    headers = {"content-disposition": f'attachment; filename="cohort-{batch_id}.csv"', "cache-control": "no-store"}
    return Response(table, headers=headers, media_type="text/csv")


@router.get(
    "/{batch_id}/cohort.parquet",
    response_class=Response,
    responses={200: {"content": {PARQUET: {}}}, **error_responses(404, 503)},
)
def get_cohort_parquet(batch_id: str, batches: BatchesDep, store: StoreDep) -> Response:
    """Return the same table as Parquet, with types: numbers, and UTC times."""
    table = batch_parquet(batches.view(batch_id), store)
    name = f"cohort-{batch_id}.parquet"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(table, headers=headers, media_type=PARQUET)


@router.delete(
    "/{batch_id}",
    responses={
        200: {"description": "What has not started is canceled; the batch is still there."},
        204: {"description": "Nothing of it was waiting or running, or its jobs are to go: it is deleted."},
        **error_responses(404, 409, 422, 503),
    },
    response_model=BatchView,
)
def delete_batch(
    batch_id: str,
    batches: BatchesDep,
    retention: RetentionDep,
    running: Annotated[bool, Query(description="Cancel the jobs that are at work as well.")] = False,
    jobs: Annotated[bool, Query(description="Cancel all of its jobs and delete them, with their results.")] = False,
) -> BatchView | Response:
    """Cancel the jobs of a batch that have not started; delete the batch if nothing of it waits or runs.

    Jobs that have ended stay with their results, but for `jobs=true`, which leaves nothing of the batch.
    """
    if jobs:
        retention.remove_batch(batch_id)
    elif batches.view(batch_id).done:
        batches.remove(batch_id)
    else:
        return batches.cancel(batch_id, running=running)
    return Response(status_code=204)
