"""A few of a job's objects, by place and by order, and how many there are where: what a viewer asks for."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from server.access.guards import DOWNLOAD
from server.results import features, objects
from server.results.product_answers import being_made
from server.routes.deps import AskDep, JobsDep, StoreDep
from server.routes.path_deps import OWN_JOB
from server.web.errors import error_responses
from server.web.files import is_current, validators
from workers.core.frozen import Frozen
from workers.core.objects.index import NAME, ObjectIndex
from workers.core.products import Made, Products, ProductView, product_path

router = APIRouter(prefix="/v1/jobs", tags=["results"], dependencies=[OWN_JOB, DOWNLOAD])

LIMIT_MAX = 500
TEXT_MAX = 200
MAKING: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is being made: ask again after Retry-After.", "model": ProductView},
    304: {"description": "If-None-Match names the current version."},
    **error_responses(404, 409, 422, 503),
}
ClassQuery = Annotated[str | None, Query(alias="class", max_length=TEXT_MAX, description="Name of a class.")]


@router.get("/{job_id}/objects", response_model=objects.ObjectPage, responses=MAKING)
def find_objects(
    job_id: str,
    request: Request,
    store: StoreDep,
    jobs: JobsDep,
    ask: AskDep,
    at: Annotated[str | None, Query(max_length=TEXT_MAX, description=f"A place: {objects.ACCEPTED_PLACE}.")] = None,
    order: Annotated[objects.Order, Query(description="`-`: the largest first. `position` is that of the table.")] = (
        "position"
    ),
    bbox: Annotated[str | None, Query(max_length=TEXT_MAX, description=features.ACCEPTED_BOX)] = None,
    name: ClassQuery = None,
    min_confidence: Annotated[float, Query(ge=0, le=1)] = 0,
    max_confidence: Annotated[float, Query(ge=0, le=1)] = 1,
    *,
    shapes: Annotated[bool, Query(description="Tell the polygons too; one of many corners as its box.")] = False,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 50,
    cursor: Annotated[
        str, Query(pattern="^[0-9]{1,12}$", description="`next_cursor` of the page before; the same question else.")
    ] = "0",
) -> Response:
    """Find objects: the one that holds a place (`at`; then nothing else counts), or pages of them in an order.

    They come from an index of `objects.parquet` that is made with the first question. A box finds the objects whose
    own boxes touch it.
    """
    place = None if at is None else objects.parse_place(at)
    box = features.parse_box(bbox)
    if (made := ask(job_id, NAME)) is None:
        return being_made(Products(jobs), job_id, NAME)
    if (known := _known(request, made)) is not None:
        return known
    index, classes = ObjectIndex(product_path(store, job_id, NAME)), store.read_plan(job_id).classes
    if place is not None:
        row = objects.row_at(index, *place)
        rows = [] if row is None else [row]
        items = objects.views(index, rows, classes, shapes=shapes)
        return _answer(request, made, objects.ObjectPage(items=tuple(items), total=len(items)))
    wanted = features.find_class(classes, name)
    question = objects.Question(order, None if wanted is None else wanted.index, box, (min_confidence, max_confidence))
    found, skip = objects.find_rows(index, question), int(cursor)
    items = objects.views(index, found[skip : skip + limit].tolist(), classes, shapes=shapes)
    following = str(skip + limit) if skip + limit < len(found) else None
    page = objects.ObjectPage(items=tuple(items), total=len(found), next_cursor=following)
    return _answer(request, made, page)


@router.get("/{job_id}/density", response_model=objects.Density, responses=MAKING)
def get_density(
    job_id: str, request: Request, store: StoreDep, jobs: JobsDep, ask: AskDep, name: ClassQuery = None
) -> Response:
    """Tell how many objects there are where, on a coarse grid: per cell, and per mm² of it."""
    if (made := ask(job_id, NAME)) is None:
        return being_made(Products(jobs), job_id, NAME)
    if (known := _known(request, made)) is not None:
        return known
    plan = store.read_plan(job_id)
    wanted = features.find_class(plan.classes, name)
    index = ObjectIndex(product_path(store, job_id, NAME))
    return _answer(request, made, objects.density_of(index, plan, None if wanted is None else wanted.index))


def _etag(request: Request, made: Made) -> str:
    question = f"{made.sha256}/{request.url.path.rpartition('/')[2]}?{request.url.query}"
    return hashlib.sha256(question.encode()).hexdigest()[:32]


def _known(request: Request, made: Made) -> Response | None:
    etag = _etag(request, made)
    if not is_current(request.headers.get("if-none-match"), etag):
        return None
    return Response(status_code=304, headers=validators(etag))


def _answer(request: Request, made: Made, view: Frozen) -> Response:
    return JSONResponse(view.model_dump(mode="json"), headers=validators(_etag(request, made)))
