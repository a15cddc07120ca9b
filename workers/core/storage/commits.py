"""Many objects that become visible together, by one `put` of a manifest; the late writer of two is seen by nobody.

Below the prefix of a set:
    files/<token>/<name>        what a writer stages: nobody else writes there, and nobody reads it yet
    commits/<token>.json        its manifest; readers go by that of the greatest token

A token is a whole number that the queue gives with the right to write, each time a greater one. So a writer that lost
its right, and does not know it, neither touches what another staged nor replaces its manifest: no conditional `put` is
needed, whatever the order in which their requests arrive. It is told when it begins and when it commits; the queue is
asked besides, and decides what becomes of the work.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from workers.core.checks import Check, unchecked
from workers.core.digests import sha256_of
from workers.core.frozen import Frozen
from workers.core.storage.base import Key, Storage, StorageSilent

_DIGITS = 20
"""So that tokens below 10^20 are in order as text; a microsecond of the clock has 16 digits."""
_TRIES = 5


class Fenced(Exception):
    """Another writer with a greater token has committed."""


class Entry(Frozen):
    """One object of a set."""

    size_bytes: int = Field(ge=0)
    sha256: str


class Manifest(Frozen):
    """`commits/<token>.json`: what a set holds."""

    token: int = Field(ge=0)
    files: dict[str, Entry]


class Commits:
    """One set of objects.

    Args:
        storage: Where.
        prefix: What all its keys begin with.
    """

    def __init__(self, storage: Storage, prefix: Key) -> None:
        self.storage = storage
        self._prefix = prefix

    def current(self) -> Manifest | None:
        """Return what readers see; None if nobody has committed yet.

        Raises:
            ValueError: The manifest cannot be read.
        """
        for _ in range(_TRIES):
            token = self._newest()
            if token is None:
                return None
            with suppress(FileNotFoundError):  # a newer one came, or all is being removed
                return Manifest.model_validate_json(self.storage.get(self._manifest(token)))
        raise StorageSilent("a manifest is listed, and is not there")

    def key(self, token: int, name: str) -> Key:
        """Return where an object of a set lies."""
        return self._prefix / f"files/{token:0{_DIGITS}}/{name}"

    def sizes(self, token: int) -> dict[str, int]:
        """Return the bytes of what lies below a token by name, with a request for a thousand objects."""
        folder = self._prefix / f"files/{token:0{_DIGITS}}"
        return {each.key.removeprefix(f"{folder}/"): each.size_bytes for each in self.storage.walk(folder)}

    def stage(self, token: int, name: str, data: bytes | Path, entry: Entry) -> None:
        """Put an object where no reader looks.

        Args:
            token: Of this writer.
            name: What it is called in the set.
            data: Its bytes, or a file of them.
            entry: What is known of them.

        Raises:
            OSError: It was not put, or what was put has another size.
        """
        stored = self.storage.put(self.key(token, name), data)
        if stored.size_bytes != entry.size_bytes:
            raise OSError(5, f"{name} has another size than was written: it changes", str(stored.key))

    def commit(self, token: int, files: Mapping[str, Entry]) -> None:
        """Show what was staged, all of it at once, and remove what older writers left.

        Raises:
            Fenced: A newer writer has committed.
        """
        manifest = Manifest(token=token, files=dict(files))
        try:
            self.check(token)
            self.storage.put(self._manifest(token), manifest.model_dump_json().encode())
            self.check(token)
        except Fenced:
            self.withdraw(token)
            raise
        self.sweep()

    def withdraw(self, token: int) -> None:
        """Remove what a writer has made that will not commit."""
        self.storage.delete(self._manifest(token))
        self.storage.delete_prefix(self._prefix / f"files/{token:0{_DIGITS}}")

    def check(self, token: int) -> None:
        """Return if no newer writer has committed.

        Raises:
            Fenced: One has.
        """
        newest = self._newest()
        if newest is not None and newest > token:
            raise Fenced(f"{self._prefix}: {newest} has committed, and {token} is older")

    def sweep(self) -> int:
        """Remove what is older than the set that readers see: manifests first, then what was staged.

        What has a greater token may be being written. Where nobody has committed, nothing is older.

        Returns:
            The number of objects removed.
        """
        stale = self.stale()
        for key in stale:
            self.storage.delete(key)
        return len(stale)

    def stale(self) -> list[Key]:
        """Return the keys of what `sweep` would remove."""
        newest = self._newest()
        if newest is None:
            return []
        found = []
        for folder, ending in (("commits", ".json"), ("files", "")):
            for stored in self.storage.walk(self._prefix / folder):
                token = stored.key.removeprefix(f"{self._prefix}/{folder}/").partition("/")[0].removesuffix(ending)
                if token < f"{newest:0{_DIGITS}}":
                    found.append(stored.key)
                else:
                    break  # in order: all that follow are newer
        return found

    def remove(self) -> None:
        """Remove all of the set: manifests first, so that nobody sees a part."""
        self.storage.delete_prefix(self._prefix / "commits")
        self.storage.delete_prefix(self._prefix)

    def next_token(self) -> int:
        """Return a greater token than any that has committed, of the clock: for who needs no lease to write."""
        newest = self._newest()
        return max(time.time_ns() // 1000, 0 if newest is None else newest + 1)

    def fetch(self, token: int, name: str, entry: Entry, path: Path, check: Check = unchecked) -> None:
        """Write an object of a set into a file that is not there yet, durably.

        Args:
            token: Of the set.
            name: Of the object.
            entry: What it has to be.
            path: The file; what is in it after an error means nothing.
            check: Called before each piece; raises if the file is no longer wanted.

        Raises:
            FileNotFoundError: There is no such object.
            StorageSilent: It is not what was stored.
        """
        digest = hashlib.sha256()
        with path.open("xb") as file:
            for piece in self.storage.pieces(self.key(token, name), 0, entry.size_bytes):
                check()
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != entry.sha256:
            raise StorageSilent("what it gives is not what was stored")

    def _manifest(self, token: int) -> Key:
        return self._prefix / f"commits/{token:0{_DIGITS}}.json"

    def _newest(self) -> int | None:
        token = None
        for stored in self.storage.walk(self._prefix / "commits"):
            token = int(stored.key.name.removesuffix(".json"))
        return token


def entry_of(path: Path) -> Entry:
    """Return what is known of a file, which is read for it."""
    return Entry(size_bytes=path.stat().st_size, sha256=sha256_of(path))
