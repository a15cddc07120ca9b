"""What the layers around the application tell each other about one request, and how they refuse it. Pure ASGI."""

from dataclasses import dataclass
from typing import cast

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from server.access.principals import Principal
from server.web.bodies import has_body
from server.web.errors import answer_of
from workers.core.errors.access import Forbidden, RateLimited, TooMany, Unauthorized
from workers.core.errors.base import LDiffusionError

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

_KEY = "audit_note"


@dataclass(slots=True)
class Note:
    """What is known of a request so far.

    Attributes:
        principal: Who asks, once that is known.
        refused: Code of the error, if it was refused for who asks or from where.
        is_silent: It is one of many of a kind, of which the first was logged.
        is_download: It fetches what is somebody's.
    """

    principal: Principal | None = None
    refused: str | None = None
    is_silent: bool = False
    is_download: bool = False


def note_of(scope: Scope) -> Note:
    """Return the note of a request."""
    return cast("Note", scope.setdefault("state", {}).setdefault(_KEY, Note()))


def remote_of(scope: Scope) -> str:
    """Return the address of the sender: the other end of the connection, or whom a trusted proxy there names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


async def refuse(error: LDiffusionError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error, in the one shape, and note that it was refused."""
    note = note_of(scope)
    note.refused = error.code if isinstance(error, (Unauthorized, Forbidden, TooMany)) else None
    note.is_silent = isinstance(error, RateLimited) and not error.is_first
    await answer_of(error, body_unread=has_body(Headers(scope=scope)))(scope, receive, send)
