"""What every record here is made of: a pydantic model that nothing changes and that takes no unknown field."""

from pydantic import BaseModel, ConfigDict

LOCAL_TENANT = "local"
"""Whose everything is on a server that asks nobody who they are."""


class Frozen(BaseModel):
    """Immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
