"""An error answer given while the client is still sending: say it, then listen for a moment before hanging up."""

import asyncio
from contextlib import suppress

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

LINGER_S = 2.0
LINGER_BYTES = 64 * 2**20


class LingeringJSONResponse(JSONResponse):
    """Answers at once and closes the connection, but not in the client's face.

    Closing a socket that holds unread bytes resets the connection, and many clients then never see the
    answer. So what still comes in is thrown away until the client stops, for a bounded time and amount.
    """

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole answer, then read on a little before the connection is closed."""
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    discarded = 0
    while discarded < LINGER_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        discarded += len(message.get("body", b""))
