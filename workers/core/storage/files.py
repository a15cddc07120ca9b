"""Files that are whole or absent: written under another name, made durable, renamed."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from workers.core.errors.base import DiskFull

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


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
        if error.errno in NO_SPACE:
            raise DiskFull("The disk that holds the data folder is full.") from error
        raise


def write_json(path: Path, model: BaseModel) -> None:
    """Write a pydantic model as JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")


def write_once(path: Path, text: str) -> None:
    """Write a small file, durably, unless another has its name: who was quicker holds."""
    with Draft(path) as draft:
        with draft.temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _name_once(draft.temporary, path)
        fsync_dir(path.parent)


def _name_once(temporary: Path, path: Path) -> None:
    """Give a file its name, unless another has it: who was quicker holds."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        temporary.replace(path)  # a file system without hard links


@contextmanager
def made_folder(folder: Path) -> Iterator[Path]:
    """Make a folder; remove what is not elsewhere when the context ends."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_folder(folder: Path, prefix: str = ".making-") -> Iterator[Path]:
    """Give a temporary folder beside a place to fill; on success it is there, durably and at once.

    Where another was quicker, that one stays. A process that dies leaves a name with the prefix.
    """
    with made_folder(folder.with_name(f"{prefix}{uuid.uuid4().hex}")) as making:
        yield making
        try:
            making.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    fsync_dir(folder.parent)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder that do not begin with a dot; none if it is not there."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, in the order of their paths within it as text."""
    found = [Path(where, name) for where, _, names in os.walk(folder) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def bytes_below(folder: Path, besides: str = "") -> int:
    """Return the bytes of all files below a folder but those of one name; of those that go meanwhile, none."""
    size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(Path(where, name)).st_size if name != besides else 0
    return size
