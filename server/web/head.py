"""HEAD wherever there is GET: the same answer without its body, and without the work of reading one that is long."""

import re
from contextlib import suppress

from fastapi import FastAPI, Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.root_path import path_of

FOR_GET_ONLY = (b"range", b"if-range")
"""Ranges are defined for GET alone (RFC 9110, 14.2): a HEAD tells of the whole."""


_HEAD_ONLY = "head_only"


def is_head_only(request: Request) -> bool:
    """Whether nobody waits for the body: a route that would hold something for it need not begin."""
    return bool(request.scope.get("state", {}).get(_HEAD_ONLY, False))


class _Enough(Exception):
    """The head of the answer is sent, and nobody wants the body."""


class HeadLikeGet:
    """Asks the application for a HEAD as for a GET, unless a route takes HEAD itself.

    A body that comes at once is left out; one that comes in pieces, as files and streams do, is cut off at its first.

    Args:
        app: What answers. It stands in the scope as `app`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._own: tuple[re.Pattern[str], ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and of the answer to a HEAD the head back."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or self._is_taken(scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                raise _Enough

        headers = [(name, value) for name, value in scope["headers"] if name not in FOR_GET_ONLY]
        scope.setdefault("state", {})[_HEAD_ONLY] = True
        with suppress(_Enough):
            await self._app({**scope, "method": "GET", "headers": headers}, receive, send_head)

    def _is_taken(self, scope: Scope) -> bool:
        if self._own is None:
            self._own = tuple(_paths_with_head(scope["app"]))
        path = path_of(scope)
        return any(pattern.fullmatch(path) for pattern in self._own)


def _paths_with_head(app: FastAPI) -> list[re.Pattern[str]]:
    return [compile_path(path)[0] for path, methods in app.openapi()["paths"].items() if "head" in methods]
