"""Resumable uploads: the tus protocol, and what becomes of an upload."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.guards import CallerDep
from server.routes.deps import ImportsDep, ResumableDep, RootPathDep, SettingsDep
from server.routes.path_deps import MAY_GO_ON, OWN_UPLOAD
from server.uploads import tus
from server.uploads.records import Upload, UploadState
from server.uploads.store import upload_missing
from server.web.bodies import body_of, content_length
from server.web.document import told
from server.web.errors import ErrorAnswer, error_responses
from server.web.root_path import link_to, path_of
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody

OVERRIDE = b"x-http-method-override"
TUS = {"Tus-Resumable": tus.VERSION}


async def speaks_tus(
    request: Request,
    tus_resumable: Annotated[str | None, Header(description=f"Version of the protocol: `{tus.VERSION}`.")] = None,
) -> None:
    """Refuse who speaks another version; errors say ours from here on."""
    request.state.body_unread = _has_body(request)
    request.state.error_headers = TUS | {"Tus-Version": tus.VERSION}
    tus.check_version(tus_resumable)


STREAMED = frozenset({("POST", "/v1/slides"), ("PUT", "/v1/slides"), ("POST", "/v1/slides/sets"), ("POST", tus.PREFIX)})
router = APIRouter(prefix=tus.PREFIX, tags=["uploads"])
SPEAKS_TUS = [Depends(speaks_tus)]
TEXT = str | None
LengthHeader = Annotated[TEXT, Header(alias="Upload-Length", description="Bytes of the whole file.")]
DeferHeader = Annotated[TEXT, Header(alias="Upload-Defer-Length", description="Not supported.")]
MetadataHeader = Annotated[
    TEXT, Header(alias="Upload-Metadata", description="`filename`, `sha256` and `labels` (a JSON object), in base64.")
]
ConcatHeader = Annotated[TEXT, Header(alias="Upload-Concat", description="`partial`, or `final;` and part addresses.")]
OffsetHeader = Annotated[TEXT, Header(alias="Upload-Offset", description="Where the chunk begins.")]
ChecksumHeader = Annotated[TEXT, Header(alias="Upload-Checksum", description="`sha256 <base64>` of the chunk.")]
MISMATCH: dict[int | str, dict[str, Any]] = {460: {"model": ErrorAnswer, "description": "Checksum Mismatch"}}
CREATE_ERRORS = error_responses(400, 403, 404, 409, 410, 412, 413, 415, 422, 423, 429, 503, 507) | MISMATCH
CHUNK_ERRORS = error_responses(400, 403, 404, 409, 410, 412, 413, 415, 423, 503, 507) | MISMATCH
SPOKEN = ("Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm")
POSITION = ("Upload-Offset", "Upload-Expires")
BYTES = {"requestBody": {"content": {tus.CHUNK_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


class UploadView(Frozen):
    """What a client sees of a resumable upload: `uploading → checking → ready | rejected`."""

    id: str
    state: UploadState
    filename: str
    length: int
    offset: int
    sha256: str | None
    is_part: bool
    created_at: datetime
    expires_at: datetime
    slide_id: str | None
    error: ErrorBody | None
    source: str | None = Field(default=None, description="Where the server fetches it from, if it does.")


class UploadList(Frozen):
    """The newest uploads first, without parts."""

    items: tuple[UploadView, ...]


@router.options("", status_code=204, response_class=Response, responses={204: told("Tus-Resumable", *SPOKEN)})
@router.options("/{upload_id}", status_code=204, response_class=Response, include_in_schema=False)
async def describe_uploads(settings: SettingsDep) -> Response:
    """Say which version and extensions of the tus protocol are spoken, and how large an upload may be."""
    return Response(status_code=204, headers=TUS | tus.server_headers(settings.upload_max_bytes))


@router.post(
    "",
    status_code=201,
    response_class=Response,
    responses={201: told("Tus-Resumable", "Location", *POSITION), **CREATE_ERRORS},
    dependencies=SPEAKS_TUS,
    openapi_extra=BYTES,
)
async def create_upload(
    request: Request,
    resumable: ResumableDep,
    caller: CallerDep,
    root_path: RootPathDep,
    length: LengthHeader = None,
    defer: DeferHeader = None,
    metadata: MetadataHeader = None,
    concat: ConcatHeader = None,
    checksum: ChecksumHeader = None,
) -> Response:
    """Create a resumable upload, with its first bytes if the request has a body, or join parts to one."""
    asked = tus.parse_upload_request(length, defer, metadata, concat)
    upload_request = replace(asked, made_by=caller.principal.key_id)
    for part_id in upload_request.parts:
        caller.check_owner(await resumable.owner(part_id), upload_missing(part_id))
    if _has_body(request):
        tus.check_body_type(request.headers.get("content-type"))
        chunk = tus.parse_chunk("0", content_length(request), checksum)
        upload = await resumable.create_with(upload_request, caller.tenant, chunk, body_of(request))
    else:
        upload = await resumable.create(upload_request, caller.tenant)
    headers = TUS | {"Location": link_to(root_path, tus.address(upload.id))} | tus.position_headers(upload)
    return Response(status_code=201, headers=headers)


@router.get("")
async def list_uploads(
    resumable: ResumableDep, caller: CallerDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> UploadList:
    """List resumable uploads, the newest first. Refused ones stay until they expire."""
    return UploadList(items=tuple(view_of(upload) for upload in (await resumable.list_uploads(caller.tenant))[:limit]))


@router.get("/{upload_id}", responses=error_responses(404, 410), dependencies=[OWN_UPLOAD])
async def get_upload(upload_id: str, resumable: ResumableDep) -> UploadView:
    """Look at an upload: how far it is, and what became of it."""
    return view_of(await resumable.read(upload_id))


@router.head(
    "/{upload_id}",
    response_class=Response,
    responses={
        200: told("Tus-Resumable", "Cache-Control", "Upload-Length", "Upload-Metadata", "Upload-Concat", *POSITION),
        **error_responses(404, 410, 412),
    },
    dependencies=[MAY_GO_ON, *SPEAKS_TUS, OWN_UPLOAD],
)
async def locate_upload(upload_id: str, resumable: ResumableDep, root_path: RootPathDep) -> Response:
    """Say where the next chunk begins, in `Upload-Offset`; to the key that made the upload also without `read`."""
    return Response(headers=TUS | tus.upload_headers(await resumable.position(upload_id), partial(link_to, root_path)))


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses={204: told("Tus-Resumable", *POSITION), **CHUNK_ERRORS},
    dependencies=[*SPEAKS_TUS, OWN_UPLOAD],
    openapi_extra=BYTES,
)
async def append_chunk(
    upload_id: str,
    request: Request,
    resumable: ResumableDep,
    offset: OffsetHeader = None,
    checksum: ChecksumHeader = None,
) -> Response:
    """Add a chunk. Its bytes are on the disk when this answers; the check of a complete upload follows."""
    tus.check_body_type(request.headers.get("content-type"))
    chunk = tus.parse_chunk(offset, content_length(request), checksum)
    upload = await resumable.append(upload_id, chunk, body_of(request))
    return Response(status_code=204, headers=TUS | tus.position_headers(upload))


@router.delete(
    "/{upload_id}",
    status_code=204,
    responses={204: told("Tus-Resumable"), **error_responses(404, 410, 412, 423)},
    dependencies=[*SPEAKS_TUS, OWN_UPLOAD],
)
async def delete_upload(upload_id: str, resumable: ResumableDep, imports: ImportsDep) -> Response:
    """Remove an upload with its bytes; an import that is being fetched ends. A slide that came of it stays."""
    await imports.abandon(upload_id)
    await resumable.remove(upload_id)
    return Response(status_code=204, headers=TUS)


def is_streamed(method: str, path: str) -> bool:
    """Whether a request is an upload, whose route reads the body as it comes in."""
    return (method, path) in STREAMED or (method == "PATCH" and path.startswith(f"{tus.PREFIX}/"))


class MethodOverride:
    """Lets clients that cannot send PATCH or DELETE say it in a header of a POST, as the protocol wants it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on under the method it means."""
        if scope["type"] == "http" and scope["method"] == "POST" and path_of(scope).startswith(f"{tus.PREFIX}/"):
            wanted = dict(scope["headers"]).get(OVERRIDE, b"").decode("latin-1").upper()
            if wanted in ("PATCH", "DELETE"):
                scope = {**scope, "method": wanted}
        await self._app(scope, receive, send)


def view_of(upload: Upload) -> UploadView:
    """Return what is shown of an upload."""
    return UploadView.model_validate(upload.model_dump(include=set(UploadView.model_fields)))


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
