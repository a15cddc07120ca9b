"""Bytes at the end of a resumable upload: locked, counted, checked against a checksum, synced."""

import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.core.disk_room import ROOM_BYTES, check_room, disk_full_told
from workers.core.errors.base import ChecksumMismatch, UploadLocked, UploadTooLarge


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one chunk have: the name of an algorithm of `hashlib`, and the digest."""

    algorithm: str
    digest: bytes


class UploadWriter:
    """Writes one chunk into `data` of an upload, which it locks meanwhile. Every method blocks.

    The lock is the kernel's: it goes with the process that held it. What lies beyond `offset` is cut off at the
    start: it was never acknowledged.

    Args:
        path: `data` of the upload.
        offset: Bytes of it that are acknowledged; the chunk begins there.
        length: Bytes that the upload may have in all.
        checksum: What the chunk must have, if the client said it.
        reserve_bytes: What the disk must keep free.

    Raises:
        UploadLocked: Another process is writing to it.
    """

    def __init__(
        self, path: Path, offset: int, length: int, checksum: Checksum | None = None, reserve_bytes: int = 0
    ) -> None:
        self.offset = offset
        self.synced = offset
        self._length = length
        self._folder = path.parent
        self._reserve_bytes = reserve_bytes
        self._room_until = offset
        self._checksum = checksum
        self._hash = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        self._file = path.open("r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(offset)
            self._file.seek(offset)
        except BlockingIOError as error:
            self._file.close()
            raise UploadLocked("Another process is adding to this upload.") from error

    def write(self, block: bytes) -> None:
        """Add bytes.

        Raises:
            UploadTooLarge: They go past the length of the upload; none of them is taken.
            DiskFull: The disk has no room for what comes next, or for these; what was taken before stays.
        """
        if self.offset + len(block) > self._length:
            raise UploadTooLarge(
                "The chunk goes past the end of the upload.",
                value=f"{self.offset + len(block)} bytes",
                accepted=f"{self._length} bytes in all",
            )
        if self.offset + len(block) > self._room_until:
            wanted = min(max(ROOM_BYTES, len(block)), self._length - self.offset)
            check_room(self._folder, wanted, self._reserve_bytes)
            self._room_until = self.offset + wanted
        if self._hash is not None:
            self._hash.update(block)
        left = memoryview(block)
        while left:
            with disk_full_told(self._length):
                written = self._file.write(left)
            self.offset += written
            left = left[written:]

    def verify(self) -> None:
        """Compare what was added with the checksum.

        Raises:
            ChecksumMismatch: It is another.
        """
        if self._checksum is None or self._hash is None or self._hash.digest() == self._checksum.digest:
            return
        raise ChecksumMismatch(
            "The bytes of this chunk do not have the checksum that came with them; nothing of it is kept.",
            value=f"{self._checksum.algorithm} {self._hash.hexdigest()}",
            accepted=self._checksum.digest.hex(),
        )

    def sync(self) -> int:
        """Bring all that was written to the disk and return the offset behind it; more may be written meanwhile."""
        written = self.offset
        with disk_full_told(self._length):
            os.fsync(self._file.fileno())
        self.synced = written
        return written

    def drop(self) -> None:
        """Take back what was not synced."""
        self._file.truncate(self.synced)
        self.offset = self.synced

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
