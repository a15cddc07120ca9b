"""Clients of an L-Diffusion server: `Client` blocks, `AsyncClient` awaits; what they raise, and what they return."""

from ldiffusion_client.client import AsyncClient, Client
from ldiffusion_client.errors import (
    Busy,
    Damaged,
    JobEnded,
    Missing,
    NeverReached,
    NotAllowed,
    Refused,
    RemoteError,
    ServerFailed,
    TookTooLong,
    Unreachable,
)
from ldiffusion_client.records import Provenance
from ldiffusion_client.views import (
    BatchView,
    JobRequest,
    JobView,
    ModelCard,
    ProductView,
    Progress,
    SlideInfo,
)

__all__ = [
    "AsyncClient",
    "BatchView",
    "Busy",
    "Client",
    "Damaged",
    "JobEnded",
    "JobRequest",
    "JobView",
    "Missing",
    "ModelCard",
    "NeverReached",
    "NotAllowed",
    "ProductView",
    "Progress",
    "Provenance",
    "Refused",
    "RemoteError",
    "ServerFailed",
    "SlideInfo",
    "TookTooLong",
    "Unreachable",
]
