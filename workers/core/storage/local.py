"""A storage in a folder: an object is a file, made under another name and renamed, with all names durable."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from workers.core.storage.base import PAGE, Key, KeyInvalid, Storage, Stored, checked_range
from workers.core.storage.files import fsync_dir

MAKING = ".making"
"""Where files are made, and folders removed; no key begins with a dot."""
_TRIES = 100
_NEWLY = 0o777


class LocalStorage(Storage):
    """Objects as files below a folder.

    Args:
        root: The folder; made if absent. Nobody else writes into it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._making = root / MAKING
        self._making.mkdir(parents=True, exist_ok=True)

    def put(self, key: Key, data: bytes | Path) -> Stored:
        """See `Storage.put`."""
        temporary = self._making / uuid.uuid4().hex
        try:
            with temporary.open("wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 2**20)
                file.flush()
                os.fsync(file.fileno())
                stored = _stored(key, os.fstat(file.fileno()))
            self._name(temporary, key)
        finally:
            temporary.unlink(missing_ok=True)
        return stored

    def get(self, key: Key) -> bytes:
        """See `Storage.get`."""
        with _is_there(key):
            return self._path(key).read_bytes()

    def range(self, key: Key, start: int, stop: int) -> bytes:
        """See `Storage.range`."""
        with _is_there(key), self._path(key).open("rb") as file:
            start, stop = checked_range(key, start, stop, os.fstat(file.fileno()).st_size)
            file.seek(start)
            return file.read(stop - start)

    def head(self, key: Key) -> Stored:
        """See `Storage.head`."""
        with _is_there(key), self._path(key).open("rb") as file:  # open: a folder is no object
            return _stored(key, os.fstat(file.fileno()))

    def list(self, prefix: Key | None = None, after: Key | None = None, limit: int = PAGE) -> list[Stored]:
        """See `Storage.list`."""
        page = []
        for key in islice(self._keys("" if prefix is None else f"{prefix}/", after or ""), limit):
            with suppress(FileNotFoundError):  # removed meanwhile
                page.append(self.head(key))
        return page

    def delete(self, key: Key) -> None:
        """See `Storage.delete`."""
        path = self._path(key)
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
            fsync_dir(path.parent)
        self._drop_empty(path.parent)

    def delete_prefix(self, prefix: Key) -> None:
        """See `Storage.delete_prefix`: out of sight in one step."""
        folder, doomed = self._path(prefix), self._making / uuid.uuid4().hex
        if folder.is_dir():
            with suppress(FileNotFoundError):  # another was quicker
                folder.rename(doomed)
                fsync_dir(folder.parent)
            shutil.rmtree(doomed, ignore_errors=True)
        self._drop_empty(folder.parent)

    def sweep(self) -> None:
        """Remove what writers left behind that died. Call before there are any others."""
        for left in self._making.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def _path(self, key: Key) -> Path:
        return self._root / key

    def _name(self, temporary: Path, key: Key) -> None:
        """Give a file its name, whose folders may be removed at the same time by whoever finds them empty."""
        path = self._path(key)
        for _ in range(_TRIES):
            try:
                self._make_folder(path.parent)
                temporary.replace(path)
            except FileNotFoundError:
                if not temporary.exists():
                    raise
            except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
                raise KeyInvalid(f"{key} is a folder of other objects, or below one.") from error
            else:
                with suppress(FileNotFoundError):  # removed again already
                    fsync_dir(path.parent)
                return
        raise KeyInvalid(f"{key}: its folder is removed again and again.")

    def _make_folder(self, folder: Path) -> None:
        """Make a folder with those above it, each of them durable."""
        if folder.is_dir():
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=_NEWLY)
        if folder.is_file():
            raise NotADirectoryError(folder)
        fsync_dir(folder.parent)

    def _drop_empty(self, folder: Path) -> None:
        with suppress(OSError):  # not empty, or gone
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def _keys(self, folder: str, after: str) -> Iterator[Key]:
        """Yield the keys below a folder (empty, or with a slash at its end) that come after another, in order."""
        try:
            with os.scandir(self._root / folder) as entries:
                names = sorted(
                    f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}" for entry in entries
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if name == f"{MAKING}/":
                continue
            if not name.endswith("/"):
                if name > after:
                    yield Key(name)
            elif name > after or after.startswith(name):  # else all below it come before
                yield from self._keys(name, after)


@contextmanager
def _is_there(key: Key) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileNotFoundError(2, "no such object", key) from None


def _stored(key: Key, status: os.stat_result) -> Stored:
    return Stored(key, status.st_size, f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}")
