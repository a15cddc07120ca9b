"""Writes a line of the audit log for each request that changes something, fetches, looks or is refused. Pure ASGI."""

import time
from typing import cast

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.audit import Action, Event
from server.access.gate import Access
from server.access.notes import SAFE, Note, note_of, remote_of
from server.access.principals import Principal
from server.access.views import viewed_by
from server.web.request_ids import request_id
from server.web.root_path import path_of

FETCHED = (200, 206)


class AuditMiddleware:
    """Writes the line before the answer leaves: nobody learns that something is done before it is on record.

    Args:
        app: What it stands before. Its state holds `access`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._thread = CapacityLimiter(1)  # lines are written one after the other anyway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = note_of(scope)
        is_told = False

        async def send_told(message: Message) -> None:
            nonlocal is_told
            if message["type"] == "http.response.start":
                is_told = True
                await self._tell(scope, note, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_told)
        finally:
            if not is_told:  # no answer: the client went away, or the server failed
                await self._tell(scope, note, None)

    async def _tell(self, scope: Scope, note: Note, status: int | None) -> None:
        access = cast("Access", scope["state"]["access"])
        event = event_of(scope, note, status) or _look(access, scope, note, status)
        if event is None:
            return
        is_refused = event.action == "refusal"
        for line in access.denied_requests.lines(event, time.monotonic()) if is_refused else [event]:
            with CancelScope(shield=True):
                await to_thread.run_sync(access.audit.record, line, limiter=self._thread)


def _look(access: Access, scope: Scope, note: Note, status: int | None) -> Event | None:
    """Return what the log says of a tile or thumbnail: the first of an hour stands for all."""
    name = viewed_by(note.principal, scope["method"], path_of(scope), status)
    if name is None or note.principal is None or not access.views.is_first(name, time.monotonic()):
        return None
    return _event(scope, note, note.principal, "viewed", name[2], status)


def event_of(scope: Scope, note: Note, status: int | None) -> Event | None:
    """Return what the log says of a request; None if it says nothing."""
    is_fetched = note.is_download and scope["method"] == "GET" and status in FETCHED
    if note.is_silent or not (note.refused or is_fetched or scope["method"] not in SAFE):
        return None
    action: Action = "refusal" if note.refused else "download" if is_fetched else "change"
    return _event(scope, note, note.principal, action, path_of(scope), status)


def _event(
    scope: Scope, note: Note, principal: Principal | None, action: Action, path: str, status: int | None
) -> Event:
    return Event(
        action=action,
        by=principal.means if principal else None,
        tenant=principal.tenant if principal else None,
        key_id=principal.key_id if principal else None,
        remote=remote_of(scope),
        method=scope["method"],
        path=path,
        status=status,
        code=note.refused,
        request_id=request_id(),
    )
