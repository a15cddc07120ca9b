"""What each tenant has on the disk, counted without a walk through it.

Slides, jobs, and the batches of each tenant have a folder of entries. What is known of an entry is kept in memory:
whose it is, and how large. Names are listed again only where the folder has changed, and read is only what is new or
has not come to its end. After a restart everything is read once: of a slide `slide.json`, of a job `job.json` and
`size.json`, which the worker wrote when the results had landed. A job that has ended without that number is counted,
once.
"""

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workers.core.errors.base import NotFound
from workers.core.frozen import Frozen
from workers.core.job_files import count_size, folder_bytes, has_ended, read_size
from workers.core.products import read_made
from workers.core.store import Store

CLOCK_NS = 100_000_000
"""A folder that has changed within so short a time is listed again: two changes may bear the same time."""

BATCHES = "batches"

NOBODY = ""
"""Whose an entry is that cannot be read (yet)."""


def batches_of(root: Path, tenant: str) -> Path:
    """Return the folder of a tenant's batches in a data folder, whether or not it is there."""
    return root / BATCHES / hashlib.sha256(tenant.encode()).hexdigest()[:32]


class Entry(NamedTuple):
    """What is known of one entry. One that is not settled is read again at each count."""

    tenant: str
    size_bytes: int
    is_settled: bool


UNKNOWN = Entry(NOBODY, 0, is_settled=False)


class Stored(Frozen):
    """What a tenant has on the disk, in bytes. Jobs that have not ended count with what they take at most."""

    slides_bytes: int = 0
    jobs_bytes: int = 0
    batches_bytes: int = 0
    slides: int = 0
    jobs: int = 0
    batches: int = 0

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return self.slides_bytes + self.jobs_bytes + self.batches_bytes


class Shelf:
    """One folder of entries. Every method blocks; one thread at a time.

    Args:
        folder: Need not be there.
        read: Reads an entry by its name, given what was known of it; raises OSError, ValueError or NotFound where it
            cannot.
    """

    def __init__(self, folder: Path, read: Callable[[str, Entry], Entry]) -> None:
        self._folder = folder
        self._read = read
        self._entries: dict[str, Entry] = {}
        self._changed_ns = -1

    def of(self, tenant: str) -> dict[str, int]:
        """Return the bytes of each entry of a tenant."""
        self._list()
        for name, entry in self._entries.items():
            if not entry.is_settled and entry.tenant in (NOBODY, tenant):
                self._entries[name] = self._read_again(name, entry)
        return {name: entry.size_bytes for name, entry in self._entries.items() if entry.tenant == tenant}

    def unsettle(self, name: str) -> None:
        """Read an entry again at the next count, if it is known."""
        if entry := self._entries.get(name):
            self._entries[name] = entry._replace(is_settled=False)

    def forget(self, name: str) -> None:
        """Know nothing of an entry: it is gone, and may come again under the same name."""
        if self._entries.pop(name, None):
            self._changed_ns = -1

    def _list(self) -> None:
        now_ns = time.time_ns()
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns == self._changed_ns:
                return
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            self._entries.clear()
            return
        known = self._entries
        self._entries = {name: known.get(name, UNKNOWN) for name in names}
        self._changed_ns = changed_ns if changed_ns < now_ns - CLOCK_NS else -1

    def _read_again(self, name: str, entry: Entry) -> Entry:
        try:
            return self._read(name, entry)
        except (OSError, ValueError, NotFound):  # being made, being deleted, or damaged
            return entry


class Ledger:
    """What each tenant has in a data folder. Methods block, and may be called from several threads.

    Args:
        store: The data folder.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._asked: defaultdict[str, set[str]] = defaultdict(set)  # products that may land in a job
        self._batches: dict[str, Shelf] = {}
        self._slides = Shelf(store.root / "slides", self._slide)
        self._jobs = Shelf(store.root / "jobs", self._job)

    def of(self, tenant: str) -> Stored:
        """Return what a tenant has."""
        with self._lock:
            shelves = self._slides, self._jobs, self._batches_shelf(tenant)
            slides, jobs, batches = (shelf.of(tenant) for shelf in shelves)
        return Stored(
            slides_bytes=sum(slides.values()),
            jobs_bytes=sum(jobs.values()),
            batches_bytes=sum(batches.values()),
            slides=len(slides),
            jobs=len(jobs),
            batches=len(batches),
        )

    def slides_of(self, tenant: str) -> dict[str, int]:
        """Return the bytes of each slide of a tenant."""
        with self._lock:
            return self._slides.of(tenant)

    def expect(self, job_id: str, product: str) -> None:
        """Look at a job again until a product that was asked for is made."""
        with self._lock:
            self._asked[job_id].add(product)
            self._jobs.unsettle(job_id)

    def look_again(self, job_id: str) -> None:
        """Read a job again at the next count: something was added to it."""
        with self._lock:
            self._jobs.unsettle(job_id)

    def forget(self, kind: str, name: str) -> None:
        """Know nothing of a `slide` or `job` that was deleted."""
        with self._lock:
            self._asked.pop(name, None)
            (self._slides if kind == "slide" else self._jobs).forget(name)

    def _slide(self, name: str, _: Entry) -> Entry:
        info = self._store.read_slide(name)
        return Entry(info.tenant, info.size_bytes, is_settled=True)

    def _batches_shelf(self, tenant: str) -> Shelf:
        folder = batches_of(self._store.root, tenant)
        if tenant not in self._batches:
            self._batches[tenant] = Shelf(
                folder, lambda name, _: Entry(tenant, (folder / name).stat().st_size, is_settled=True)
            )
        return self._batches[tenant]

    def _job(self, name: str, before: Entry) -> Entry:
        size = read_size(self._store, name)
        if size is None and has_ended(self._store, name):
            size = count_size(self._store, name)
        if size is None:
            return before if before.tenant else self._unfinished(name)
        tenant = before.tenant or self._store.read_request(name).tenant
        return Entry(tenant, size, is_settled=not self._is_expected(name))

    def _unfinished(self, job_id: str) -> Entry:
        stored = self._store.read_request(job_id)
        size = stored.estimated_bytes or folder_bytes(self._store.job_dir(job_id))
        return Entry(stored.tenant, size, is_settled=False)

    def _is_expected(self, job_id: str) -> bool:
        """Whether a product may still land. One that was refused is looked for until the server starts anew."""
        left = {name for name in self._asked.get(job_id, ()) if read_made(self._store, job_id, name) is None}
        if not left:
            self._asked.pop(job_id, None)
        else:
            self._asked[job_id] = left
        return bool(left)
