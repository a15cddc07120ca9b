"""How large an upload may be, and how much room it must leave on the disk."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.core.errors.base import DiskFull, StorageFault, Unavailable, UploadTooLarge
from workers.core.storage.base import StorageSilent
from workers.core.storage.files import NO_SPACE

FAULTS = (errno.EROFS, errno.EIO)
ROOM_BYTES = 64 * 2**20
"""After so many bytes of an upload, the room for it is looked at again."""


def storage_error(error: BaseException) -> Unavailable | None:
    """Return the error of ours for a disk that is full, read-only or broken; None for any other fault."""
    if isinstance(error, StorageSilent):
        return StorageFault(f"The storage does not work: {error.strerror}.", accepted="the same again once it does")
    number = error.errno if isinstance(error, OSError) else None
    if number in NO_SPACE:
        return DiskFull("The disk that holds the data folder is full.")
    if number in FAULTS:
        reason = os.strerror(number or 0)
        return StorageFault(
            f"The disk that holds the data folder does not work: {reason}.", accepted="the same again once it is mended"
        )
    return None


def check_room(folder: Path, wanted_bytes: int, reserve_bytes: int) -> None:
    """Raise DiskFull unless the disk of `folder` keeps `reserve_bytes` free after `wanted_bytes` more."""
    if wanted_bytes > room_bytes(folder, reserve_bytes):
        raise _disk_full(wanted_bytes)


def room_bytes(folder: Path, reserve_bytes: int) -> int:
    """Return how much may still be written to the disk of `folder`, of which `reserve_bytes` are to stay free."""
    return shutil.disk_usage(folder).free - reserve_bytes


def check_size(size: int, max_bytes: int, overhead_bytes: int = 0) -> None:
    """Raise UploadTooLarge if an upload of `size` bytes, of which `overhead_bytes` may be wrapping, is over the cap."""
    if size - overhead_bytes > max_bytes:
        raise UploadTooLarge("The upload is too large.", value=f"{size} bytes", accepted=f"at most {max_bytes} bytes")


@contextmanager
def disk_full_told(size: int) -> Iterator[None]:
    """Turn the system's word for a full disk into DiskFull; `size` is what the message names, in bytes."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _disk_full(size) from error
        raise


def _disk_full(wanted_bytes: int) -> DiskFull:
    return DiskFull("The server's disk has too little room for this upload.", value=f"{wanted_bytes} bytes")


@contextmanager
def storage_told() -> Iterator[None]:
    """Turn what a disk or a storage says that is full, read-only or silent into an error of ours."""
    try:
        yield
    except OSError as error:
        if (known := storage_error(error)) is not None:
            raise known from error
        raise
