"""Files that are whole or absent: written under another name, made durable, renamed."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from workers.core.errors.base import DiskFull

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def fsync_dir(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Draft:
    """A file under another name beside its place, until it is whole and its turn has come; a context.

    The name ends like that of the place, for writers that look at the extension. Unless it is kept nothing is left.

    Args:
        path: Its place.

    Attributes:
        temporary: What to write to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")

    def keep(self) -> None:
        """Put it in its place, durably and at once."""
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())
        self.temporary.replace(self._path)
        fsync_dir(self._path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on success it becomes `path`, durably and at once.

    The temporary name ends like `path`, for writers that look at the extension. After an error nothing is left.

    Raises:
        DiskFull: The disk had no room.
    """
    with Draft(path) as draft, full_disk_told():
        yield draft.temporary
        draft.keep()


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Tell a disk without room from the other faults of one.

    Raises:
        DiskFull: It has none.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull("The disk that holds the data folder is full.") from error
        raise


def write_json(path: Path, model: BaseModel) -> None:
    """Write a pydantic model as JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")
