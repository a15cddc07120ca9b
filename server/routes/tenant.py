"""What a client does for its tenant: signed links for somebody without a key, and how much the tenant has."""

from fastapi import APIRouter

from server.access.guards import AccessDep, CallerDep
from server.access.quotas import Usage
from server.access.signing import Link, LinkRequest
from server.routes.deps import QuotasDep, RootPathDep
from server.web.errors import error_responses
from server.web.root_path import link_to, without_root

router = APIRouter(prefix="/v1", tags=["access"])


@router.post("/links", responses=error_responses(413, 422))
async def make_link(request: LinkRequest, caller: CallerDep, access: AccessDep, root_path: RootPathDep) -> Link:
    """Make a link to a path, or, if it ends with `/`, to all below it. It shows what the caller sees."""
    path = without_root(root_path, request.path)
    link = access.links.make(caller.tenant, path, request.life_s, is_prefix=path.endswith("/"))
    return link.model_copy(update={"url": link_to(root_path, link.url)})


@router.get("/usage", responses=error_responses(503))
def get_usage(quotas: QuotasDep, caller: CallerDep) -> Usage:
    """Say how much the caller's tenant has stored and under way, and how much it may have."""
    return quotas.usage(caller.tenant)
