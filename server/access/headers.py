"""Security headers, and whose requests are taken: which host they name, which page sends them. Pure ASGI."""

import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.exposure import is_loopback, listed
from server.access.notes import SAFE, refuse
from workers.core.errors.access import HostRefused, OriginRefused
from workers.core.errors.base import RequestInvalid
from workers.core.settings import Settings

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""On every answer that does not say otherwise itself."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For pages: scripts and styles are files of ours, never part of the page."""

DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
"""For all else: opened in a browser, whatever a slide or a result holds can do nothing."""

UNSPECIFIED = ("", "0.0.0.0", "::")  # noqa: S104 - not bound here
_ORIGIN = re.compile(r"https?://[a-z0-9.:_\[\]-]{1,253}")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{1,5})?")


class SecurityHeaders:
    """Adds the security headers to every answer, errors included.

    Args:
        app: What it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and the answer back with its headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in EVERYWHERE.items():
                    headers.setdefault(name, value)
                is_page = headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html"
                if message["status"] != HTTPStatus.NOT_MODIFIED:  # a browser would put it upon the page that it kept
                    headers.setdefault("content-security-policy", PAGE_POLICY if is_page else DATA_POLICY)
            await send(message)

        await self._app(scope, receive, send_guarded)


class Hosts:
    """The names by which requests may call this server.

    Args:
        settings: The names besides those of this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = frozenset((*listed(settings.allowed_hosts), settings.host.lower())) - {*UNSPECIFIED}

    def take(self, given: list[str]) -> bool:
        """Whether these `Host` headers of a request are one, and name this server."""
        match = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if match is None:
            return False
        name = match["name"].strip("[]").removesuffix(".")
        return "*" in self._names or name in self._names or is_loopback(name)


class HostGuard:
    """Takes only requests that name this server.

    A page of another site can make a name of its own mean this machine (DNS rebinding). Its requests then come from
    inside, and count as this server's own; but they name the wrong host.

    Args:
        app: What it stands before.
        settings: The names.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        if scope["type"] == "http" and not self._hosts.take(given := Headers(scope=scope).getlist("host")):
            error = HostRefused(
                "The request names a host that is not this server.",
                value=", ".join(given)[:200],
                accepted="this machine's own names, or those of LDIFFUSION_ALLOWED_HOSTS",
            )
            await refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)


class OriginGuard:
    """Takes requests that change something only from its own pages, from listed ones, and from what is no browser.

    Browsers say in a header which page a request comes from, and no page can change that.

    Args:
        app: What it stands before.
        settings: The listed origins.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = frozenset(origins_of(settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] not in SAFE:
            headers = Headers(scope=scope)
            origins = headers.getlist("origin")
            if not self._may(origins, headers):
                error = OriginRefused(
                    "A page of another site sent this request.",
                    value=", ".join(origins)[:200] or headers.get("sec-fetch-site"),
                    accepted="this server's own pages, or those of LDIFFUSION_CORS_ORIGINS",
                )
                await refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _may(self, origins: list[str], headers: Headers) -> bool:
        if not origins:  # no browser; or one that hides the origin and says at least how far away it is
            return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        origin = origins[0].lower()
        # Its own scheme is not known behind a server that speaks TLS for it; name and port are.
        own = headers.get("host", "").lower()
        is_own = origin in (f"http://{own}", f"https://{own}")
        return len(origins) == 1 and (is_own or origin in self._origins)


def origins_of(settings: Settings) -> list[str]:
    """Return the origins of other sites whose pages may use this server.

    Raises:
        RequestInvalid: One of them is none. There is no word for all of them.
    """
    origins = listed(settings.cors_origins)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise RequestInvalid("cors_origins: not an origin.", value=origin, accepted="https://viewer.example, …")
    return origins
