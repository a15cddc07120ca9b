"""Looks at the store against the queue: what a death, a lost queue or a broken disk left behind; mends it or says it.

What others do at this very moment is left alone: half-written files count from an hour on, and jobs that run are the
queue's.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from pydantic import Field

from server.catalogue.catalogue import Catalogue
from server.jobs.stored_check import Amiss, StoredCheck
from workers.core.corrections.log import cut_torn, read_revisions, torn_bytes
from workers.core.digests import sha256_of
from workers.core.errors.base import JobNotFound, LDiffusionError, ResultNotReady, StorageFault
from workers.core.frozen import Frozen
from workers.core.job_files import KEPT, REGIONS, read_ending, stored_view
from workers.core.queue.exchange import answering, decode
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JOBS, JobKeys
from workers.core.schemas import FINAL_STATES
from workers.core.stored.jobs import may_be_elsewhere

STALE_S = 3600.0
SLIDE = "slide-"
"""What the marks of slides begin with: no id of a job comes after it."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\..+|.+\.partial")


class Finding(Frozen):
    """Something that is not as it should be."""

    kind: str = Field(description="What, as in docs/reliability.md.")
    id: str = Field(
        description="What it is about, of whatever tenant: a job; of `storage_…` also a slide; of `catalogue_differs` "
        "also a slide or batch; of `trash` a name in it."
    )
    detail: str = Field(description="For people.")


class Treated(Finding):
    """Something that was not as it should be, and what came of it."""

    mended: bool = False


class Doctor:
    """Looks at all jobs of a queue and its data folder. Every method blocks.

    Args:
        jobs: The queue.
        repair: Mend what can be mended.
        digests: Read all results again and compare them with their digests.
    """

    def __init__(self, jobs: Jobs, *, repair: bool = False, digests: bool = False) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._repair = repair
        self._digests = digests
        self._stored = StoredCheck(jobs.store, digests=digests)

    def findings(self) -> Iterator[Treated]:
        """Yield what is wrong, one by one.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        for _, found in self.looks():
            yield from found

    def looks(self, after: str = "") -> Iterator[tuple[str, Iterator[Treated]]]:
        """Yield each job with what is wrong with it, then stored slides, then trash and index, which have no mark.

        A mark is the id of a job, or `slide-` and that of a slide; they come in order.

        Args:
            after: Only what has a greater mark.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with answering():
            known = {member.decode() for member in self._jobs.redis.zrange(JOBS, 0, -1)}
        for job_id in sorted(known | set(self._store.list_jobs())):
            if job_id > after:
                yield job_id, self._job(job_id, is_known=job_id in known)
        for slide_id in self._stored.slides():
            if (mark := f"{SLIDE}{slide_id}") > after:
                yield mark, map(self._treated, self._stored.of_slide(slide_id))
        yield "", chain(self._trash(), self._catalogue())

    def _trash(self) -> Iterator[Treated]:
        for folder in sorted((self._store.root / "trash").iterdir()):
            detail = "what was deleted is still on the disk"
            yield self._told("trash", folder.name, detail, lambda _name: self._store.empty_trash())

    def _catalogue(self) -> Iterator[Treated]:
        catalogue = Catalogue(self._jobs)
        try:
            for facts in catalogue.differing():
                detail = f"the index says something else of this {facts.kind} than the disk"
                mend = partial(catalogue.renew, facts.kind, tenant=facts.tenant)
                yield self._told("catalogue_differs", facts.id, detail, mend)
            yield from map(self._treated, self._stored.of_batches())
            yield from map(self._treated, self._stored.unknown(catalogue.is_elsewhere))
        finally:
            catalogue.close()

    def _job(self, job_id: str, *, is_known: bool) -> Iterator[Treated]:
        folder = self._store.own_job_dir(job_id)
        if not folder.exists():
            if self._is_known(job_id) and not may_be_elsewhere(self._store, job_id):  # else it was deleted meanwhile
                yield self._told("record_without_folder", job_id, "the queue knows it, the disk does not", self._forget)
            return
        view = stored_view(self._store, job_id)
        if view is None:
            yield from self._without_view(job_id, folder)
            return
        if view.state not in FINAL_STATES and not is_known:
            if not self._is_known(job_id):  # else it came meanwhile
                yield self._told(
                    "folder_without_record", job_id, "it has not ended, and the queue does not know it", self._submit
                )
        elif is_known:
            yield from self._end(job_id, view.state)
        yield from self._leftovers(job_id)
        yield from map(self._treated, self._stored.of_job(job_id, has_ended=view.state in FINAL_STATES))
        if view.state == "succeeded":
            yield from self._results(job_id)
            yield from self._corrections(job_id)

    def _without_view(self, job_id: str, folder: Path) -> Iterator[Treated]:
        if (folder / "job.json").exists():
            yield Treated(kind="job_unreadable", id=job_id, detail="a file of its folder cannot be read")
        elif folder.exists():  # else it was deleted meanwhile
            yield self._told("folder_without_request", job_id, "it says of no job what was asked", self._drop)

    def _is_known(self, job_id: str) -> bool:
        with answering():
            return self._jobs.redis.zscore(JOBS, job_id) is not None

    def _end(self, job_id: str, on_disk: str) -> Iterator[Treated]:
        with answering():
            state = decode(self._jobs.redis.hgetall(JobKeys(job_id).record)).get("state", on_disk)
        if state == on_disk or {state, on_disk}.isdisjoint(FINAL_STATES):
            return
        if state == "finishing" and on_disk == "succeeded":  # its last task is about to say so
            return
        detail = f"it is {state} in the queue and {on_disk} on the disk"
        yield self._told("end_not_written", job_id, detail, self._jobs.settle)

    def _leftovers(self, job_id: str) -> Iterator[Treated]:
        folder = self._store.job_dir(job_id)
        stale = [path for path in _files(folder) if _TEMPORARY.fullmatch(path.name) and _is_stale(path)]
        if stale:
            detail = f"{len(stale)} half-written files, such as {stale[0].name}"
            yield self._told("temporary_files", job_id, detail, lambda _job_id: _remove(stale))
        with suppress(FileNotFoundError):
            ending = read_ending(self._store, job_id)
            if ending is None:
                return
            kept = KEPT | REGIONS if ending.keeps_regions else KEPT
            left = sorted(path.name for path in folder.iterdir() if path.name not in kept)
            if left:
                detail = f"it is {ending.state} and still has {', '.join(left[:3])}"
                yield self._told("results_of_an_ended_job", job_id, detail, self._jobs.ends.clear)

    def _results(self, job_id: str) -> Iterator[Treated]:
        with suppress(JobNotFound, ResultNotReady, FileNotFoundError):  # deleted meanwhile
            yield from self._differing(job_id)

    def _differing(self, job_id: str) -> Iterator[Treated]:
        result, folder = self._store.read_result(job_id), self._store.job_dir(job_id)
        for name, digest in result.files.items():
            path, size = folder / name, result.sizes_bytes.get(name)
            if not path.is_file() and self._store.storage is not None:  # a copy, which need not be here
                continue
            if not path.is_file():
                yield Treated(kind="result_missing", id=job_id, detail=f"{name} is not there")
            elif size is not None and path.stat().st_size != size:
                yield Treated(kind="result_changed", id=job_id, detail=f"{name} has another size than was written")
            elif self._digests and sha256_of(path) != digest:
                yield Treated(kind="result_changed", id=job_id, detail=f"{name} has another digest than was written")

    def _corrections(self, job_id: str) -> Iterator[Treated]:
        folder = self._store.job_dir(job_id)
        if torn := torn_bytes(folder):
            detail = f"its corrections end with {torn} bytes that nobody was told of"
            yield self._told("corrections_torn", job_id, detail, lambda _job_id: cut_torn(folder))
        try:
            read_revisions(folder)
        except StorageFault as error:
            yield Treated(kind="corrections_unreadable", id=job_id, detail=error.message)

    def _treated(self, amiss: Amiss) -> Treated:
        if amiss.mend is None:
            return Treated(kind=amiss.kind, id=amiss.id, detail=amiss.detail)
        return self._told(amiss.kind, amiss.id, amiss.detail, amiss.mend)

    def _told(self, kind: str, subject: str, detail: str, mend: Callable[[str], object]) -> Treated:
        mended = False
        if self._repair:
            with suppress(OSError, LDiffusionError):
                mend(subject)
                mended = True
        return Treated(kind=kind, id=subject, detail=detail, mended=mended)

    def _forget(self, job_id: str) -> None:
        self._jobs.forget(job_id)

    def _drop(self, job_id: str) -> None:
        self._store.job_dir(job_id).rmdir()  # one that holds anything stays, for somebody to look at

    def _submit(self, job_id: str) -> None:
        with suppress(JobNotFound):
            stored = self._store.read_request(job_id)
            self._jobs.submit(job_id, stored.request, stored.created_at, tenant=stored.tenant)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder; folders in it may go meanwhile."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE_S
    except FileNotFoundError:
        return False


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
