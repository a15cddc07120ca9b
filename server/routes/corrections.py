"""Corrections of the objects of a job: what people say of them, what changes by it, and a dataset to train on."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from server.access.guards import AccessDep, CallerDep
from server.review.corrections import Review
from server.review.views import Corrected, CorrectionRequest, Corrections, History, UndoRequest
from server.routes.deps import AskDep, QuotasDep, StoreDep
from server.routes.path_deps import JOB_HERE, OWN_JOB
from server.web.errors import error_responses
from workers.core.corrections.counts import StatisticsWithCorrections, count_corrected
from workers.core.corrections.schemas import Author
from workers.core.corrections.standing import standing
from workers.core.corrections.stored_log import revisions_of
from workers.core.errors.base import ResultNotFound
from workers.core.products import product_path
from workers.core.stored.results import local_result

router = APIRouter(prefix="/v1/jobs/{job_id}/corrections", tags=["corrections"], dependencies=[OWN_JOB])

FEATURES, STATISTICS = "features.fgb", "statistics.json"
WRITES = error_responses(404, 409, 413, 422, 503, 507)
NO_STORE = {"cache-control": "no-store"}


async def get_author(caller: CallerDep, access: AccessDep) -> Author:
    """Who corrects: the name of the key, or of the tenant where there is none."""
    key_id = caller.principal.key_id
    if key_id is None:
        return Author(name=caller.tenant)
    key = (await access.keys.current()).by_id.get(key_id)
    return Author(name=caller.tenant if key is None else key.name, key_id=key_id)


AuthorDep = Annotated[Author, Depends(get_author)]


@router.get("", responses=error_responses(404, 409, 503))
def get_corrections(job_id: str, store: StoreDep, response: Response) -> Corrections:
    """Return the objects that somebody has said something of, as they stand, and the latest revision."""
    response.headers.update(NO_STORE)
    return Review(store, job_id).view()


@router.post("", responses=WRITES, dependencies=[JOB_HERE])
def correct_objects(
    job_id: str,
    request: CorrectionRequest,
    store: StoreDep,
    quotas: QuotasDep,
    caller: CallerDep,
    author: AuthorDep,
    ask: AskDep,
) -> Corrected:
    """Accept, reject, relabel, redraw or add objects: one revision, all of it or nothing.

    `revision` is the latest one that you know. If there is a later one, this is refused (`corrections_changed`).
    Objects of the model are found by an index that is made at the first question (`index_not_ready`).
    """

    def index() -> Path | None:
        return None if ask(job_id, FEATURES) is None else product_path(store, job_id, FEATURES)

    room = partial(quotas.more_bytes, caller.tenant, job_id)
    return Review(store, job_id).correct(request, author, index, room)


@router.post("/undo", responses=WRITES, dependencies=[JOB_HERE])
def undo_corrections(
    job_id: str, request: UndoRequest, store: StoreDep, quotas: QuotasDep, caller: CallerDep, author: AuthorDep
) -> Corrected:
    """Take a revision back, as long as no later one is about its objects. The history keeps both."""
    return Review(store, job_id).undo(request, author, partial(quotas.more_bytes, caller.tenant, job_id))


@router.get("/history", responses=error_responses(404, 409, 422, 503))
def get_correction_history(
    job_id: str,
    store: StoreDep,
    response: Response,
    after: Annotated[int, Query(ge=0, le=10**9, description="Revisions after this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> History:
    """Return every revision there ever was: who, when, what, and which were taken back by which."""
    response.headers.update(NO_STORE)
    store.read_result(job_id)
    revisions = revisions_of(store, job_id)
    page = revisions[after : after + limit]
    return History(items=page, next_after=after + limit if after + limit < len(revisions) else None)


@router.get("/statistics", responses=error_responses(404, 409, 503))
def get_corrected_statistics(job_id: str, store: StoreDep, response: Response) -> StatisticsWithCorrections:
    """Return counts, areas and densities of each class with and without corrections."""
    response.headers.update(NO_STORE)
    provenance = store.read_result(job_id)
    if STATISTICS not in provenance.files:
        raise ResultNotFound("The job made no statistics.", value=STATISTICS, accepted=", ".join(provenance.files))
    revisions = revisions_of(store, job_id)
    statistics = json.loads(local_result(store, job_id, STATISTICS).read_bytes())
    return count_corrected(statistics, standing(revisions).values(), len(revisions))
