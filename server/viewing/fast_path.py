"""A short way for tiles that need no work and no wait: past the routes, straight out of the kernel's memory.

A viewer asks for hundreds of tiles at once. One that the slide's file holds as it is takes a tenth of the time that the
routes, and the thread in which they wait for the disk, would take for it. So what is at hand is answered here, with the
very bytes and headers of the route, and everything else goes on to the route: the first tile of a slide, what must be
decoded, what the kernel would have to read, what is another's, what is not there.
"""

import re
import time
from collections import OrderedDict
from typing import cast

from anyio import to_thread
from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.principals import Principal
from server.viewing.answers import answer, tile_etag
from server.viewing.deepzoom import Address
from server.viewing.service import Viewing
from server.web.counting.counters import PICTURES
from server.web.root_path import path_of
from workers.core.errors.base import SlideNotFound
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store

SEEN_S = 1.0
"""How long a slide counts as being there since it was looked for. One that this process deletes is gone at once."""

SEEN_MAX = 16
TILE = re.compile(r"/v1/slides/([0-9a-f]{32})/slide_files/([0-9]{1,9})/([0-9]{1,9})_([0-9]{1,9})\.jpeg")


class FastPath:
    """Answers for tiles that are at hand; inside the gate, before the routes.

    Args:
        app: What answers everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._seen: OrderedDict[str, tuple[float, SlideInfo]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope["type"] == "http" and scope["method"] == "GET" and (found := TILE.fullmatch(path_of(scope))):
            response = await self._at_hand(scope, found[1], (int(found[2]), int(found[3]), int(found[4])))
            if response is not None:
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _at_hand(self, scope: Scope, slide_id: str, address: Address) -> Response | None:
        state = scope["state"]
        info = await self._info(slide_id, state["store"])
        principal = cast("Principal | None", state.get("principal"))
        if info is None or principal is None or info.tenant != principal.tenant:
            return None
        tile = cast("Viewing", state["viewing"]).tile_at_hand(info, address)
        if tile is None:
            return None
        PICTURES.labels("at_hand").inc()
        held, etag = Headers(scope=scope).get("if-none-match"), tile_etag(info.sha256, address)
        keep_s = cast("Settings", state["settings"]).tile_cache_s
        return answer(held, etag, "image/jpeg", lambda: tile, keep_s)

    async def _info(self, slide_id: str, store: Store) -> SlideInfo | None:
        seen_at, info = self._seen.get(slide_id, (-SEEN_S, None))
        if info is not None and time.monotonic() - seen_at < SEEN_S:
            return info
        try:
            info = await to_thread.run_sync(store.read_slide, slide_id)
        except (SlideNotFound, OSError):  # the route says which
            self._seen.pop(slide_id, None)
            return None
        self._seen[slide_id] = time.monotonic(), info
        self._seen.move_to_end(slide_id)
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return info
