"""Slides, jobs and half-made things in one folder: what was acknowledged is on disk, nothing is seen half-written.

The data folder:
    slides/<id>/original.*, slide.json      jobs/<id>/job.json, plan.json, …, result.json (written last)
    jobs/.making-<random>/                  jobs whose job.json is being written; swept at start
    incoming/<slide id>/                    uploads of one request under way; swept at start
    uploads/<id>/                           resumable uploads; the gateway's own, see `server.uploads.store`
    trash/<random>/                         on its way out; swept at start and by retention
    slide-cache/<id>/                       copies of slides that lie in the storage and not here
    scratch/<id>/                           jobs that are not here, while this host works on them

Where there is a storage besides, records of slides and jobs that are not here are read there.
"""

import logging
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from workers.core.errors.base import JobNotFound, NotFound, ResultNotReady, SlideNotFound
from workers.core.frozen import LOCAL_TENANT
from workers.core.schemas import JobRequest, Plan, Provenance, StoredRequest
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import Key, Storage
from workers.core.storage.commits import Commits
from workers.core.storage.copies import Copies
from workers.core.storage.files import atomic_write, fsync_dir, made_folder, whole_folder, write_json
from workers.core.storage.layout import job_record, job_results, slide_files, slide_record
from workers.core.storage.trash import Trash

_ID = re.compile(r"[0-9a-f]{32}")
_MAKING = ".making-"

logger = logging.getLogger(__name__)


def slide_missing(slide_id: str) -> SlideNotFound:
    """Return the error of an id that no slide has; another tenant's slide is told by the very same."""
    return SlideNotFound("No slide has this id.", value=slide_id)


def job_missing(job_id: str) -> JobNotFound:
    """Return the error of an id that no job has; another tenant's job is told by the very same."""
    return JobNotFound("No job has this id.", value=job_id)


def new_id() -> str:
    """Return a fresh identifier of 32 hexadecimal characters."""
    return uuid.uuid4().hex


class Store:
    """The data folder: id → path, and every change atomic.

    Args:
        root: The data folder; made if absent.
        storage: Where slides and results lie besides, if anywhere.
        cache_bytes: What copies of slides may take; 0: half of the disk.
    """

    new_id = staticmethod(new_id)
    write_json = staticmethod(write_json)
    atomic_write = staticmethod(atomic_write)

    def __init__(self, root: Path, storage: Storage | None = None, cache_bytes: int = 0) -> None:
        self.root = root
        self.storage = storage
        self.copies = Copies(root / "slide-cache", cache_bytes)
        self._slides = root / "slides"
        self._jobs = root / "jobs"
        self.scratch = root / "scratch"
        self._incoming = root / "incoming"
        self.trash = Trash(root / "trash")
        for folder in (self._slides, self._jobs, self._incoming, self.trash.folder):
            folder.mkdir(parents=True, exist_ok=True)

    def slide_dir(self, slide_id: str) -> Path:
        """Return the folder of a slide, whether or not it is there.

        Raises:
            SlideNotFound: The text is no identifier.
        """
        if not _ID.fullmatch(slide_id):
            raise SlideNotFound("No slide has this id.", value=slide_id, accepted="32 hexadecimal characters")
        return self._slides / slide_id

    def slide_file(self, slide_id: str) -> Path:
        """Return the file `original.*` of a slide in this folder.

        Raises:
            SlideNotFound: There is no such slide here.
        """
        return first_file(self.slide_dir(slide_id), slide_id)

    def slide_set(self, slide_id: str) -> Commits | None:
        """Return the files of a slide in the storage, whether or not there are any; None if there is no storage."""
        name = self.slide_dir(slide_id).name
        return None if self.storage is None else Commits(self.storage, slide_files(name))

    def job_dir(self, job_id: str) -> Path:
        """Return the folder in which this host works on a job, whether or not it is there; see `own_job_dir`."""
        own = self.own_job_dir(job_id)
        if self.storage is None or own.is_dir():
            return own
        scratch = self.scratch / job_id
        return scratch if scratch.is_dir() else own

    def own_job_dir(self, job_id: str) -> Path:
        """Return the folder of a job whose truth lies here, whether or not it is there.

        Raises:
            JobNotFound: The text is no identifier.
        """
        if not _ID.fullmatch(job_id):
            raise JobNotFound("No job has this id.", value=job_id, accepted="32 hexadecimal characters")
        return self._jobs / job_id

    def owns_job(self, job_id: str) -> bool:
        """Return whether the truth of a job lies here, or can lie nowhere else."""
        return self.storage is None or self.own_job_dir(job_id).is_dir()

    def results(self, job_id: str) -> Commits | None:
        """Return the results of a job in the storage, whether or not there are any; None if there is no storage."""
        name = self.job_dir(job_id).name
        return None if self.storage is None else Commits(self.storage, job_results(name))

    def incoming(self) -> AbstractContextManager[Path]:
        """Give a fresh folder, by the name that the slide will have. What is not committed when it ends is removed."""
        return made_folder(self._incoming / new_id())

    def sweep_incoming(self) -> int:
        """Remove what uploads, new jobs and deletions left behind when the process died. Call before taking any.

        Returns:
            The number of folders removed.
        """
        stale = [*self._incoming.iterdir(), *self._jobs.glob(f"{_MAKING}*")]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return len(stale) + self.empty_trash()

    def empty_trash(self) -> int:
        """Remove what deletions could not, or were cut off at. What still cannot be removed is logged, and stays.

        Returns:
            The number of folders removed.
        """
        return self.trash.empty()

    def commit_slide(self, info: SlideInfo, tmp_dir: Path) -> None:
        """Turn an incoming folder that holds `original.*` into the slide `info.id`, durably and at once."""
        target = self.slide_dir(info.id)
        write_json(tmp_dir / "slide.json", info)
        tmp_dir.rename(target)
        fsync_dir(self._slides)

    def read_slide(self, slide_id: str) -> SlideInfo:
        """Return what is known of a stored slide.

        Raises:
            SlideNotFound: There is no such slide.
            OSError: It is not here, and the storage does not answer.
        """
        path = self.slide_dir(slide_id) / "slide.json"
        try:
            return SlideInfo.model_validate_json(self._bytes(path, slide_record(slide_id)))
        except FileNotFoundError as error:
            raise slide_missing(slide_id) from error

    def has_slide(self, slide_id: str) -> bool:
        """Return whether a slide lies in this folder, whole."""
        return (self.slide_dir(slide_id) / "slide.json").exists()

    def list_slides(self) -> list[SlideInfo]:
        """Return all stored slides, the newest first. One whose `slide.json` cannot be read is left out and logged."""
        slides = []
        for folder in self._slides.iterdir():
            try:
                slides.append(self.read_slide(folder.name))
            except SlideNotFound:  # deleted meanwhile, or not ours
                continue
            except (OSError, ValueError) as error:
                logger.warning("slide %s has a slide.json that cannot be read: %s", folder.name, type(error).__name__)
        return sorted(slides, key=lambda info: (info.created_at, info.id), reverse=True)

    def delete_slide(self, slide_id: str) -> bool:
        """Remove a slide with all its files.

        Returns:
            Whether its bytes are gone; if not, `empty_trash` tries again.

        Raises:
            SlideNotFound: There is no such slide.
        """
        return self._discard(self.slide_dir(slide_id), slide_missing(slide_id))

    def save_request(
        self,
        job_id: str,
        request: JobRequest,
        created_at: datetime,
        tenant: str = LOCAL_TENANT,
        estimated_bytes: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> bool:
        """Make the folder of a job, whole, with its `job.json`; say whether there was no folder before."""
        folder = self.own_job_dir(job_id)
        told = {"tenant": tenant, "created_at": created_at, "estimated_bytes": estimated_bytes, "labels": labels or {}}
        stored = StoredRequest(id=job_id, request=request, **told)
        self.put_record(job_record(job_id), stored)  # first: what the storage does not take is not here either
        if folder.exists():
            write_json(folder / "job.json", stored)
            return False
        with whole_folder(folder, _MAKING) as making:
            write_json(making / "job.json", stored)
        return True

    def put_record(self, key: Key, record: BaseModel) -> None:
        """Put a record into the storage, if there is one."""
        if self.storage is not None:
            self.storage.put(key, record.model_dump_json(indent=2).encode())

    def read_request(self, job_id: str) -> StoredRequest:
        """Return what was asked.

        Raises:
            JobNotFound: There is no such job.
            OSError: It is not here, and the storage does not answer.
        """
        path = self.own_job_dir(job_id) / "job.json"  # of scratch, what the storage says counts: it may be deleted
        try:
            return StoredRequest.model_validate_json(self._bytes(path, job_record(job_id)))
        except FileNotFoundError as error:
            raise job_missing(job_id) from error

    def list_jobs(self) -> list[str]:
        """Return the ids of all jobs that have a folder, in no particular order."""
        return [folder.name for folder in self._jobs.iterdir() if _ID.fullmatch(folder.name)]

    def read_plan(self, job_id: str) -> Plan:
        """Return the plan of a job.

        Raises:
            JobNotFound: The job has no folder.
            ResultNotReady: It is not planned yet.
        """
        return Plan.model_validate_json(self._job_file(job_id, "plan.json"))

    def read_result(self, job_id: str) -> Provenance:
        """Return the provenance of a finished job; errors as for `read_plan`."""
        return Provenance.model_validate_json(self._job_file(job_id, "result.json"))

    def delete_job(self, job_id: str) -> bool:
        """Remove a job with all its results: as `delete_slide`, or JobNotFound."""
        return self._discard(self.own_job_dir(job_id), job_missing(job_id))

    def _discard(self, folder: Path, missing: NotFound) -> bool:
        try:
            return self.trash.discard(folder)
        except FileNotFoundError:
            raise missing from None

    def _bytes(self, path: Path, key: Key) -> bytes:
        """Return a small file of this folder; where it is not here, the object of the storage."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if self.storage is None:
                raise
        return self.storage.get(key)

    def _job_file(self, job_id: str, name: str) -> bytes:
        folder = self.job_dir(job_id)
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError as error:
            if self.storage is None and not folder.is_dir():  # else it may be with another host
                raise job_missing(job_id) from error
            raise ResultNotReady(f"The job has no {name} yet.", value=job_id) from error


def first_file(folder: Path, slide_id: str) -> Path:
    """Return the file in a slide's folder that a reader opens.

    Raises:
        SlideNotFound: There is none.
    """
    found = sorted(path for path in folder.glob("original*") if path.is_file()) if folder.is_dir() else []
    if not found:
        raise slide_missing(slide_id)
    return found[0]
