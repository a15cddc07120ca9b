"""Files that only the server's own user may read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.core.storage.files import atomic_write

MODE = 0o600


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock against every other process that asks for it. `path` is a file of its own, which stays."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, durably and at once; at no moment may another user read it.

    Raises:
        DiskFull: The disk had no room; `path` is as it was.
    """
    with atomic_write(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
