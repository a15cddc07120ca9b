"""What is known of a resumable upload."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.schemas import ErrorBody

UploadState = Literal["uploading", "checking", "ready", "rejected"]


class Part(Frozen):
    """One part of a joined upload."""

    id: str
    length: int = Field(gt=0, description="Bytes.")


class Upload(Frozen):
    """`info.json` of a resumable upload."""

    id: str
    tenant: str = Field(default=LOCAL_TENANT, description="Whose it is.")
    state: UploadState = "uploading"
    length: int = Field(gt=0, description="Bytes it will have.")
    offset: int = Field(default=0, ge=0, description="Bytes acknowledged: they are on the disk.")
    filename: str
    sha256: str | None = Field(default=None, description="What the client said the whole file has, in hex.")
    metadata: str = Field(default="", description="Upload-Metadata as it came.")
    is_part: bool = Field(default=False, description="To be joined with others; no slide by itself.")
    parts: tuple[Part, ...] = Field(default=(), description="What it is joined from, in order.")
    joined: int = Field(default=0, description="How many parts are in `data` already.")
    created_at: datetime
    expires_at: datetime
    slide_id: str | None = None
    error: ErrorBody | None = None
    source: str | None = Field(default=None, description="Where the server fetches it from, if it does.")
    made_by: str | None = Field(default=None, description="Id of the key that made it, if it was a key.")

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        return self.offset == self.length

    @property
    def is_expired(self) -> bool:
        """Whether its time is over; one that is being checked has all the time it needs."""
        return self.state != "checking" and self.expires_at < datetime.now(UTC)

    @property
    def promised(self) -> int:
        """Bytes that it may still bring, and that the disk is to have room for."""
        return self.length - self.offset if self.state == "uploading" and not self.is_expired else 0
