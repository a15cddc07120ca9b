"""Writes a line of the audit log for each request that changes something, fetches or is refused. Pure ASGI."""

import time
from typing import cast

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.access.audit import Event
from server.access.gate import Access
from server.access.notes import SAFE, Note, note_of, remote_of
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
        event = event_of(scope, note, status)
        if event is None:
            return
        access = cast("Access", scope["state"]["access"])
        is_strangers = event.action == "refusal" and note.principal is None
        for line in access.denied_requests.lines(event, time.monotonic()) if is_strangers else [event]:
            with CancelScope(shield=True):
                await to_thread.run_sync(access.audit.record, line, limiter=self._thread)


def event_of(scope: Scope, note: Note, status: int | None) -> Event | None:
    """Return what the log says of a request; None if it says nothing."""
    is_fetched = note.is_download and scope["method"] == "GET" and status in FETCHED
    if note.is_silent or not (note.refused or is_fetched or scope["method"] not in SAFE):
        return None
    principal = note.principal
    return Event(
        action="refusal" if note.refused else "download" if is_fetched else "change",
        by=principal.means if principal else None,
        tenant=principal.tenant if principal else None,
        key_id=principal.key_id if principal else None,
        remote=remote_of(scope),
        method=scope["method"],
        path=path_of(scope),
        status=status,
        code=note.refused,
    )
