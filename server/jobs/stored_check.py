"""Looks at the storage of results against the data folder: what misses there, what changed, what is left over."""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from workers.core.errors.base import JobNotFound, ResultNotReady
from workers.core.job_files import read_ending
from workers.core.storage.base import Key
from workers.core.storage.commits import Commits, Manifest
from workers.core.store import STORED_JOBS, Store
from workers.core.stored_results import publish


class Amiss(NamedTuple):
    """Something in the storage that is not as it should be."""

    kind: str
    id: str
    detail: str
    mend: Callable[[str], object] | None


class StoredCheck:
    """The storage of one data folder.

    Args:
        store: The data folder, with its storage, if it has one.
        digests: Read all objects again, and compare them with their digests.
    """

    def __init__(self, store: Store, *, digests: bool) -> None:
        self._store = store
        self._digests = digests
        self._is_silent = False

    def of_job(self, job_id: str) -> Iterator[Amiss]:
        """Yield what is wrong with what is stored of a job that the data folder knows."""
        commits = self._store.results(job_id)
        if commits is None or self._is_silent:
            return
        try:
            yield from self._of_results(job_id, commits)
        except (JobNotFound, ResultNotReady):  # deleted meanwhile
            return
        except OSError as error:
            yield self._silent(error)

    def unknown(self) -> Iterator[Amiss]:
        """Yield what is stored of jobs that the data folder does not know; nobody but a person can say whose it is."""
        if self._store.storage is None or self._is_silent:
            return
        try:
            for job_id in self._stored_ids():
                if not self._store.job_dir(job_id).exists():
                    detail = "its results are stored, and the data folder has no such job"
                    yield Amiss("storage_unknown", job_id, detail, None)
        except OSError as error:
            yield self._silent(error)

    def _of_results(self, job_id: str, commits: Commits) -> Iterator[Amiss]:
        manifest = commits.current()
        if read_ending(self._store, job_id) is not None:
            if manifest is not None:
                detail = "it has ended without a result, and results are stored"
                yield Amiss("storage_left_over", job_id, detail, lambda _id: commits.remove())
            return
        self._store.read_result(job_id)
        if manifest is None:
            yield Amiss("storage_missing", job_id, "it has succeeded, and its results are not stored", self._publish)
            return
        sizes = commits.sizes(manifest.token)
        wrong = [
            name
            for name, entry in manifest.files.items()
            if sizes.get(name) != entry.size_bytes or (self._digests and not _is_same(commits, manifest, name))
        ]
        if wrong:
            yield Amiss("storage_changed", job_id, f"{wrong[0]} is not stored as it was written", self._publish)
        if stale := commits.stale():
            detail = f"{len(stale)} objects of writers that were late or died, such as {stale[0].name}"
            yield Amiss("storage_left_over", job_id, detail, lambda _id: commits.sweep())

    def _publish(self, job_id: str) -> None:
        """Store the results of a job again, out of the data folder. Nobody else writes them: it has succeeded."""
        commits = self._store.results(job_id)
        manifest = None if commits is None else commits.current()
        token = max(time.time_ns() // 1000, 0 if manifest is None else manifest.token + 1)
        publish(self._store, job_id, token, anew=True)

    def _stored_ids(self) -> Iterator[str]:
        """Yield the ids of all jobs of which anything is stored, with one request for each."""
        after, storage = None, self._store.storage
        while storage is not None and (page := storage.list(STORED_JOBS, after, 1)):
            job_id = page[0].key.split("/")[1]
            yield job_id
            after = Key(f"{STORED_JOBS}/{job_id}0")  # `0` comes after `/`, so after all of this job

    def _silent(self, error: OSError) -> Amiss:
        self._is_silent = True
        return Amiss("storage_silent", "", f"it cannot be looked at: {error.strerror}", None)


def _is_same(commits: Commits, manifest: Manifest, name: str) -> bool:
    """Whether an object has the digest that it was stored with; it is read for that."""
    digest, entry = hashlib.sha256(), manifest.files[name]
    for piece in commits.storage.pieces(commits.key(manifest.token, name), 0, entry.size_bytes):
        digest.update(piece)
    return digest.hexdigest() == entry.sha256
