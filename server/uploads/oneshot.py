"""A slide in one request: checked before the first byte, counted and hashed while it comes in.

    claim → name → bytes (cap, idle time, room on the disk) → what `server.intake.admission` does

Whatever fails, at any arrow, leaves nothing on the disk.
"""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import to_thread

from server.access.quotas import Room
from server.intake.admission import Admission, Received, check_received
from server.web.counting.counters import UPLOADED_BYTES
from workers.core.disk_room import ROOM_BYTES, check_room, check_size, disk_full_told
from workers.core.errors.base import RequestInvalid, UploadEmpty, UploadIncomplete
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.names import display_name, extension_of
from workers.core.store import Store

BLOCK_BYTES = 2**20


class Intake:
    """Takes uploads of one request into a store."""

    def __init__(self, store: Store, settings: Settings, admission: Admission) -> None:
        self._store = store
        self._settings = settings
        self._admission = admission

    def check_claim(self, declared_bytes: int | None, overhead_bytes: int = 0) -> None:
        """Refuse an upload by its Content-Length, before any of it is read.

        Args:
            declared_bytes: Content-Length, None if the client sends chunks.
            overhead_bytes: How much of that may be wrapping.

        Raises:
            UploadEmpty, UploadTooLarge, DiskFull.
        """
        if declared_bytes == 0:
            raise UploadEmpty("The upload holds no bytes.", value=0, accepted="a slide")
        if declared_bytes is not None:
            check_size(declared_bytes, self._settings.upload_max_bytes, overhead_bytes)
        check_room(self._store.root, declared_bytes or 0, self._settings.disk_reserve_bytes)

    async def receive(
        self,
        pieces: AsyncIterator[bytes],
        filename: str,
        digest: str | None,
        room: Room,
        labels: Mapping[str, str] | None = None,
    ) -> SlideInfo:
        """Take one slide: its bytes, as they come, then the probe; it is in the store when this returns.

        Args:
            pieces: The file's bytes.
            filename: The client's name for it; only its last component is looked at.
            digest: SHA-256 in hex that the bytes must have, if the client said one.
            room: What its tenant may have.
            labels: Of the client's own.

        Raises:
            RequestInvalid, UploadEmpty, UploadIncomplete, UploadTooLarge, SlideUnreadable, SlideTooLarge, DiskFull,
            QuotaExceeded.
        """
        name = display_name(filename)
        extension_of(name)
        counted = 0
        with self._store.incoming() as folder:
            part = folder / "upload.part"
            with _Sink(part, self._settings) as sink:
                async for block in _blocks(_not_idle(pieces, self._settings.upload_idle_s)):
                    await to_thread.run_sync(sink.write, block)
                    if sink.size >= counted + ROOM_BYTES:  # it may not have said how much will come
                        counted = sink.size
                        await room.cover(counted)
                received = Received(name, sink.size, sink.sha256, digest, room.tenant, labels or {})
                check_received(received)
                await room.fit(sink.size)
                await to_thread.run_sync(sink.sync)
                UPLOADED_BYTES.labels("request").inc(sink.size)
            return await self._admission.admit(folder.name, part, received, folder)


class _Sink:
    """The file being received: counts, hashes, and stops at the cap or when the disk runs out."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.size = 0
        self._folder = path.parent
        self._max_bytes = settings.upload_max_bytes
        self._reserve_bytes = settings.disk_reserve_bytes
        self._hash = hashlib.sha256()
        self._next_disk_check = ROOM_BYTES
        self._file = path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, block: bytes) -> None:
        self.size += len(block)
        check_size(self.size, self._max_bytes)
        if self.size > self._next_disk_check:
            check_room(self._folder, 0, self._reserve_bytes)
            self._next_disk_check += ROOM_BYTES
        self._hash.update(block)
        with disk_full_told(self.size):
            self._file.write(block)

    def sync(self) -> None:
        """Bring the bytes to the disk, not only into the page cache."""
        with disk_full_told(self.size):
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


async def _not_idle(pieces: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadIncomplete(f"No byte came for {idle_s:g} seconds.", accepted="a steady stream") from None
        yield piece


async def _blocks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather network-sized pieces into blocks worth a trip to a thread."""
    block = bytearray()
    async for piece in pieces:
        block += piece
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def parse_digest(header: str | None) -> str | None:
    """Return the SHA-256 in hex that an RFC 9530 digest field announces; other algorithms are passed over.

    Raises:
        RequestInvalid: The field has a `sha-256` that is none.
    """
    for entry in (header or "").split(","):
        algorithm, _, value = entry.strip().partition("=")
        if algorithm.lower() != "sha-256":
            continue
        try:
            digest = base64.b64decode(value.strip(":"), validate=True)
        except binascii.Error:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size or not (value.startswith(":") and value.endswith(":")):
            raise RequestInvalid("Repr-Digest: not a SHA-256.", value=entry, accepted="sha-256=:<base64 of 32 bytes>:")
        return digest.hex()
    return None
