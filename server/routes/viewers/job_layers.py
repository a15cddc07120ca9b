"""Deep Zoom of how sure a job was, and of where two jobs of a slide differ."""

from functools import partial
from typing import Annotated, Any, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request, Response

from server.access.guards import CallerDep
from server.results.product_answers import being_made
from server.routes.deps import AskDep, JobsDep, StoreDep, ViewingDep
from server.routes.path_deps import OWN_JOB, own_stored_job
from server.routes.viewers.deepzoom import Level, TilePart, labels_digest, picture_responses
from server.viewing.answers import answer, etag_of, tile_etag
from server.viewing.deepzoom import descriptor, grid_of
from server.viewing.job_layers import CONFIDENCE, Difference
from server.web.errors import error_responses
from workers.core.errors.base import RequestInvalid, ResultNotReady
from workers.core.products import Products, ProductView, read_made
from workers.core.settings import Settings
from workers.core.store import Store

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["viewing"], dependencies=[OWN_JOB])

MAKING: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is being made: ask again after Retry-After.", "model": ProductView}
}


def own_other_job(
    other_id: Annotated[str, Path(description="Another job of the same slide.")], store: StoreDep, caller: CallerDep
) -> str:
    """Let only the owner of the other job pass, and return its id.

    Raises:
        JobNotFound.
    """
    own_stored_job(other_id, store, caller)
    return other_id


OtherDep = Annotated[str, Depends(own_other_job)]


@router.get(
    "/confidence.dzi",
    response_class=Response,
    responses=picture_responses("application/xml", 409, 503) | MAKING,
)
def get_confidence_dzi(job_id: str, request: Request, store: StoreDep, jobs: JobsDep, ask: AskDep) -> Response:
    """Describe the tiles of the confidence: the grid of the slide. They are cut from a product that this asks for."""
    if (made := ask(job_id, CONFIDENCE)) is None:
        return being_made(Products(jobs), job_id, CONFIDENCE)
    grid = grid_of(store.read_plan(job_id).geometry)
    return _answer(request, etag_of(made.sha256, "dzi"), "application/xml", partial(descriptor, grid, "png"))


@router.get(
    "/confidence_files/{level}/{col}_{row}.png",
    response_class=Response,
    responses=picture_responses("image/png", 409),
)
async def get_confidence_tile(
    job_id: str, level: Level, col: TilePart, row: TilePart, request: Request, store: StoreDep, viewing: ViewingDep
) -> Response:
    """Fetch one tile of the confidence: grey PNG, round(255 × probability of the class), 0 where there is none."""
    address = level, col, row

    def run() -> Response:
        store.read_result(job_id)
        made = read_made(store, job_id, CONFIDENCE)
        if made is None:
            raise ResultNotReady("Its tiles are not made yet.", value=CONFIDENCE, accepted="GET confidence.dzi")
        make = partial(viewing.layers.confidence_tile, job_id, address)
        return _answer(request, tile_etag(made.sha256, address), "image/png", make)

    return await to_thread.run_sync(run, limiter=viewing.limiter)


@router.get("/difference/{other_id}.dzi", response_class=Response, responses=picture_responses("application/xml", 409))
def get_difference_dzi(job_id: str, other_id: OtherDep, request: Request, store: StoreDep) -> Response:
    """Describe the tiles of where this job and another one of the same slide differ: the grid of the slide."""
    digest = _digest_of_both(store, job_id, other_id)
    grid = grid_of(store.read_plan(job_id).geometry)
    return _answer(request, etag_of(digest, "dzi"), "application/xml", partial(descriptor, grid, "png"))


@router.get(
    "/difference/{other_id}_files/{level}/{col}_{row}.png",
    response_class=Response,
    responses=picture_responses("image/png", 409),
)
async def get_difference_tile(
    job_id: str,
    other_id: OtherDep,
    level: Level,
    col: TilePart,
    row: TilePart,
    request: Request,
    store: StoreDep,
    viewing: ViewingDep,
) -> Response:
    """Fetch one tile: white where both found the same class, yellow only this job, green only the other, black others.

    Transparent is where neither found a class. Classes are the same where their names are.
    """
    address = level, col, row

    def run() -> Response:
        etag = tile_etag(_digest_of_both(store, job_id, other_id), address)
        return _answer(request, etag, "image/png", partial(viewing.layers.difference_tile, job_id, other_id, address))

    return await to_thread.run_sync(run, limiter=viewing.limiter)


@router.get("/difference/{other_id}", responses=error_responses(404, 409, 422))
async def get_difference(job_id: str, other_id: OtherDep, store: StoreDep, viewing: ViewingDep) -> Difference:
    """Compare this job with another one of the same slide: shares of px, of up to 4 million that lie evenly over it."""

    def run() -> Difference:
        _digest_of_both(store, job_id, other_id)
        return viewing.layers.difference(job_id, other_id)

    return await to_thread.run_sync(run, limiter=viewing.limiter)


def _digest_of_both(store: Store, job_id: str, other_id: str) -> str:
    """Return what stands for the labels of two jobs.

    Raises:
        RequestInvalid: They are of two slides.
        ResultNotReady, ResultNotFound: One of them has not succeeded, or made no labels.
    """
    digests = [labels_digest(store, each) for each in (job_id, other_id)]
    this, other = (store.read_plan(each).slide_id for each in (job_id, other_id))
    if this != other:
        raise RequestInvalid("other_id: the job is of another slide.", value=other_id, accepted=f"a job of {this}")
    return "/".join(digests)


def _answer(request: Request, etag: str, media_type: str, make: partial[bytes]) -> Response:
    keep_s = cast("Settings", request.state.settings).tile_cache_s
    return answer(request.headers.get("if-none-match"), etag, media_type, make, keep_s)
