"""Looks at the storage against the data folder: what misses there, what changed, what is left over."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from server.catalogue.entries import Kind
from server.jobs.batch_records import BatchFiles
from workers.core.corrections.stored_log import is_stored, publish_corrections
from workers.core.errors.base import JobNotFound, ResultNotReady, SlideNotFound
from workers.core.job_files import read_ending
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import Key, Storage
from workers.core.storage.commits import Commits, Manifest
from workers.core.storage.files import names_in
from workers.core.storage.layout import BATCHES, JOBS, SLIDES, batch_record, job_record, slide_record
from workers.core.store import Store
from workers.core.stored.results import publish
from workers.core.stored.slides import publish_slide

logger = logging.getLogger(__name__)


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
        self._batches = BatchFiles(store)
        self._is_silent = False

    def of_job(self, job_id: str, *, has_ended: bool) -> Iterator[Amiss]:
        """Yield what is wrong with what is stored of a job that the data folder knows."""
        commits, storage = self._store.results(job_id), self._store.storage
        if commits is None or storage is None or self._is_silent:
            return
        try:
            if not storage.has(job_record(job_id)):
                yield Amiss("storage_missing", job_id, "what was asked for is not stored", self._publish_request)
            if not is_stored(self._store, job_id):
                detail = "its corrections are not stored as they are"
                yield Amiss("storage_changed", job_id, detail, partial(publish_corrections, self._store))
            if has_ended:
                yield from self._of_results(job_id, commits)
        except (JobNotFound, ResultNotReady):  # deleted meanwhile
            return
        except OSError as error:
            yield self._silent(error)

    def slides(self) -> list[str]:
        """Return the ids of the slides of the data folder, in order, if they can be looked for."""
        if self._store.storage is None or self._is_silent:
            return []
        return [name for name in names_in(self._store.root / "slides") if self._is_slide(name)]

    def of_slide(self, slide_id: str) -> Iterator[Amiss]:
        """Yield what is wrong with what is stored of a slide that the data folder has."""
        commits, storage = self._store.slide_set(slide_id), self._store.storage
        if commits is None or storage is None or self._is_silent or not self._store.has_slide(slide_id):
            return
        try:
            yield from self._of_files(slide_id, commits, storage)
        except SlideNotFound:  # deleted meanwhile
            return
        except OSError as error:
            yield self._silent(error)

    def of_batches(self) -> Iterator[Amiss]:
        """Yield the batches of the data folder whose records are not stored, or not as they are."""
        storage = self._store.storage
        if storage is None or self._is_silent:
            return
        try:
            for batch in self._batches.all():
                if not storage.has(batch_record(batch.id)):
                    yield Amiss("storage_missing", batch.id, "the batch is not stored", self._publish_batch)
        except OSError as error:
            yield self._silent(error)

    def unknown(self, is_elsewhere: Callable[[Kind, str], bool]) -> Iterator[Amiss]:
        """Yield what is stored and unknown to the data folder; nobody but a person can say whose it is.

        Args:
            is_elsewhere: Says whether another data folder is known to have an entry.
        """
        storage = self._store.storage
        if storage is None or self._is_silent:
            return
        kinds: tuple[tuple[Kind, Key, Callable[[str], bool]], ...] = (
            ("job", JOBS, self._store.owns_job),
            ("slide", SLIDES, self._store.has_slide),
            ("batch", BATCHES, self._batches.has),
        )
        try:
            for kind, above, is_own in kinds:
                for name in _ids(storage, above):
                    if not is_own(name) and not is_elsewhere(kind, name):
                        detail = f"it is stored, and the data folder has no such {kind}"
                        yield Amiss("storage_unknown", name, detail, None)
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
        yield from self._of_set(job_id, commits, manifest, self._publish)

    def _of_files(self, slide_id: str, commits: Commits, storage: Storage) -> Iterator[Amiss]:
        try:
            info = self._store.read_slide(slide_id)
        except ValueError as error:
            logger.warning("slide %s has a slide.json that cannot be read: %s", slide_id, type(error).__name__)
            return
        manifest = commits.current()
        record = storage.get(slide_record(slide_id)) if storage.has(slide_record(slide_id)) else None
        if manifest is None or record is None:
            yield Amiss("storage_missing", slide_id, "the slide is not stored", self._publish_slide)
            return
        yield from self._of_set(slide_id, commits, manifest, partial(self._publish_slide, anew=True))
        if SlideInfo.model_validate_json(record) != info:
            detail = "the record of the slide is stored as it was before it was changed"
            yield Amiss("storage_changed", slide_id, detail, self._publish_slide)

    def _of_set(
        self, subject: str, commits: Commits, manifest: Manifest, mend: Callable[[str], object]
    ) -> Iterator[Amiss]:
        sizes = commits.sizes(manifest.token)
        wrong = [
            name
            for name, entry in manifest.files.items()
            if sizes.get(name) != entry.size_bytes or (self._digests and not _is_same(commits, manifest, name))
        ]
        if wrong:
            yield Amiss("storage_changed", subject, f"{wrong[0]} is not stored as it was written", mend)
        if stale := commits.stale():
            detail = f"{len(stale)} objects of writers that were late or died, such as {stale[0].name}"
            yield Amiss("storage_left_over", subject, detail, lambda _id: commits.sweep())

    def _is_slide(self, name: str) -> bool:
        try:
            return self._store.has_slide(name)
        except SlideNotFound:  # not ours
            return False

    def _publish_request(self, job_id: str) -> None:
        self._store.put_record(job_record(job_id), self._store.read_request(job_id))

    def _publish_batch(self, batch_id: str) -> None:
        if (batch := self._batches.find_own(batch_id)) is not None:  # else it was removed meanwhile
            self._store.put_record(batch_record(batch_id), batch)

    def _publish_slide(self, slide_id: str, *, anew: bool = False) -> None:
        """Store a slide again, out of the data folder."""
        info = self._store.read_slide(slide_id)
        publish_slide(self._store, info, self._store.slide_dir(slide_id), anew=anew)

    def _publish(self, job_id: str) -> None:
        """Store the results of a job again, out of the data folder. Nobody else writes them: it has succeeded."""
        if (commits := self._store.results(job_id)) is not None:
            publish(self._store, job_id, commits.next_token(), anew=True)

    def _silent(self, error: OSError) -> Amiss:
        self._is_silent = True
        return Amiss("storage_silent", "", f"it cannot be looked at: {error.strerror}", None)


def _ids(storage: Storage, above: Key) -> Iterator[str]:
    """Yield the ids of all of which anything is stored below a key, with one request for each."""
    after = None
    while page := storage.list(above, after, 1):
        found = page[0].key.split("/")[1].removesuffix(".json")
        yield found
        after = above / f"{found}0"  # `0` comes after `/` and `.`, so after all of this one


def _is_same(commits: Commits, manifest: Manifest, name: str) -> bool:
    """Whether an object has the digest that it was stored with; it is read for that."""
    digest, entry = hashlib.sha256(), manifest.files[name]
    for piece in commits.storage.pieces(commits.key(manifest.token, name), 0, entry.size_bytes):
        digest.update(piece)
    return digest.hexdigest() == entry.sha256
