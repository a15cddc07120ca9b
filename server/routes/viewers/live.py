"""Deep Zoom of a job while it runs: what has landed of its overlay. These tiles change, so they are asked for anew."""

import hashlib
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from server.results.coarse import coarse_of
from server.routes.deps import StoreDep, ViewingDep
from server.routes.path_deps import OWN_JOB
from server.routes.viewers.deepzoom import Level, TilePart, picture_responses
from server.viewing.deepzoom import descriptor, grid_of
from server.web.errors import error_responses
from server.web.files import is_current
from workers.core.objects.coarse import CoarsePreview

router = APIRouter(prefix="/v1/jobs", tags=["viewing"], dependencies=[OWN_JOB])


@router.get("/{job_id}/live.dzi", response_class=Response, responses=picture_responses("application/xml", 409))
def get_live_dzi(job_id: str, request: Request, store: StoreDep) -> Response:
    """Describe the tiles of the overlay of a job that is planned: the grid of its slide."""
    return _answer(request, descriptor(grid_of(store.read_plan(job_id).geometry), "png"), "application/xml")


@router.get(
    "/{job_id}/live_files/{level}/{col}_{row}.png",
    response_class=Response,
    responses=picture_responses("image/png", 409),
)
async def get_live_tile(
    job_id: str, level: Level, col: TilePart, row: TilePart, request: Request, viewing: ViewingDep
) -> Response:
    """Fetch one tile of the overlay as far as the job is: regions that have not landed are transparent.

    It may be kept, but is to be asked for anew each time. Once the job has succeeded, take `overlay.dzi`.
    """
    make = partial(viewing.live_tile, job_id, (level, col, row))
    return _answer(request, await to_thread.run_sync(make, limiter=viewing.limiter), "image/png")


@router.get(
    "/{job_id}/coarse-preview",
    response_model=CoarsePreview,
    responses={204: {"description": "There is none, or not now."}, **error_responses(404, 409)},
)
def get_coarse_preview(job_id: str, store: StoreDep) -> CoarsePreview | Response:
    """Tell what is expected where on the slide of a large job that runs, from a few hundred small places of it.

    An estimate, and no part of the result: what it says of a cell is null once the cell's regions have landed. It is
    made within seconds after the plan, of interactive jobs of whole slides; there is none before, after, or of others.
    """
    return coarse_of(store, job_id) or Response(status_code=204)


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    etag = hashlib.sha256(content).hexdigest()[:32]
    headers = {"etag": f'"{etag}"', "cache-control": "private, no-cache"}
    if is_current(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
