"""Corrections in the storage: a copy for those who have the job in another data folder, and only read there.

The folder that has the job has the truth. A copy that could not be written, the next correction or the doctor writes.
"""

import fcntl
import logging
from contextlib import suppress

from workers.core.corrections.log import FILE, parsed, read_revisions
from workers.core.corrections.schemas import Revision
from workers.core.storage.layout import job_corrections
from workers.core.store import Store

logger = logging.getLogger(__name__)


def revisions_of(store: Store, job_id: str) -> tuple[Revision, ...]:
    """Return all revisions of a job, the first one first: of its folder, or of the copy.

    Raises:
        StorageFault: A line cannot be read.
        OSError: The job is not here, and the storage does not answer.
    """
    if store.storage is None or store.owns_job(job_id):
        return read_revisions(store.job_dir(job_id))
    with suppress(FileNotFoundError):
        return parsed(store.storage.get(job_corrections(job_id)), job_id)
    return ()


def keep_copy(store: Store, job_id: str, lines: bytes) -> None:
    """Put the lines of a job into the storage, if there is one; what it does not take is logged: they are kept here."""
    if store.storage is not None:
        try:
            store.storage.put(job_corrections(job_id), lines)
        except OSError as error:
            logger.warning("the corrections of job %s are not seen by other gateways: %s", job_id, error)


def publish_corrections(store: Store, job_id: str) -> None:
    """Put the corrections of a job into the storage as they are.

    Raises:
        OSError: The storage does not take them.
    """
    if store.storage is None:
        return
    with suppress(FileNotFoundError), (store.own_job_dir(job_id) / FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # nobody adds a line and puts more before this is put
        store.storage.put(job_corrections(job_id), _whole(file.read()))


def is_stored(store: Store, job_id: str) -> bool:
    """Return whether the storage has the corrections of a job as its folder has them, if it has any.

    Raises:
        OSError: The storage does not answer.
    """
    path = store.own_job_dir(job_id) / FILE
    if store.storage is None or not path.exists():
        return True
    with suppress(FileNotFoundError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        lines = _whole(file.read())
        return not lines or store.storage.get(job_corrections(job_id)) == lines
    return False


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
