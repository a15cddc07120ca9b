"""What happens to a job, as it happens."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import StreamingResponse

from server.access.gate import is_still_let_in
from server.access.guards import CallerDep
from server.routes.deps import ListenersDep, RootPathDep
from server.routes.jobs import with_results
from server.routes.path_deps import OWN_JOB
from server.web.document import told
from server.web.errors import error_responses
from server.web.head import is_head_only
from server.web.sse import Audience
from workers.core.queue.events import parse_event_id

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""No cache keeps it and no proxy holds it back."""

EVENT = {
    "type": "object",
    "description": "Fields of one event. Its data is JSON: of `end` the whole job, else where it stands.",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["state", "progress", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["id", "event", "data"],
}


@router.get(
    "/{job_id}/events",
    dependencies=[OWN_JOB],
    response_class=Response,
    responses={
        200: {
            "description": "Server-Sent Events `state`, `progress` and, once, `end`.",
            "content": {"text/event-stream": {"schema": EVENT}},
            **told("Cache-Control"),
        },
        204: {"description": "Last-Event-ID names the end: there is nothing more to come."},
        **error_responses(404, 422, 503),
    },
)
async def follow_job(
    request: Request,
    job_id: str,
    listeners: ListenersDep,
    caller: CallerDep,
    root_path: RootPathDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow one job until it ends, or its key does. Who comes back with Last-Event-ID gets what was missed."""
    audience = Audience(caller.tenant, partial(with_results, root_path), partial(is_still_let_in, request.scope))
    events = await listeners.begin(job_id, parse_event_id(last_event_id), audience)
    if events is None:
        return Response(status_code=204)
    if is_head_only(request):  # the seat is free again
        return StreamingResponse(iter(()), media_type="text/event-stream", headers=HEADERS)
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
