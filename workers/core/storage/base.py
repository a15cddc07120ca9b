"""Bytes by key, wherever they lie: the one protocol of a folder, a bucket, and the memory of tests.

An object is whole or absent: nobody sees a part of one, and a `put` replaces it in one step. There is no renaming, no
appending and no conditional `put`: not every service has them. What belongs together is made visible together by
`workers.core.storage.commits`.

Errors are those of a disk, so that whoever can bear a disk can bear a bucket: `FileNotFoundError` where there is no
such object, another `OSError` where it cannot be had (`StorageSilent` if that is a service's doing).
"""

import errno
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

KEY_BYTES = 900
"""Longest key; services take 1024 bytes, of which a prefix of the bucket is a part."""
PART_BYTES = 200
"""Longest part between two slashes, as file systems have it."""
PIECE_BYTES = 8 * 2**20
PAGE = 1000
_FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f]")


class KeyInvalid(ValueError):
    """A text is no key, or names what is a folder of other keys."""


class RangeInvalid(ValueError):
    """An object has no such bytes."""


class StorageSilent(OSError):
    """A service does not answer, refuses, or answers with what makes no sense.

    Args:
        reason: For people; never an address or an answer, which may hold a secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)


class Key(str):
    """The name of an object: parts with slashes between, such as `jobs/0f…/commits/1.json`.

    No part is empty, `.` or `..`, none holds a backslash or a control character, and the first does not begin with a
    dot: those names are the storage's own. So no key leads out of a folder.

    Raises:
        KeyInvalid: The text is no key.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check a text, and make a key of it."""
        problem = _problem(text)
        if problem is not None:
            raise KeyInvalid(f"{text[:100]!r} is no key of a storage: {problem}.")
        return super().__new__(cls, text)

    def __truediv__(self, more: str) -> "Key":
        """Return the key of something below this one."""
        return Key(f"{self}/{more}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.rpartition("/")[2]


def _problem(text: str) -> str | None:
    """Return what is wrong with a text as a key; None if it is one."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "it is no Unicode"
    parts = text.split("/")
    if len(encoded) > KEY_BYTES or any(len(part.encode()) > PART_BYTES for part in parts):
        return f"it has more than {KEY_BYTES} bytes, or a part of it more than {PART_BYTES}"
    if any(part in ("", ".", "..") for part in parts) or parts[0].startswith("."):
        return "a part of it is empty, or of dots, or its first part begins with one"
    if _FORBIDDEN.search(text) or any(unicodedata.category(char) == "Cc" for char in text):
        return "it holds a backslash or a control character"
    return None


class Stored(NamedTuple):
    """What is known of an object without reading it."""

    key: Key
    size_bytes: int
    etag: str
    """Another one once the object was put again with other bytes; says nothing else."""


class Storage(ABC):
    """Objects by key. Every method blocks, and may be called by several threads and processes at once.

    Raises:
        OSError: See the docstring of the module; every method may.
    """

    @abstractmethod
    def put(self, key: Key, data: bytes | Path) -> Stored:
        """Store bytes, or those of a file, whole or not at all; what was there is replaced. Durable on return.

        Raises:
            KeyInvalid: The key is a folder of others, or below an object; only where the storage has folders.
        """

    @abstractmethod
    def get(self, key: Key) -> bytes:
        """Return all bytes of a small object."""

    @abstractmethod
    def range(self, key: Key, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, half-open; fewer where the object ends before `stop`.

        Raises:
            RangeInvalid: There is none of them.
        """

    @abstractmethod
    def head(self, key: Key) -> Stored:
        """Return what is known of an object without reading it."""

    def has(self, key: Key) -> bool:
        """Return whether there is such an object."""
        try:
            self.head(key)
        except FileNotFoundError:
            return False
        return True

    @abstractmethod
    def list(self, prefix: Key | None = None, after: Key | None = None, limit: int = PAGE) -> list[Stored]:
        """Return a page of the objects below a key (`prefix/…`), or of all, in the order of their keys' bytes.

        Args:
            prefix: A key above them, which need not be there.
            after: Only objects whose keys come after this one.
            limit: At most so many. None at all: there are no more.
        """

    @abstractmethod
    def delete(self, key: Key) -> None:
        """Remove an object; one that is not there is gone already."""

    @abstractmethod
    def delete_prefix(self, prefix: Key) -> None:
        """Remove all objects below a key, in the order of their keys. May be cut short, and called again."""

    def signed_url(self, key: Key, expires_s: float) -> str | None:  # noqa: ARG002  not every storage has any
        """Return an address that anybody may fetch the object from for a while; None where there is no such thing."""
        return None

    def walk(self, prefix: Key | None = None) -> Iterator[Stored]:
        """Yield all objects below a key, or all, page by page; what is put meanwhile may be among them."""
        after = None
        while page := self.list(prefix, after):
            yield from page
            after = page[-1].key

    def pieces(self, key: Key, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `stop` in pieces of bounded size.

        Raises:
            StorageSilent: The object ends sooner: somebody replaced it.
        """
        while start < stop:
            piece = self.range(key, start, min(start + PIECE_BYTES, stop))
            yield piece
            start += len(piece)


def checked_range(key: Key, start: int, stop: int, size_bytes: int) -> tuple[int, int]:
    """Return a range, cut to an object's end.

    Raises:
        RangeInvalid: The object has none of these bytes.
    """
    if not 0 <= start < min(stop, size_bytes):
        raise RangeInvalid(f"{key}: no bytes {start} to {stop} in an object of {size_bytes} bytes.")
    return start, min(stop, size_bytes)
