"""What concerns the whole server: for keys with the scope `admin`."""

from typing import Annotated

from fastapi import APIRouter, Query

from server.access.guards import ADMIN_ONLY
from server.jobs.checkups import Checkup
from server.routes.deps import CheckupsDep
from server.web.errors import error_responses

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=[ADMIN_ONLY])


@router.get("/doctor", responses=error_responses(422, 429, 503))
def look_at_store(
    checkups: CheckupsDep,
    digests: Annotated[bool, Query(description="Read all results again, and compare them with their digests.")] = False,
    limit: Annotated[
        int, Query(ge=1, le=1000, description="Findings after which a page ends; those of a job are not parted.")
    ] = 100,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="`next_cursor` of the page before.")
    ] = None,
) -> Checkup:
    """Look at the store against the queue, of all tenants, and mend nothing. A page ends after seconds; go on by it."""
    return checkups.page(limit, cursor, digests=digests)
