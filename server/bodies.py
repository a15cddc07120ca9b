"""Bodies that a route reads itself, as they come in."""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from workers.core.errors import UploadIncomplete


def body_of(request: Request) -> AsyncIterator[bytes]:
    """Return the body as it comes in; until it ended, an error answer has to linger (see `server.lingering`).

    The iterator raises UploadIncomplete when the client goes away.
    """
    request.state.body_unread = True

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in request.stream():
                yield piece
        except ClientDisconnect:
            raise UploadIncomplete("The client went away before the end of the upload.") from None
        request.state.body_unread = False

    return pieces()


def content_length(request: Request) -> int | None:
    """Return how long the body claims to be, in bytes; None if the client sends chunks."""
    length = request.headers.get("content-length")
    return None if length is None else int(length)
