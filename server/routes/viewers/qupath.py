"""The script that opens a job's regions in QuPath."""

import time

from fastapi import APIRouter, Request, Response

from server.access.guards import DOWNLOAD, AccessDep, CallerDep
from server.results import qupath
from server.routes.deps import StoreDep
from server.routes.path_deps import OWN_JOB
from server.web.document import told
from server.web.errors import error_responses
from workers.core.errors.base import ResultNotFound

router = APIRouter(prefix="/v1/jobs", tags=["results"])

MEDIA_TYPE = "text/x-groovy"
HEADERS = {
    "content-disposition": f'attachment; filename="{qupath.FILENAME}"',
    "cache-control": "no-store",  # it holds a link
    "x-content-type-options": "nosniff",
}


@router.get(
    f"/{{job_id}}/{qupath.FILENAME}",
    response_class=Response,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, **told("Cache-Control")},
        **error_responses(404, 409, 422),
    },
    dependencies=[OWN_JOB, DOWNLOAD],
)
def get_qupath_script(job_id: str, request: Request, store: StoreDep, caller: CallerDep, access: AccessDep) -> Response:
    """Fetch a script that brings the regions into QuPath, for the slide that is open there; its size is checked.

    It holds a signed link to the regions, which lasts as long as the server lets links last.
    """
    result = store.read_result(job_id)
    if qupath.REGIONS not in result.files:
        raise ResultNotFound("The job made no regions.", value=qupath.REGIONS, accepted=", ".join(result.files))
    life_s = access.links.max_s
    if caller.principal.means == "link":  # who came by a link gets none that lasts longer
        life_s = max(1, int(request.query_params["expires"]) - int(time.time()))
    link = access.links.make(caller.tenant, f"/v1/jobs/{job_id}/{qupath.REGIONS}", life_s)
    address = f"{str(request.base_url).rstrip('/')}{link.url}"
    text = qupath.script(store.read_plan(job_id), result.slide_filename, address, link.expires)
    return Response(text, headers=HEADERS, media_type=MEDIA_TYPE)
