"""Places for slow work, given out in turns: many requests of one tenant hold up no other."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairQueue:
    """Lets so much work go on at once. What waits goes on tenant after tenant, and in its order within each.

    Args:
        places: How much at once.
        share: How much of it one tenant may have at once, though nobody else waits; all of it if it is None.
    """

    def __init__(self, places: int, share: int | None = None) -> None:
        self._places = self._free = places
        self._share = places if share is None else share
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose turn is next comes first

    @property
    def busy(self) -> int:
        """Places at which somebody works."""
        return self._places - self._free

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, tenant: str, least_s: float = 0.0) -> AsyncIterator[None]:
        """Have a place while the context lasts; waits for one.

        Args:
            tenant: Whose work it is.
            least_s: Seconds for which the place counts in the tenant's share at least. When the work is over, others
                may have the place at once.
        """
        await self._take(tenant)
        loop = asyncio.get_running_loop()
        until = loop.time() + least_s
        try:
            yield
        finally:
            self._free += 1
            if (left := until - loop.time()) > 0:
                loop.call_later(left, self._let_go, tenant)
                self._give_out()
            else:
                self._let_go(tenant)

    async def _take(self, tenant: str) -> None:
        if self._may_have(tenant):
            self._hold(tenant)
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it had been given to us already
                self._free += 1
                self._let_go(tenant)
            raise

    def _may_have(self, tenant: str) -> bool:
        return self._free > 0 and self._held[tenant] < self._share

    def _hold(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _let_go(self, tenant: str) -> None:
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._give_out()

    def _give_out(self) -> None:
        while (waiting := next(filter(self._may_have, self._waiting), None)) is not None:
            places = self._waiting.pop(waiting)
            place = places.popleft()
            if places:
                self._waiting[waiting] = places  # at the end: the others come first
            if not place.cancelled():
                self._hold(waiting)
                place.set_result(None)
                return
