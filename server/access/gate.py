"""The gate: before a route, or a byte of a body, is looked at, it says who asks and whether they may. Pure ASGI.

public path ─────────────────────────────────────────► pass
no key was ever made, and only this machine reaches us ─► `local`, every scope
key in a header ──► known, usable ───┐
signed link, GET ─► genuine, in time ┴► rate of the key ► scope of the method ─► pass, with the principal in the state
else ─────────────────────────────────► rate of the address ► 401, or 403 for a link
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.audit import AuditLog
from server.access.denied_requests import DeniedRequests
from server.access.exposure import is_open
from server.access.keys import KeyRing, Keys, KeySet
from server.access.limits import Rates
from server.access.notes import note_of, refuse, remote_of
from server.access.principals import LOCAL, Principal, link_principal
from server.access.principals import Scope as AccessScope
from server.access.signing import Links, is_link, read_secret
from server.access.views import Views
from server.web.root_path import path_of
from workers.core.errors.access import LinkInvalid, Unauthorized
from workers.core.errors.base import LDiffusionError
from workers.core.settings import Settings

PUBLIC = ("/healthz", "/readyz")
"""What a supervisor asks. A name that ends with `/` stands for all below it."""

LOOKING = ("GET", "HEAD", "OPTIONS")
LINKS_PATH = "/v1/links"
UPLOADS_PATH = "/v1/uploads/"
POLICY_VIOLATION = 1008
HOW = "Authorization: Bearer <key>, or X-API-Key: <key>"


@dataclass(frozen=True, slots=True)
class Access:
    """What the gateway opens at its start to tell who may come in; it lies in the state as `access`."""

    settings: Settings
    keys: KeyRing
    links: Links
    rates: Rates
    audit: AuditLog
    denied_requests: DeniedRequests = field(default_factory=DeniedRequests)
    views: Views = field(default_factory=Views)


def open_access(settings: Settings) -> Access:
    """Return the access of a data folder, which is there.

    Raises:
        Unavailable: The secret of links cannot be used.
    """
    return Access(
        settings=settings,
        keys=KeyRing(Keys(settings.data_dir)),
        links=Links(read_secret(settings.data_dir), settings.link_max_s),
        rates=Rates(settings),
        audit=AuditLog(settings.data_dir, settings.audit_max_bytes),
    )


class Gate:
    """Lets in who may come in; whatever is inside finds a `Principal` in the state as `principal`.

    Args:
        app: What it stands before. Its state holds `access`.
        public: Paths that need no key.
    """

    def __init__(self, app: ASGIApp, public: tuple[str, ...] = PUBLIC) -> None:
        self._app = app
        self._names = frozenset(path for path in public if not path.endswith("/") or path == "/")
        self._folders = tuple(path for path in public if path.endswith("/") and path != "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer it with why not."""
        if scope["type"] == "websocket":  # nothing here speaks it, and nothing that will one day goes around the gate
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        if scope["type"] != "http" or self._is_public(scope):
            await self._app(scope, receive, send)
            return
        send = _telling_rate(scope, send)
        try:
            principal = await self._admit(scope)
        except LDiffusionError as error:
            await refuse(error, scope, receive, send)
            return
        scope["state"]["principal"] = principal
        await self._app(scope, receive, send)

    def _is_public(self, scope: Scope) -> bool:
        path = path_of(scope)
        return scope["method"] in LOOKING and (path in self._names or path.startswith(self._folders))

    async def _admit(self, scope: Scope) -> Principal:
        access = cast("Access", scope["state"]["access"])
        try:
            principal = await _principal(scope)
        except (Unauthorized, LinkInvalid):
            access.rates.turn_away(remote_of(scope), time.monotonic())
            raise
        note_of(scope).principal = principal
        access.rates.admit(principal, time.monotonic())
        if not (_goes_on(scope) and "submit" in principal.scopes):  # else the route looks whose upload it is
            principal.require(scope_needed(scope["method"], path_of(scope)))
        return principal


async def is_still_let_in(scope: Scope) -> bool:
    """Whether a request that was let in would be now: its key may have been revoked, or have expired, meanwhile."""
    try:
        return await _principal(scope) == cast("Principal", scope["state"]["principal"])
    except LDiffusionError:
        return False


def _telling_rate(scope: Scope, send: Send) -> Send:
    """Return what sends an answer with how much of its rate whoever asks has left, once it is known who that is."""

    async def send_told(message: Message) -> None:
        principal = note_of(scope).principal
        if message["type"] == "http.response.start" and principal is not None:
            standing = cast("Access", scope["state"]["access"]).rates.standing(principal)
            MutableHeaders(scope=message).update(standing.headers() if standing else {})
        await send(message)

    return send_told


def _goes_on(scope: Scope) -> bool:
    """Whether somebody asks how far an upload is, to go on with it: that is a part of uploading."""
    return scope["method"] == "HEAD" and path_of(scope).startswith(UPLOADS_PATH)


def scope_needed(method: str, path: str) -> AccessScope:
    """Return the scope that a request needs at least; a route may ask for more."""
    # Who may look may let others look: making a link changes nothing.
    return "read" if method in LOOKING or (method, path) == ("POST", LINKS_PATH) else "submit"


async def _principal(scope: Scope) -> Principal:
    access = cast("Access", scope["state"]["access"])
    keys = await access.keys.current()
    return LOCAL if is_open(access.settings, keys) else _identify(scope, keys, access.links)


def _identify(scope: Scope, keys: KeySet, links: Links) -> Principal:
    now = datetime.now(UTC)
    tokens = _tokens(Headers(scope=scope))
    query = scope["query_string"].decode("latin-1")
    if len(tokens) > 1:
        raise Unauthorized("The request carries two keys.", accepted=HOW)
    if tokens:
        return keys.find(tokens.pop(), now)
    if is_link(query):
        tenant = links.tenant_of(scope["method"], path_of(scope), query)
        if not keys.has_usable(now, tenant):
            raise LinkInvalid("The keys of whoever made this link open nothing any more.")
        return link_principal(tenant)
    raise Unauthorized("This needs a key.", accepted=HOW)


def _tokens(headers: Headers) -> set[str]:
    tokens = {token.strip() for token in headers.getlist("x-api-key")}
    for value in headers.getlist("authorization"):
        scheme, _, token = value.strip().partition(" ")
        # Another scheme is somebody else's, a proxy's for example.
        tokens |= {token.strip()} if scheme.lower() == "bearer" else set()
    return tokens
