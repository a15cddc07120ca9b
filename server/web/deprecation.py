"""What is going to go says so: in the document, and in answers by `Deprecation` (RFC 9745) and `Sunset` (RFC 8594).

How long it stays, and what else is owed to whoever uses it, is in docs/api-stability.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.web.root_path import link_to, path_of

SINCE, SUNSET = "x-deprecated-since", "x-sunset"
PAGE = "/docs"


def deprecated_route(since: date, sunset: date | None = None) -> dict[str, Any]:
    """Return what a route is declared with that is deprecated: `@router.get(…, **deprecated_route(…))`.

    Args:
        since: Day from which on it is deprecated.
        sunset: Day on which it goes, if that is known.
    """
    return {"deprecated": True, "openapi_extra": _dates(since, sunset)}


def deprecated_parameter(since: date, sunset: date | None = None) -> dict[str, Any]:
    """Return the same for a query parameter: `Query(…, **deprecated_parameter(…))`. Who sends it is told."""
    return {"deprecated": True, "json_schema_extra": _dates(since, sunset)}


def _dates(since: date, sunset: date | None) -> dict[str, str]:
    return {SINCE: since.isoformat()} | ({SUNSET: sunset.isoformat()} if sunset else {})


@dataclass(frozen=True, slots=True)
class _Notice:
    """Of a whole operation, or of one query parameter."""

    method: str
    path: re.Pattern[str]
    parameter: str | None
    headers: dict[str, str]


class Deprecations:
    """Adds the headers to answers of what is deprecated. Pure ASGI, inside the gate.

    Args:
        app: What answers. It stands in the scope as `app`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._notices: tuple[_Notice, ...] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and the answer back with its headers."""
        notice = self._notice(scope) if scope["type"] == "http" else None
        if notice is None:
            await self._app(scope, receive, send)
            return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(notice.headers)
                page = link_to(str(scope.get("root_path", "")), PAGE)
                headers.append("link", f'<{page}>; rel="deprecation"; type="text/html"')
            await send(message)

        await self._app(scope, receive, send_told)

    def _notice(self, scope: Scope) -> _Notice | None:
        if self._notices is None:
            self._notices = tuple(_notices_of(scope["app"].openapi()))
        if not self._notices:
            return None
        path = path_of(scope)
        given = {name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
        for notice in self._notices:
            is_asked = notice.method == scope["method"] and notice.path.match(path) is not None
            if is_asked and (notice.parameter is None or notice.parameter in given):
                return notice
        return None


def _notices_of(described: dict[str, Any]) -> Iterator[_Notice]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            where = method.upper(), compile_path(path)[0]
            if operation.get("deprecated"):
                yield _Notice(*where, None, _headers(operation))
            for each in operation.get("parameters", ()):
                if each["in"] == "query" and each.get("deprecated"):
                    yield _Notice(*where, each["name"], _headers(each["schema"]))


def _headers(dates: dict[str, Any]) -> dict[str, str]:
    headers = {"deprecation": f"@{int(_midnight(dates[SINCE]).timestamp())}"}
    if SUNSET in dates:
        headers["sunset"] = format_datetime(_midnight(dates[SUNSET]), usegmt=True)
    return headers


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), UTC)
