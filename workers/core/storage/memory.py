"""A storage in the memory of this process, for tests and as the simplest of all to compare with."""

import hashlib
import threading
from bisect import bisect_left, bisect_right
from pathlib import Path

from workers.core.storage.base import PAGE, Key, KeyInvalid, Storage, Stored, checked_range


class MemoryStorage(Storage):
    """Objects in a dictionary. Like a folder, it takes no key that is a folder of others."""

    def __init__(self) -> None:
        self._objects: dict[Key, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: Key, data: bytes | Path) -> Stored:
        """See `Storage.put`."""
        whole = data if isinstance(data, bytes) else data.read_bytes()
        with self._lock:
            if any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in self._objects):
                raise KeyInvalid(f"{key} is a folder of other objects, or below one.")
            self._objects[key] = whole
        return self._stored(key, whole)

    def get(self, key: Key) -> bytes:
        """See `Storage.get`."""
        try:
            return self._objects[key]
        except KeyError:
            raise FileNotFoundError(2, "no such object", key) from None

    def range(self, key: Key, start: int, stop: int) -> bytes:
        """See `Storage.range`."""
        whole = self.get(key)
        start, stop = checked_range(key, start, stop, len(whole))
        return whole[start:stop]

    def head(self, key: Key) -> Stored:
        """See `Storage.head`."""
        return self._stored(key, self.get(key))

    def list(self, prefix: Key | None = None, after: Key | None = None, limit: int = PAGE) -> list[Stored]:
        """See `Storage.list`."""
        with self._lock:
            objects = dict(self._objects)
        keys = sorted(objects)
        first = 0 if prefix is None else bisect_left(keys, f"{prefix}/")
        if after is not None:
            first = max(first, bisect_right(keys, after))
        page = [key for key in keys[first : first + limit] if prefix is None or key.startswith(f"{prefix}/")]
        return [self._stored(key, objects[key]) for key in page]

    def delete(self, key: Key) -> None:
        """See `Storage.delete`."""
        with self._lock:
            self._objects.pop(key, None)

    def delete_prefix(self, prefix: Key) -> None:
        """See `Storage.delete_prefix`."""
        with self._lock:
            for key in [key for key in self._objects if key.startswith(f"{prefix}/")]:
                del self._objects[key]

    @staticmethod
    def _stored(key: Key, whole: bytes) -> Stored:
        return Stored(key, len(whole), hashlib.sha256(whole).hexdigest())
