"""Signed links: somebody without a key fetches one thing, for a short time."""

from fastapi import APIRouter

from server.access.guards import AccessDep, CallerDep
from server.access.signing import Link, LinkRequest
from server.web.errors import error_responses

router = APIRouter(prefix="/v1/links", tags=["access"])


@router.post("", responses=error_responses(413, 422))
async def make_link(request: LinkRequest, caller: CallerDep, access: AccessDep) -> Link:
    """Make a link to a path, or, if it ends with `/`, to all below it. It shows what the caller sees."""
    return access.links.make(caller.tenant, request.path, request.life_s, is_prefix=request.path.endswith("/"))
