"""Parts of what several share: whoever wants many of them waits until they are free, and nobody overtakes him."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Parts:
    """So many parts, given out in the order in which they are asked for. For one event loop.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._door = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def take(self, count: int) -> AsyncIterator[None]:
        """Have so many parts while the context lasts; waits for them. Not to be taken within another."""
        async with self._door:
            while self._free < count:
                self._freed.clear()
                await self._freed.wait()
            self._free -= count
        try:
            yield
        finally:
            self._free += count
            self._freed.set()
