"""Slides: upload (as a form or raw), list, look at, delete."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from server.bodies import body_of, content_length
from server.deps import IntakeDep, JobsDep, StoreDep
from server.errors import error_responses
from server.multipart import FIELD, FORM_OVERHEAD_BYTES, read_form_file
from server.uploads import Intake, parse_digest
from workers.core.cursors import after, page, place_of, read_cursor
from workers.core.errors import SlideInUse
from workers.core.schemas import Frozen, SlideInfo

router = APIRouter(prefix="/v1/slides", tags=["slides"])

DigestHeader = Annotated[
    str | None,
    Header(alias="Repr-Digest", description="`sha-256=:<base64>:` of the file's bytes (RFC 9530); checked if given."),
]
BINARY = {"type": "string", "format": "binary"}
UPLOAD_ERRORS = error_responses(400, 413, 422, 503, 507)


class SlideList(Frozen):
    """A page of slides, the newest first."""

    items: tuple[SlideInfo, ...]
    next_cursor: str | None = None


def request_body(content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI declaration of a body that the route reads itself, as a stream."""
    return {"requestBody": {"required": True, "content": {content_type: {"schema": schema}}}}


@router.post(
    "",
    status_code=201,
    responses=UPLOAD_ERRORS,
    openapi_extra=request_body(
        "multipart/form-data", {"type": "object", "required": [FIELD], "properties": {FIELD: BINARY}}
    ),
)
async def upload_slide_form(
    request: Request, response: Response, intake: IntakeDep, repr_digest: DigestHeader = None
) -> SlideInfo:
    """Upload a slide as a form with one part named `file`. It is accepted once a probe has read it."""
    body = body_of(request)
    intake.check_claim(content_length(request), FORM_OVERHEAD_BYTES)
    digest = parse_digest(repr_digest)
    filename, pieces = await read_form_file(request.headers.get("content-type", ""), body)
    return await _receive(intake, pieces, filename, digest, response)


@router.put(
    "", status_code=201, responses=UPLOAD_ERRORS, openapi_extra=request_body("application/octet-stream", BINARY)
)
async def upload_slide(
    request: Request,
    response: Response,
    intake: IntakeDep,
    filename: Annotated[str, Query(max_length=1024, examples=["CMU-1-Small-Region.svs"])] = "",
    repr_digest: DigestHeader = None,
) -> SlideInfo:
    """Upload a slide as the bare body: `curl -T slide.svs 'http://…/v1/slides?filename=slide.svs'`."""
    body = body_of(request)
    intake.check_claim(content_length(request))
    return await _receive(intake, body, filename, parse_digest(repr_digest), response)


@router.get("", responses=error_responses(422))
def list_slides(
    store: StoreDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> SlideList:
    """List slides, the newest first, in pages."""
    slides = {info.id: info for info in store.list_slides()}
    places = after(map(place_of, slides.values()), read_cursor(cursor))[: limit + 1]
    items, following = page([(place, slides[place.id]) for place in places], limit)
    return SlideList(items=items, next_cursor=following)


@router.get("/{slide_id}", responses=error_responses(404))
def get_slide(slide_id: str, store: StoreDep) -> SlideInfo:
    """Look at one slide: format, size, resolution, levels, digest."""
    return store.read_slide(slide_id)


@router.delete("/{slide_id}", status_code=204, responses=error_responses(404, 409, 503))
def delete_slide(slide_id: str, store: StoreDep, jobs: JobsDep) -> None:
    """Delete a slide. Refused while a job reads it; results of finished jobs stay."""
    store.read_slide(slide_id)
    busy = jobs.active_jobs_of(slide_id)
    if busy:
        raise SlideInUse(
            "A job still reads this slide.", value=busy[0], accepted="a slide without queued or running jobs"
        )
    store.delete_slide(slide_id)


async def _receive(
    intake: Intake, pieces: AsyncIterator[bytes], filename: str, digest: str | None, response: Response
) -> SlideInfo:
    info = await intake.receive(pieces, filename, digest)
    response.headers["Location"] = f"/v1/slides/{info.id}"
    return info
