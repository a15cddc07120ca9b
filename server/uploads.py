"""Rules of an upload: checked before the first byte, counted and hashed while it comes in, probed before it counts.

    claim → name → bytes (cap, idle time, room on the disk) → digest → probe → commit

Whatever fails, at any arrow, leaves nothing on the disk. No FastAPI here.
"""

import asyncio
import base64
import binascii
import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import CapacityLimiter, to_thread

from workers.core.errors import DiskFull, RequestInvalid, UploadEmpty, UploadIncomplete, UploadTooLarge
from workers.core.probe import probe
from workers.core.schemas import SlideInfo
from workers.core.settings import Settings
from workers.core.store import Store

EXTENSIONS = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".dcm")
SETS_OF_FILES = (".mrxs", ".vms", ".vmu")
ACCEPTED = f"one file named {', '.join(EXTENSIONS)}"
BLOCK_BYTES = 2**20
DISK_CHECK_BYTES = 64 * 2**20
PROBES_AT_ONCE = 2
FILENAME_MAX = 200
MAGIC = {b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif"}
DICOM_MAGIC = slice(128, 132)


class Intake:
    """Takes uploads into a store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._probes = CapacityLimiter(PROBES_AT_ONCE)

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
        if declared_bytes is not None and declared_bytes - overhead_bytes > self._settings.upload_max_bytes:
            raise _too_large(declared_bytes, self._settings.upload_max_bytes)
        check_room(self._store.root, declared_bytes or 0, self._settings.disk_reserve_bytes)

    async def receive(self, pieces: AsyncIterator[bytes], filename: str, digest: str | None = None) -> SlideInfo:
        """Take one slide: its bytes, as they come, then the probe; it is in the store when this returns.

        Args:
            pieces: The file's bytes.
            filename: The client's name for it; only its last component is looked at.
            digest: SHA-256 in hex that the bytes must have, if the client said one.

        Raises:
            RequestInvalid, UploadEmpty, UploadIncomplete, UploadTooLarge, SlideUnreadable, SlideTooLarge, DiskFull.
        """
        name = display_name(filename)
        extension = extension_of(name)
        with self._store.incoming() as folder, _Sink(folder / "upload.part", self._settings) as sink:
            async for block in _blocks(_not_idle(pieces, self._settings.upload_idle_s)):
                await to_thread.run_sync(sink.write, block)
            _check_received(sink, digest)
            file = folder / f"original{extension or sniff_extension(sink.head)}"
            await to_thread.run_sync(sink.finish, file)
            report = await to_thread.run_sync(probe, file, self._settings, limiter=self._probes)
            info = SlideInfo(
                id=self._store.new_id(),
                filename=name,
                size_bytes=sink.size,
                sha256=sink.sha256,
                vendor=report.vendor,
                backend=report.backend,
                geometry=report.geometry,
                created_at=datetime.now(UTC),
            )
            await to_thread.run_sync(self._store.commit_slide, info, folder)
        return info


class _Sink:
    """The file being received: counts, hashes, and stops at the cap or when the disk runs out."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.size = 0
        self.head = b""
        self._path = path
        self._max_bytes = settings.upload_max_bytes
        self._reserve_bytes = settings.disk_reserve_bytes
        self._hash = hashlib.sha256()
        self._next_disk_check = DISK_CHECK_BYTES
        self._file = path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, block: bytes) -> None:
        self.head = self.head or block[: DICOM_MAGIC.stop]
        self.size += len(block)
        if self.size > self._max_bytes:
            raise _too_large(self.size, self._max_bytes)
        if self.size > self._next_disk_check:
            check_room(self._path.parent, 0, self._reserve_bytes)
            self._next_disk_check += DISK_CHECK_BYTES
        self._hash.update(block)
        try:
            self._file.write(block)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(self.size) from error
            raise

    def finish(self, path: Path) -> None:
        """Give the file its name, on the disk, not only in the page cache."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

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


def _check_received(sink: _Sink, digest: str | None) -> None:
    if sink.size == 0:
        raise UploadEmpty("The upload holds no bytes.", value=0, accepted="a slide")
    if digest is not None and digest != sink.sha256:
        raise RequestInvalid(
            "The bytes that arrived do not have the SHA-256 that was announced.", value=sink.sha256, accepted=digest
        )


def display_name(filename: str) -> str:
    """Return the last component of a client's file name, fit to be shown: no path, no control characters."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    if shown in ("", ".", ".."):
        return "slide"
    stem, dot, extension = shown.rpartition(".")
    return shown if len(shown) <= FILENAME_MAX else f"{stem[: FILENAME_MAX - 20]}{dot}{extension[:19]}"


def extension_of(name: str) -> str | None:
    """Return the extension a slide is stored under, None if the name has none.

    Raises:
        RequestInvalid: It is no slide format, or one that consists of several files.
    """
    extension = Path(name).suffix.lower()
    if not extension:
        return None
    if extension in SETS_OF_FILES:
        raise RequestInvalid(
            f"{extension} slides are sets of files, which are not accepted yet.", value=name, accepted=ACCEPTED
        )
    if extension not in EXTENSIONS:
        raise RequestInvalid(f"filename: {extension} is no slide format.", value=name, accepted=ACCEPTED)
    return extension


def sniff_extension(head: bytes) -> str:
    """Return the extension for a file that came without one, from its first bytes.

    Raises:
        RequestInvalid: They are those of no slide format.
    """
    if head[DICOM_MAGIC] == b"DICM":
        return ".dcm"
    if head[:4] not in MAGIC:
        raise RequestInvalid("filename: it has no extension and the bytes are no slide's.", accepted=ACCEPTED)
    return MAGIC[head[:4]]


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


def check_room(folder: Path, wanted_bytes: int, reserve_bytes: int) -> None:
    """Raise DiskFull unless the disk of `folder` keeps `reserve_bytes` free after `wanted_bytes` more."""
    if shutil.disk_usage(folder).free - wanted_bytes < reserve_bytes:
        raise _disk_full(wanted_bytes)


def _disk_full(wanted_bytes: int) -> DiskFull:
    return DiskFull("The server's disk has too little room for this upload.", value=f"{wanted_bytes} bytes")


def _too_large(size: int, max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge("The upload is too large.", value=f"{size} bytes", accepted=f"at most {max_bytes} bytes")
