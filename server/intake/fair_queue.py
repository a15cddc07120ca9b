"""Places for slow work, given out in turns: many requests of one tenant hold up no other."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairQueue:
    """Lets so much work go on at once. What waits goes on tenant after tenant, and in its order within each.

    Args:
        places: How much at once.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose turn is next comes first

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Have a place while the context lasts; waits for one."""
        await self._take(tenant)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, tenant: str) -> None:
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it had been given to us already
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            tenant, places = next(iter(self._waiting.items()))
            place = places.popleft()
            del self._waiting[tenant]
            if places:
                self._waiting[tenant] = places  # at the end: the others come first
            if not place.cancelled():
                place.set_result(None)
                return
        self._free += 1
