"""Imports: the server fetches a slide itself, and shows it as a resumable upload."""

from fastapi import APIRouter, Response

from server.access.guards import CallerDep
from server.routes.deps import ImportsDep, RootPathDep
from server.routes.uploads import UploadView, view_of
from server.uploads import tus
from server.uploads.imports import ImportRequest
from server.web.document import told
from server.web.errors import error_responses
from server.web.root_path import link_to

router = APIRouter(prefix="/v1/imports", tags=["uploads"])


@router.post("", status_code=201, responses={201: told("Location"), **error_responses(400, 413, 422, 429, 503, 507)})
async def import_slide(
    request: ImportRequest, response: Response, imports: ImportsDep, caller: CallerDep, root_path: RootPathDep
) -> UploadView:
    """Fetch a slide from an address or a bucket that the operator allows; follow it at `Location`, as an upload."""
    upload = await imports.begin(request, caller.tenant)
    response.headers["Location"] = link_to(root_path, tus.address(upload.id))
    return view_of(upload)
