"""All layers of protection around the application, in their order. Outermost, so that no answer goes around them."""

from collections.abc import Iterable

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from server.access.audit_middleware import AuditMiddleware
from server.access.forwarded import Forwarded
from server.access.gate import PUBLIC, Gate
from server.access.headers import HostGuard, OriginGuard, SecurityHeaders, origins_of
from server.web.counting.requests import RequestCounts, Templates
from server.web.request_ids import RequestIds
from server.web.root_path import RootPath, root_path_of
from workers.core.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SENT = (
    *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Range", "Repr-Digest"),
    "X-Request-Id",
    *("Tus-Resumable", "Upload-Checksum", "Upload-Concat", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
    "X-HTTP-Method-Override",
)
SHOWN = (
    *("Content-Range", "ETag", "Location", "Retry-After", "WWW-Authenticate"),
    *("X-Request-Id", "RateLimit", "RateLimit-Policy", "Deprecation", "Sunset", "Link"),
    *("Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version"),
    *("Upload-Concat", "Upload-Expires", "Upload-Length", "Upload-Offset"),
)
PREFLIGHT_S = 600


def protect(
    app: ASGIApp, settings: Settings, public: tuple[str, ...] = PUBLIC, routes: Iterable[BaseRoute] = ()
) -> ASGIApp:
    """Return the application behind its guards.

    Args:
        app: The application. The state that its lifespan gives holds `access`.
        settings: Hosts, origins, proxies and path prefix.
        public: Paths that need no key.
        routes: Those that requests are counted by.

    Raises:
        RequestInvalid: A listed origin or proxy is none, or the path prefix.
    """
    inner: ASGIApp = Gate(app, public)
    origins = origins_of(settings)
    if origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=PREFLIGHT_S,
        )
    guarded = SecurityHeaders(AuditMiddleware(HostGuard(OriginGuard(inner, settings), settings)))
    counted = RequestCounts(RequestIds(guarded), Templates(routes))
    return Forwarded(RootPath(counted, root_path_of(settings)), settings)
