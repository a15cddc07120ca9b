"""Who is adding to which upload in this process: one request at a time, and a silent one gives way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workers.core.errors.base import UploadIncomplete, UploadLocked

BLOCK_BYTES = 2**20
GRACE_S = 5.0
"""How long a request waits for another to let go: a broken connection is noticed, and its bytes synced, within it."""


class Lock:
    """The right of one request to change one upload, kept up by the bytes that come in."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._renewed_at = self._loop.time()
        self._taken = False
        self._waiting: asyncio.Timeout | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return self._loop.time() - self._renewed_at

    def renew(self) -> None:
        """Give a sign of life."""
        self._renewed_at = self._loop.time()

    def end(self) -> None:
        """Take the lock away: a wait for bytes ends now, and what arrived is kept before it is released."""
        self._taken = True
        if self._waiting is not None:
            self._waiting.reschedule(self._loop.time())

    async def blocks(self, pieces: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
        """Gather network-sized pieces into blocks worth a trip to a thread.

        What was gathered before an error is given before the error is raised.

        Raises:
            UploadIncomplete: The client went away, or no byte came for `idle_s` seconds.
            UploadLocked: Another request took the lock.
        """
        block = bytearray()
        try:
            async for piece in self._alive(pieces, idle_s):
                block += piece
                if len(block) >= BLOCK_BYTES:
                    yield bytes(block)
                    block.clear()
                    self.renew()
        except (UploadIncomplete, UploadLocked):
            if block:
                yield bytes(block)
            raise
        if block:
            yield bytes(block)

    async def _alive(self, pieces: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
        while True:
            if self._taken:
                raise _taken_over()
            try:
                async with asyncio.timeout(idle_s) as self._waiting:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if self._taken:
                    raise _taken_over() from None
                raise UploadIncomplete(f"No byte came for {idle_s:g} seconds.", accepted="a steady stream") from None
            finally:
                self._waiting = None
            self.renew()
            yield piece


class Locks:
    """The locks of one process.

    Args:
        lease_s: Silence after which a lock may be taken over.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._held: dict[str, Lock] = {}

    def is_held(self, upload_id: str) -> bool:
        """Whether a request is changing the upload."""
        return upload_id in self._held

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[Lock]:
        """Have an upload to oneself. Waits a moment for whoever has it, and takes it over from a silent one.

        Raises:
            UploadLocked: Another request is busy with it.
        """
        if not await self.settle(upload_id):
            raise UploadLocked(
                "Another request is adding to this upload.",
                value=upload_id,
                accepted=f"one request at a time; a silent one gives way after {self._lease_s:g} seconds",
            )
        lock = self._held[upload_id] = Lock()
        try:
            yield lock
        finally:
            del self._held[upload_id]
            lock.released.set()

    async def settle(self, upload_id: str) -> bool:
        """Wait a moment until nobody changes the upload, ending the lock of a silent one; False if it goes on."""
        deadline = asyncio.get_running_loop().time() + GRACE_S
        while (held := self._held.get(upload_id)) is not None:
            if held.silent_s >= self._lease_s:
                held.end()
            try:
                async with asyncio.timeout_at(deadline):
                    await held.released.wait()
            except TimeoutError:
                return False
        return True


def _taken_over() -> UploadLocked:
    return UploadLocked("Another request went on with this upload, because no byte came here.")
