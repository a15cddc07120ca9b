"""Counts requests: which route, how they ended, how long that took, how many bytes came and went. Pure ASGI."""

import time
from collections.abc import Iterable

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.counting.counters import RECEIVED_BYTES, REQUEST_SECONDS, REQUESTS, SENT_BYTES
from server.web.root_path import path_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Of a method that is none of these, and the template of a path that no route has."""

UNANSWERED = "none"


class Templates:
    """Finds the template of a path among those that there are, so that no label holds what a client wrote.

    Args:
        routes: Of the application, in the order in which it tries them.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [
            (route.path_regex, frozenset(route.methods or ()), route.path_format)
            for route in routes
            if isinstance(route, Route)
        ]

    def of(self, method: str, path: str) -> str:
        """Return the template of a path of ours; with a method that it does not take, still its own."""
        asked = "GET" if method == "HEAD" else method
        found = OTHER
        for pattern, methods, template in self._routes:
            if pattern.match(path):
                if asked in methods or method in methods:
                    return template
                found = template if found == OTHER else found
        return found


class RequestCounts:
    """Counts every request that has a name, also one that is refused before a route sees it.

    Args:
        app: What it stands before.
        templates: Of the routes.
    """

    def __init__(self, app: ASGIApp, templates: Templates) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and count what comes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        route = self._templates.of(scope["method"], path_of(scope))
        method = scope["method"] if scope["method"] in METHODS else OTHER
        received, sent = RECEIVED_BYTES.labels(route), SENT_BYTES.labels(route)
        status = UNANSWERED

        async def receive_counted() -> Message:
            message = await receive()
            if message["type"] == "http.request" and (body := message.get("body")):
                received.inc(len(body))
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
                REQUEST_SECONDS.labels(route, method).observe(time.perf_counter() - began)
            elif body := message.get("body"):
                sent.inc(len(body))
            await send(message)

        try:
            await self._app(scope, receive_counted, send_counted)
        finally:
            REQUESTS.labels(route, method, status).inc()
