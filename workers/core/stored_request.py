"""What a client asked for, as it lies on the disk."""

from datetime import datetime

from pydantic import Field

from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.schemas import JobRequest


class StoredRequest(Frozen):
    """`job.json`: what was asked, by whom, and when."""

    id: str
    tenant: str = LOCAL_TENANT
    created_at: datetime
    request: JobRequest
    estimated_bytes: int = Field(
        default=0, ge=0, description="Of the disk, at most; until `size.json` says it. 0: not known."
    )
