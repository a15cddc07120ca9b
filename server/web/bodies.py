"""Bodies that a route reads itself, as they come in; all others are bounded before a route sees them."""

from collections.abc import AsyncIterator, Callable

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.errors import answer_of
from server.web.root_path import path_of
from workers.core.errors.base import UploadIncomplete, UploadTooLarge

BODY_MAX_BYTES = 4 * 2**20
"""Of a request whose body is read as a whole: a region of interest of 100 000 corners fits."""

IsStreamed = Callable[[str, str], bool]
"""Whether a request of this method and path is an upload, whose route reads the body as it comes in."""


class BodyCap:
    """Reads what is no upload up to a cap, and answers 413 above it; uploads go by. Pure ASGI, inside the gate.

    The framework would keep the whole body of a JSON route in memory, however long it is.

    Args:
        app: What takes the request.
        is_streamed: Says which requests go by.
        most: Bytes.
    """

    def __init__(self, app: ASGIApp, is_streamed: IsStreamed, most: int = BODY_MAX_BYTES) -> None:
        self._app = app
        self._is_streamed = is_streamed
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its body, or answer that this is too long."""
        if scope["type"] != "http" or self._lets_by(scope):
            await self._app(scope, receive, send)
            return
        claimed = Headers(scope=scope).get("content-length", "0")
        pieces = None if int(claimed) > self._most else await self._read(receive)
        if pieces is None:
            error = UploadTooLarge("The body of this request is too long.", accepted=f"at most {self._most} bytes")
            await answer_of(error, body_unread=True)(scope, receive, send)
            return
        await self._app(scope, read_again(pieces, receive), send)

    def _lets_by(self, scope: Scope) -> bool:
        return self._is_streamed(scope["method"], path_of(scope)) or not has_body(Headers(scope=scope))

    async def _read(self, receive: Receive) -> list[Message] | None:
        """Return the messages up to the end of the body; None if it is past the cap."""
        pieces: list[Message] = []
        size, is_whole = 0, False
        while not is_whole:
            pieces.append(await receive())
            size += len(pieces[-1].get("body", b""))
            if size > self._most:
                return None
            is_whole = not pieces[-1].get("more_body", False)  # the last piece, or the client went away
        return pieces


def read_again(pieces: list[Message], receive: Receive) -> Receive:
    """Return what gives an app the messages that were read before it, and lets go of each, and then those that come."""
    pieces.reverse()

    async def read() -> Message:
        return pieces.pop() if pieces else await receive()

    return read


def has_body(headers: Headers) -> bool:
    """Whether a request says that it has a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def body_of(request: Request) -> AsyncIterator[bytes]:
    """Return the body as it comes in; until it ended, an error answer has to linger (see `server.web.lingering`).

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
