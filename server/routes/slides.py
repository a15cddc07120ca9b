"""Slides: upload (as a form or raw), list, look at, delete."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.requests import ClientDisconnect

from server.deps import IntakeDep, JobsDep, StoreDep
from server.errors import error_responses
from server.multipart import FIELD, FORM_OVERHEAD_BYTES, read_form_file
from server.uploads import Intake, parse_digest
from workers.core.errors import SlideInUse, UploadIncomplete
from workers.core.schemas import Frozen, SlideInfo

router = APIRouter(prefix="/v1/slides", tags=["slides"])

DigestHeader = Annotated[
    str | None,
    Header(alias="Repr-Digest", description="`sha-256=:<base64>:` of the file's bytes (RFC 9530); checked if given."),
]
BINARY = {"type": "string", "format": "binary"}
UPLOAD_ERRORS = error_responses(400, 413, 422, 503, 507)


class SlideList(Frozen):
    """The newest slides first."""

    items: tuple[SlideInfo, ...]


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
    body = _body_of(request)
    intake.check_claim(_content_length(request), FORM_OVERHEAD_BYTES)
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
    body = _body_of(request)
    intake.check_claim(_content_length(request))
    return await _receive(intake, body, filename, parse_digest(repr_digest), response)


@router.get("", responses=error_responses(422))
def list_slides(store: StoreDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> SlideList:
    """List slides, the newest first."""
    newest = sorted(store.list_slides(), key=lambda info: info.created_at, reverse=True)
    return SlideList(items=tuple(newest[:limit]))


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


def _body_of(request: Request) -> AsyncIterator[bytes]:
    """Return the body as it comes in; until it ended, an error answer has to linger (see `server.lingering`)."""
    request.state.body_unread = True

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in request.stream():
                yield piece
        except ClientDisconnect:
            raise UploadIncomplete("The client went away before the end of the upload.") from None
        request.state.body_unread = False

    return pieces()


def _content_length(request: Request) -> int | None:
    length = request.headers.get("content-length")
    return None if length is None else int(length)
