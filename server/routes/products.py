"""What is made of a job on request: which products there are, the OME-Zarr folder, polygons by box."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from server.access.guards import DOWNLOAD
from server.results import features
from server.results.product_answers import being_made
from server.routes.deps import AskDep, JobsDep, RootPathDep, StoreDep
from server.routes.path_deps import OWN_JOB
from server.web.errors import error_responses
from server.web.files import ImmutableFile, is_current, validators
from server.web.root_path import link_to
from workers.core.errors.base import ResultNotFound, ResultNotReady
from workers.core.frozen import Frozen
from workers.core.products import PRODUCTS, Products, ProductView, product_path, read_made

router = APIRouter(prefix="/v1/jobs", tags=["results"])

ZARR = "labels.ome.zarr"
FEATURES = "features.fgb"
LIMIT_MAX = 10_000
PART_MAX_CHARS = 200
FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
CURRENT = "If-None-Match names the current version."
MAKING: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is being made: ask again after Retry-After.", "model": ProductView},
    **error_responses(404, 409, 422, 503),
}


class ProductList(Frozen):
    """All products of a job."""

    items: tuple[ProductView, ...]


@router.get("/{job_id}/products", responses=error_responses(404, 409, 503), dependencies=[OWN_JOB])
def list_products(job_id: str, store: StoreDep, jobs: JobsDep) -> ProductList:
    """List what can be made of a succeeded job, and what is. Fetching a product is what makes it."""
    store.read_result(job_id)
    products = Products(jobs)
    return ProductList(items=tuple(products.view(job_id, name) for name in PRODUCTS))


@router.get("/{job_id}/labels.ome.zarr", response_model=ProductView, responses=MAKING, dependencies=[OWN_JOB])
def make_zarr(job_id: str, jobs: JobsDep, ask: AskDep) -> Response | ProductView:
    """Ask for the OME-Zarr. Once it is made, this address is the one to open it at: its files lie below."""
    products = Products(jobs)
    if ask(job_id, ZARR) is None:
        return being_made(products, job_id, ZARR)
    return products.view(job_id, ZARR)


@router.get(
    "/{job_id}/labels.ome.zarr/{part:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": FILE, "application/json": {"schema": {}}}},
        206: {"description": "The bytes that Range asks for."},
        304: {"description": CURRENT},
        **error_responses(404, 409, 416),
    },
    dependencies=[OWN_JOB, DOWNLOAD],
)
def get_zarr_part(
    job_id: str,
    part: Annotated[str, Path(examples=["zarr.json"])],
    request: Request,
    store: StoreDep,
    root_path: RootPathDep,
) -> Response:
    """Fetch one file of the OME-Zarr. A chunk that is not there holds background only: 404, as Zarr has it."""
    store.read_result(job_id)
    made = read_made(store, job_id, ZARR)
    if made is None:
        link = link_to(root_path, f"/v1/jobs/{job_id}/{ZARR}")
        raise ResultNotReady("The OME-Zarr is not made yet.", value=ZARR, accepted=f"GET {link}")
    folder = product_path(store, job_id, ZARR)
    path = folder / part
    # No name of ours begins with a dot, so none that leaves the folder, or that the system gave it, gets through.
    is_name = all(piece and not piece.startswith(".") and "\0" not in piece for piece in part.split("/"))
    if not is_name or len(part) > PART_MAX_CHARS or not path.is_file():
        raise ResultNotFound("The OME-Zarr has no such file.", value=part[:PART_MAX_CHARS], accepted="zarr.json")
    etag = hashlib.sha256(f"{made.sha256}/{part}".encode()).hexdigest()[:32]
    if is_current(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=validators(etag))
    return ImmutableFile(path, etag, "application/json" if part.endswith(".json") else "application/octet-stream", {})


@router.get(
    "/{job_id}/features",
    response_class=Response,
    responses={
        200: {"content": {"application/geo+json": {"schema": {"type": "object"}}}},
        304: {"description": CURRENT},
        **MAKING,
    },
    dependencies=[OWN_JOB, DOWNLOAD],
)
def find_features(
    job_id: str,
    request: Request,
    store: StoreDep,
    jobs: JobsDep,
    ask: AskDep,
    bbox: Annotated[str | None, Query(max_length=PART_MAX_CHARS, description=features.ACCEPTED_BOX)] = None,
    name: Annotated[str | None, Query(alias="class", description="Name of a class.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 1000,
    cursor: Annotated[
        str, Query(pattern="^[0-9]{1,12}$", description="`next_cursor` of the page before; the same question else.")
    ] = "0",
) -> Response:
    """Find the polygons that touch a box, in pages, from a spatial index that is made with the first question."""
    box = features.parse_box(bbox)
    if (made := ask(job_id, FEATURES)) is None:
        return being_made(Products(jobs), job_id, FEATURES)
    etag = hashlib.sha256(f"{made.sha256}/{box}/{name}/{limit}/{cursor}".encode()).hexdigest()[:32]
    if is_current(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=validators(etag))
    classes = store.read_plan(job_id).classes
    query = features.Query(box, features.find_class(classes, name), limit, int(cursor))
    pieces = features.find(product_path(store, job_id, FEATURES), query, classes)
    return StreamingResponse(pieces, media_type="application/geo+json", headers=validators(etag))
