"""Slides, jobs and half-made things in one folder: what was acknowledged is on disk, nothing is seen half-written.

The data folder:
    slides/<id>/original.*, slide.json      jobs/<id>/job.json, plan.json, …, result.json (written last)
    jobs/.making-<random>/                  jobs whose job.json is being written; swept at start
    incoming/<random>/                      uploads of one request under way; swept at start
    uploads/<id>/                           resumable uploads; the gateway's own, see `server.uploads.store`
    trash/<random>/                         on its way out; swept at start and by retention
"""

import logging
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from workers.core.errors.base import JobNotFound, NotFound, ResultNotReady, SlideNotFound
from workers.core.frozen import LOCAL_TENANT
from workers.core.schemas import JobRequest, Plan, Provenance, StoredRequest
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import Key, Storage
from workers.core.storage.commits import Commits
from workers.core.storage.files import atomic_write, fsync_dir, write_json
from workers.core.storage.trash import Trash, removed

_ID = re.compile(r"[0-9a-f]{32}")
_MAKING = ".making-"
STORED_JOBS = Key("jobs")
"""What all keys of jobs in a storage begin with."""

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
        storage: Where results lie besides, if anywhere.
    """

    new_id = staticmethod(new_id)
    write_json = staticmethod(write_json)
    atomic_write = staticmethod(atomic_write)

    def __init__(self, root: Path, storage: Storage | None = None) -> None:
        self.root = root
        self.storage = storage
        self._slides = root / "slides"
        self._jobs = root / "jobs"
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
        """Return the file `original.*` of a stored slide.

        Raises:
            SlideNotFound: There is no such slide.
        """
        folder = self.slide_dir(slide_id)
        found = sorted(path for path in folder.glob("original*") if path.is_file()) if folder.is_dir() else []
        if not found:
            raise slide_missing(slide_id)
        return found[0]

    def job_dir(self, job_id: str) -> Path:
        """Return the folder of a job, whether or not it is there.

        Raises:
            JobNotFound: The text is no identifier.
        """
        if not _ID.fullmatch(job_id):
            raise JobNotFound("No job has this id.", value=job_id, accepted="32 hexadecimal characters")
        return self._jobs / job_id

    def results(self, job_id: str) -> Commits | None:
        """Return the results of a job in the storage, whether or not there are any; None if there is no storage.

        Raises:
            JobNotFound: The text is no identifier.
        """
        name = self.job_dir(job_id).name
        return None if self.storage is None else Commits(self.storage, Key(f"{STORED_JOBS}/{name}/results"))

    def incoming(self) -> AbstractContextManager[Path]:
        """Give a fresh folder for an upload. What is not committed when the context ends is removed."""
        return _made(self._incoming / new_id())

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
        """
        path = self.slide_dir(slide_id) / "slide.json"
        try:
            return SlideInfo.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise slide_missing(slide_id) from error

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
        folder = self.job_dir(job_id)
        told = {"tenant": tenant, "created_at": created_at, "estimated_bytes": estimated_bytes, "labels": labels or {}}
        stored = StoredRequest(id=job_id, request=request, **told)
        if folder.exists():
            write_json(folder / "job.json", stored)
            return False
        with _made(self._jobs / f"{_MAKING}{new_id()}") as making:
            write_json(making / "job.json", stored)
            making.rename(folder)
        fsync_dir(self._jobs)
        return True

    def read_request(self, job_id: str) -> StoredRequest:
        """Return what was asked.

        Raises:
            JobNotFound: There is no such job.
        """
        try:
            return StoredRequest.model_validate_json((self.job_dir(job_id) / "job.json").read_bytes())
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
        """Return the provenance of a finished job.

        Raises:
            JobNotFound: The job has no folder.
            ResultNotReady: It is not finished.
        """
        return Provenance.model_validate_json(self._job_file(job_id, "result.json"))

    def delete_job(self, job_id: str) -> bool:
        """Remove a job with all its results.

        Returns:
            Whether its bytes are gone; if not, `empty_trash` tries again.

        Raises:
            JobNotFound: There is no such job.
        """
        return self._discard(self.job_dir(job_id), job_missing(job_id))

    def _job_file(self, job_id: str, name: str) -> bytes:
        folder = self.job_dir(job_id)
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError as error:
            if not folder.is_dir():
                raise job_missing(job_id) from error
            raise ResultNotReady(f"The job has no {name} yet.", value=job_id) from error

    def _discard(self, folder: Path, missing: NotFound) -> bool:
        """Move a folder out of sight in one step, then remove it; say whether its bytes are gone."""
        try:
            doomed = self.trash.take(folder)
        except FileNotFoundError:
            raise missing from None
        fsync_dir(folder.parent)
        return removed(doomed)


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Make a folder; remove what is not elsewhere when the context ends."""
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
