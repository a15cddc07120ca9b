"""What a request may say to a route, by the route's own OpenAPI document: content type, parameters, shape of its JSON.

In one place, so that no route can forget it. Pure ASGI, behind the cap of bodies.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, sleep, to_thread
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.bodies import has_body, read_again
from server.web.errors import answer_of
from server.web.json_shape import check_json
from server.web.root_path import path_of
from workers.core.errors.base import BodyUnsupported, LDiffusionError
from workers.core.errors.door import BodyTooComplex, ParameterUnknown

JSON = "application/json"
LARGE_BYTES = 2**16
PAUSE_S = 1.0
"""Before a refusal of JSON that costs too much: whoever sends it again and again waits, and not the others."""

SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: re.Pattern[str]
    parameters: tuple[str, ...]
    takes_json: bool


class Declared:
    """Refuses what a route does not take, by name and before the route; what no route is for goes by.

    Args:
        app: What takes the request. It stands in the scope as `app`.
        everywhere: Query parameters that belong to no route: those of signed links.
        probes: Paths whose query is nobody's business: what watches a server may add what keeps caches away.
    """

    def __init__(
        self, app: ASGIApp, everywhere: frozenset[str] = frozenset(), probes: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._everywhere = everywhere
        self._probes = probes
        self._operations: tuple[_Operation, ...] | None = None
        self._large = CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its body, or answer why not."""
        with_body = scope["type"] == "http" and has_body(Headers(scope=scope))
        operation = self._operation(scope) if with_body or (scope["type"] == "http" and scope["query_string"]) else None
        if operation is None:
            await self._app(scope, receive, send)
            return
        pieces: list[Message] = []
        try:
            self._check_query(scope, operation)
            if with_body and operation.takes_json:
                await _check_body(scope, receive, pieces, self._large)
        except LDiffusionError as error:
            if isinstance(error, BodyTooComplex):
                await sleep(PAUSE_S)
            is_unread = with_body and not (pieces and not pieces[-1].get("more_body", False))
            await answer_of(error, body_unread=is_unread)(scope, receive, send)
            return
        await self._app(scope, read_again(pieces, receive), send)

    def _operation(self, scope: Scope) -> _Operation | None:
        if self._operations is None:
            self._operations = tuple(_operations_of(scope["app"]))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = path_of(scope)
        return next((each for each in self._operations if each.method == method and each.path.match(path)), None)

    def _check_query(self, scope: Scope, operation: _Operation) -> None:
        if path_of(scope) in self._probes:
            return
        given = (name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        unknown = next(
            (each for each in given if each not in operation.parameters and each not in self._everywhere), None
        )
        if unknown is not None:
            raise ParameterUnknown(
                "The address takes no such parameter.",
                value=unknown[:SHOWN_CHARS],
                accepted=", ".join(operation.parameters) or "none",
            )


async def _check_body(scope: Scope, receive: Receive, pieces: list[Message], large: CapacityLimiter) -> None:
    """Read a body, which is bounded, into `pieces`, and refuse it where it cannot be right; `large` ones in a row."""
    while not pieces or pieces[-1].get("more_body", False):
        pieces.append(await receive())
    body = b"".join(piece.get("body", b"") for piece in pieces)
    given = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if body and given != JSON and not re.fullmatch(r"application/[\w.-]+\+json", given):
        raise BodyUnsupported(
            "This address takes JSON.", value=given[:SHOWN_CHARS] or "no Content-Type", accepted=f"Content-Type: {JSON}"
        )
    # Some milliseconds for some megabytes: not in the event loop, and one after another, as they share an interpreter.
    await to_thread.run_sync(check_json, body, limiter=large if len(body) > LARGE_BYTES else None)


def _operations_of(app: FastAPI) -> list[_Operation]:
    found = []
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            names = tuple(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
            takes_json = JSON in operation.get("requestBody", {}).get("content", {})
            found.append(_Operation(method.upper(), compile_path(path)[0], names, takes_json))
    return found
