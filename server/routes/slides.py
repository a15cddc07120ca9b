"""Slides: upload (as a form or raw), list, look at, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from server.access.guards import CallerDep
from server.catalogue.listing import list_slides as slides_after
from server.intake import slide_records
from server.intake.archives import ENTRIES_MAX
from server.intake.slide_records import SlideChange
from server.routes.deps import CatalogueDep, IntakeDep, QuotasDep, RetentionDep, RootPathDep, StoreDep
from server.routes.filters import FilterDep, LabelsQuery, PageDep, labels_asked
from server.routes.path_deps import OWN_SLIDE, SlideDep
from server.uploads.form_zip import read_form_zip
from server.uploads.oneshot import parse_digest
from server.web.bodies import body_of, content_length
from server.web.document import told
from server.web.errors import error_responses
from server.web.multipart import FIELD, FORM_OVERHEAD_BYTES, PART_OVERHEAD_BYTES, read_form_file
from server.web.root_path import link_to
from workers.core.frozen import Frozen
from workers.core.slide_schemas import SlideInfo

router = APIRouter(prefix="/v1/slides", tags=["slides"])

DigestHeader = Annotated[
    str | None,
    Header(alias="Repr-Digest", description="`sha-256=:<base64>:` of the file's bytes (RFC 9530); checked if given."),
]
BINARY = {"type": "string", "format": "binary"}
UPLOADED = {201: told("Location"), **error_responses(400, 413, 422, 503, 507)}


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
    responses=UPLOADED,
    openapi_extra=request_body(
        "multipart/form-data", {"type": "object", "required": [FIELD], "properties": {FIELD: BINARY}}
    ),
)
async def upload_slide_form(
    request: Request,
    response: Response,
    intake: IntakeDep,
    quotas: QuotasDep,
    caller: CallerDep,
    root_path: RootPathDep,
    label: LabelsQuery = None,
    repr_digest: DigestHeader = None,
) -> SlideInfo:
    """Upload a slide as a form with one part named `file`. It is accepted once a probe has read it."""
    labels = dict(labels_asked(label))
    body = body_of(request)
    length = content_length(request)
    intake.check_claim(length, FORM_OVERHEAD_BYTES)
    digest = parse_digest(repr_digest)
    async with quotas.room(caller.tenant, max(0, (length or 0) - FORM_OVERHEAD_BYTES)) as room:
        filename, pieces = await read_form_file(request.headers.get("content-type", ""), body)
        return _made(response, root_path, await intake.receive(pieces, filename, digest, room, labels))


@router.post(
    "/sets",
    status_code=201,
    responses=UPLOADED,
    openapi_extra=request_body(
        "multipart/form-data",
        {"type": "object", "required": [FIELD], "properties": {FIELD: {"type": "array", "items": BINARY}}},
    ),
)
async def upload_slide_set(
    request: Request,
    response: Response,
    intake: IntakeDep,
    quotas: QuotasDep,
    caller: CallerDep,
    root_path: RootPathDep,
    label: LabelsQuery = None,
) -> SlideInfo:
    """Upload a slide of several files (MIRAX, a DICOM series) as a form with a part named `file` for each.

    The filename of a part is the file's path within the slide: `slide.mrxs`, `slide/Data0000.dat`. The server packs
    them into a zip, which is then taken like one that was uploaded.
    """
    labels = dict(labels_asked(label))
    body = body_of(request)
    length = content_length(request)
    wrapping = FORM_OVERHEAD_BYTES + ENTRIES_MAX * PART_OVERHEAD_BYTES
    intake.check_claim(length, wrapping)
    async with quotas.room(caller.tenant, max(0, (length or 0) - wrapping)) as room:
        name, pieces = await read_form_zip(request.headers.get("content-type", ""), body)
        return _made(response, root_path, await intake.receive(pieces, name, None, room, labels))


@router.put("", status_code=201, responses=UPLOADED, openapi_extra=request_body("application/octet-stream", BINARY))
async def upload_slide(
    request: Request,
    response: Response,
    intake: IntakeDep,
    quotas: QuotasDep,
    caller: CallerDep,
    root_path: RootPathDep,
    filename: Annotated[str, Query(max_length=1024, examples=["CMU-1-Small-Region.svs"])] = "",
    label: LabelsQuery = None,
    repr_digest: DigestHeader = None,
) -> SlideInfo:
    """Upload a slide as the bare body: `curl -T slide.svs 'http://…/v1/slides?filename=slide.svs'`."""
    labels = dict(labels_asked(label))
    body = body_of(request)
    intake.check_claim(content_length(request))
    digest = parse_digest(repr_digest)
    async with quotas.room(caller.tenant, content_length(request)) as room:
        return _made(response, root_path, await intake.receive(body, filename, digest, room, labels))


@router.get("", responses=error_responses(422, 503))
def list_slides(catalogue: CatalogueDep, wanted: FilterDep, page: PageDep) -> SlideList:
    """List slides, the newest first, in pages."""
    items, following = slides_after(catalogue, page.limit, wanted, page.cursor)
    return SlideList(items=items, next_cursor=following)


@router.get("/{slide_id}", responses=error_responses(404))
def get_slide(info: SlideDep) -> SlideInfo:
    """Look at one slide: format, size, resolution, levels, digest."""
    return info


@router.patch("/{slide_id}", responses=error_responses(404, 409, 413, 422, 507), dependencies=[OWN_SLIDE])
def change_slide(slide_id: str, change: SlideChange, store: StoreDep, catalogue: CatalogueDep) -> SlideInfo:
    """Change labels, or keep the µm per pixel that you know: every later job takes it, and says so with a warning."""
    info = slide_records.change_slide(store, slide_id, change.applied)
    catalogue.renew("slide", info.id, info.tenant)
    return info


@router.delete("/{slide_id}", status_code=204, responses=error_responses(404, 409, 503), dependencies=[OWN_SLIDE])
def delete_slide(slide_id: str, retention: RetentionDep) -> None:
    """Delete a slide with its jobs and all that came of them. Refused while a job on it has not ended."""
    retention.remove_slide(slide_id)


def _made(response: Response, root_path: str, info: SlideInfo) -> SlideInfo:
    response.headers["Location"] = link_to(root_path, f"/v1/slides/{info.id}")
    return info
