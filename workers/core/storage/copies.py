"""Sets of a storage as folders of this host: copied when somebody needs one, kept as long as there is room.

    <name>/                   a copy, whole
    .lock-<name>              locked by who reads the copy, alone by who makes or removes it; its time is the last use
    .making-<name>-<bytes>/   a copy under way, and the room that it will take
    .gone-<random>/           on its way out
    .room                     locked by who looks for room

Locks are those of `flock`: whoever dies has none. A copy that is in use is never removed; of the others the longest
unused goes first.
"""

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.core.checks import Check, unchecked
from workers.core.errors.base import DiskFull
from workers.core.errors.jobs import CacheTooSmall
from workers.core.storage.base import StorageSilent
from workers.core.storage.commits import Commits, Manifest
from workers.core.storage.files import NO_SPACE, bytes_below, fsync_dir, names_in

WAIT_S = 0.1
"""Between two looks at a lock, or for room."""

TRIES = 3
SHARE = 0.5
"""Of its disk, that a folder of copies takes if nothing else is said."""

_MAKING = re.compile(r"\.making-(.+)-([0-9]+)")


class Copies:
    """A folder of copies. For any thread, and any process of this host.

    Args:
        folder: Where, on a disk of this host; made when the first copy is.
        cap_bytes: What all copies may take; 0: half of the disk.
    """

    def __init__(self, folder: Path, cap_bytes: int = 0) -> None:
        self._folder = folder
        self._cap_bytes = cap_bytes

    @property
    def cap_bytes(self) -> int:
        """What all copies may take."""
        return self._cap_bytes or int(shutil.disk_usage(self._folder).total * SHARE)

    @contextmanager
    def held(self, name: str, commits: Commits, check: Check = unchecked) -> Iterator[Path]:
        """Give the folder of a copy, which is made if it is not there, and stays as long as the context lasts.

        Who wants one that another is making waits for that one.

        Args:
            name: Of the copy; a part of a key.
            commits: The set that it is a copy of.
            check: Called while it waits and copies; raises if the copy is no longer wanted.

        Raises:
            FileNotFoundError: There is no such set.
            CacheTooSmall: It is larger than all copies may be.
            DiskFull.
            OSError: The storage does not give it, or gives something else than was stored.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / name
        with self._opened(f".lock-{name}") as lock:
            while True:
                _take(lock, fcntl.LOCK_SH, check)
                if target.is_dir():
                    break
                _take(lock, fcntl.LOCK_EX, check)
                if not target.is_dir():
                    self._make(name, commits, check)
            _touch(lock)
            try:
                yield target
            finally:
                _touch(lock)

    def has(self, name: str) -> bool:
        """Return whether a copy is there, as far as nobody removes it now."""
        return (self._folder / name).is_dir()

    def names(self) -> list[str]:
        """Return the names of the copies that are there, the longest unused first."""
        return sorted(names_in(self._folder), key=self._used_at)

    def drop(self, name: str) -> bool:
        """Remove a copy that nobody uses; say whether it is gone, or was not there."""
        if not (self._folder / name).is_dir():
            return True
        with self._opened(f".lock-{name}") as lock:
            if not _is_taken(lock, fcntl.LOCK_EX):
                return False
            self._discard(self._folder / name)
        return True

    def _make(self, name: str, commits: Commits, check: Check) -> None:
        """Make a copy, under its lock; once more if the set was replaced meanwhile."""
        for _ in range(TRIES):
            manifest = commits.current()
            if manifest is None:
                raise FileNotFoundError(2, "no such set", name)
            need = sum(entry.size_bytes for entry in manifest.files.values())
            making = self._room_for(name, need, check)
            try:
                self._fill(making, commits, manifest, check)
                making.rename(self._folder / name)
                fsync_dir(self._folder)
            except FileNotFoundError:
                if commits.current() == manifest:
                    raise StorageSilent("what a manifest names is not there") from None
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise DiskFull("The disk of the copies of slides is full.", value=f"{need} bytes") from error
                raise
            else:
                return
            finally:
                shutil.rmtree(making, ignore_errors=True)
        raise StorageSilent("a set is replaced again and again")

    @staticmethod
    def _fill(making: Path, commits: Commits, manifest: Manifest, check: Check) -> None:
        folders = {making}
        for name, entry in manifest.files.items():
            path = making / name
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.update(each for each in path.parents if each.is_relative_to(making))
            commits.fetch(manifest.token, name, entry, path, check)
        for each in folders:
            fsync_dir(each)

    def _room_for(self, name: str, need: int, check: Check) -> Path:
        """Return an empty folder for a copy under way, once there is room; waits until others let go of theirs."""
        cap = self.cap_bytes
        if need > cap:
            raise CacheTooSmall(
                "The slide is larger than all copies of slides on this host may be.",
                value=f"{need} bytes",
                accepted=f"LDIFFUSION_SLIDE_CACHE above that; it is {cap}",
            )
        making = self._folder / f".making-{name}-{need}"
        while True:
            with self._opened(".room") as lock:
                _take(lock, fcntl.LOCK_EX, check)
                self._sweep(name)
                if self._make_room(cap - need):
                    making.mkdir()
                    return making
            check()
            time.sleep(WAIT_S)

    def _make_room(self, most_bytes: int) -> bool:
        """Remove copies until they take no more than that, those under way among them; say whether they do."""
        sizes = {name: bytes_below(self._folder / name) for name in self.names()}
        used = sum(sizes.values()) + sum(int(found[2]) for found in self._under_way())
        for name, size in sizes.items():
            if used <= most_bytes:
                break
            used -= size if self.drop(name) else 0
        return used <= most_bytes

    def _sweep(self, own: str) -> None:
        """Remove what processes left behind that died: what is on its way out, and copies that nobody makes any more.

        Args:
            own: The copy that is to be made, whose lock is held already.
        """
        for path in self._folder.glob(".gone-*"):
            shutil.rmtree(path, ignore_errors=True)
        for found in self._under_way():
            with self._opened(f".lock-{found[1]}") as lock:
                if found[1] == own or _is_taken(lock, fcntl.LOCK_EX):
                    shutil.rmtree(self._folder / found[0], ignore_errors=True)

    def _under_way(self) -> list[re.Match[str]]:
        return [found for path in self._folder.iterdir() if (found := _MAKING.fullmatch(path.name))]

    def _discard(self, folder: Path) -> None:
        doomed = self._folder / f".gone-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _used_at(self, name: str) -> int:
        try:
            return (self._folder / f".lock-{name}").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        lock = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)


def _touch(lock: int) -> None:
    now = time.time_ns()  # the kernel's own time for files stands still for milliseconds
    os.utime(lock, ns=(now, now))


def _is_taken(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(lock: int, how: int, check: Check) -> None:
    while not _is_taken(lock, how):
        check()
        time.sleep(WAIT_S)
