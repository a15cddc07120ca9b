"""Signed links: somebody without a key fetches one thing, for a short time."""

from fastapi import APIRouter

from server.access.guards import AccessDep, CallerDep
from server.access.signing import Link, LinkRequest
from server.routes.deps import RootPathDep
from server.web.errors import error_responses
from server.web.root_path import link_to, without_root

router = APIRouter(prefix="/v1/links", tags=["access"])


@router.post("", responses=error_responses(413, 422))
async def make_link(request: LinkRequest, caller: CallerDep, access: AccessDep, root_path: RootPathDep) -> Link:
    """Make a link to a path, or, if it ends with `/`, to all below it. It shows what the caller sees."""
    path = without_root(root_path, request.path)
    link = access.links.make(caller.tenant, path, request.life_s, is_prefix=path.endswith("/"))
    return link.model_copy(update={"url": link_to(root_path, link.url)})
