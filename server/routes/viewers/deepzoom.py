"""Deep Zoom of slides and of overlays, and thumbnails: what a viewer in a browser asks for, a tile at a time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, cast

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from server.access.gate import Access
from server.routes.deps import StoreDep, ViewingDep
from server.routes.path_deps import OWN_JOB, SlideDep
from server.viewing.answers import answer, etag_of, tile_etag
from server.viewing.deepzoom import OVERVIEW_PX, Grid, descriptor, grid_of
from server.viewing.service import Viewing
from server.web.counting.counters import PICTURES
from server.web.errors import error_responses
from server.web.files import is_current
from workers.core.errors.base import ResultNotFound
from workers.core.settings import Settings
from workers.core.store import Store

router = APIRouter(prefix="/v1", tags=["viewing"])

LABELS = "labels.ome.tif"
Level = Annotated[int, Path(ge=0, description="0 is one pixel; the last level is level 0 of the slide.")]
TilePart = Annotated[int, Path(ge=0)]


def picture_responses(media_type: str, *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI declaration of a picture."""
    return {
        200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "If-None-Match names the current version."},
        **error_responses(404, 422, *errors),
    }


@router.get("/slides/{slide_id}/slide.dzi", response_class=Response, responses=picture_responses("application/xml"))
def get_slide_dzi(info: SlideDep, request: Request) -> Response:
    """Describe the tiles of a slide, for OpenSeadragon. Its bounds are not cropped to."""
    return _dzi(request, grid_of(info.geometry), "jpeg", info.sha256)


@router.get(
    "/slides/{slide_id}/slide_files/{level}/{col}_{row}.jpeg",
    response_class=Response,
    responses=picture_responses("image/jpeg"),
)
async def get_slide_tile(
    info: SlideDep, level: Level, col: TilePart, row: TilePart, request: Request, viewing: ViewingDep
) -> Response:
    """Fetch one tile of a slide: as large as the description says, no overlap, JPEG."""
    address = level, col, row
    ready, make = partial(viewing.ready_tile, info, address), partial(viewing.slide_tile, info, address)
    return await _picture(request, tile_etag(info.sha256, address), info.tenant, viewing, ready, make)


@router.get("/slides/{slide_id}/thumbnail.jpeg", response_class=Response, responses=picture_responses("image/jpeg"))
async def get_thumbnail(
    info: SlideDep,
    request: Request,
    viewing: ViewingDep,
    max_px: Annotated[int, Query(ge=16, le=OVERVIEW_PX, description="Longer side, in pixels.")] = 512,
) -> Response:
    """Fetch a small picture of the whole slide."""
    ready, make = partial(viewing.ready_thumbnail, info, max_px), partial(viewing.thumbnail, info, max_px)
    return await _picture(request, etag_of(info.sha256, f"thumbnail/{max_px}"), info.tenant, viewing, ready, make)


async def _picture(
    request: Request,
    etag: str,
    tenant: str,
    viewing: Viewing,
    ready: Callable[[], bytes | None],
    make: Callable[[], bytes],
) -> Response:
    """Answer with a picture of a slide: at once if the client has it or it is ready, else when its tenant's turn comes.

    Args:
        request: Asks for it.
        etag: Of the picture.
        tenant: Whose slide it is.
        viewing: Makes pictures.
        ready: Gives its bytes if nothing has to be decoded for them.
        make: Gives its bytes.
    """
    picture, how = b"", "held"
    if not is_current(request.headers.get("if-none-match"), etag):
        found, how = await to_thread.run_sync(ready, limiter=viewing.limiter), "ready"
        if found is None:
            how = "decoded"
            rates = cast("Access", request.state.access).rates
            async with viewing.turn(tenant, is_alone=rates.is_alone(tenant, time.monotonic())):
                found = await to_thread.run_sync(make, limiter=viewing.decoders)
        picture = found
    PICTURES.labels(how).inc()
    return _answer(request, etag, "image/jpeg", lambda: picture)


@router.get(
    "/jobs/{job_id}/overlay.dzi",
    response_class=Response,
    responses=picture_responses("application/xml", 409),
    dependencies=[OWN_JOB],
)
def get_overlay_dzi(job_id: str, request: Request, store: StoreDep) -> Response:
    """Describe the tiles of the overlay: the same grid as the slide's, whatever the resolution of the labels."""
    digest = labels_digest(store, job_id)
    return _dzi(request, grid_of(store.read_plan(job_id).geometry), "png", digest)


@router.get(
    "/jobs/{job_id}/overlay_files/{level}/{col}_{row}.png",
    response_class=Response,
    responses=picture_responses("image/png", 409),
    dependencies=[OWN_JOB],
)
async def get_overlay_tile(
    job_id: str, level: Level, col: TilePart, row: TilePart, request: Request, store: StoreDep, viewing: ViewingDep
) -> Response:
    """Fetch one tile of the overlay: PNG in the classes' colours, background transparent, never smoothed."""
    address = level, col, row

    def run() -> Response:
        etag = tile_etag(labels_digest(store, job_id), address)
        return _answer(request, etag, "image/png", partial(viewing.overlay_tile, job_id, address))

    return await to_thread.run_sync(run, limiter=viewing.limiter)


def labels_digest(store: Store, job_id: str) -> str:
    """Return the digest of a job's labels.

    Raises:
        ResultNotReady, ResultNotFound: It has not succeeded, or made none.
    """
    files = store.read_result(job_id).files
    if LABELS not in files:
        raise ResultNotFound("The job made no labels, so it has no tiles.", value=LABELS, accepted=", ".join(files))
    return files[LABELS]


def _dzi(request: Request, grid: Grid, picture: str, digest: str) -> Response:
    return _answer(request, etag_of(digest, "dzi"), "application/xml", partial(descriptor, grid, picture))


def _answer(request: Request, etag: str, media_type: str, make: Callable[[], bytes]) -> Response:
    keep_s = cast("Settings", request.state.settings).tile_cache_s
    return answer(request.headers.get("if-none-match"), etag, media_type, make, keep_s)
