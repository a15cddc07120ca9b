"""Records of jobs in the storage, and the scratch of a host that works on jobs whose truth lies elsewhere."""

from contextlib import suppress

from workers.core.errors.jobs import OnAnotherHost
from workers.core.label_layout import STORE as LABELS
from workers.core.storage.files import names_in, whole_folder, write_json, write_once
from workers.core.storage.layout import JOBS, job_record
from workers.core.store import Store, new_id


def host_of(store: Store) -> str:
    """Return the name by which the workers of this data folder find the tasks of what they have computed.

    Workers that share a data folder share the name. Without a storage there is none: all share one folder.
    """
    return "" if store.storage is None else folder_name(store)


def folder_name(store: Store) -> str:
    """Return the name of this data folder among all that share a queue, a storage or a database; made once."""
    path = store.root / "host-id"
    if not path.exists():
        write_once(path, new_id())
    return path.read_text(encoding="utf-8")


def require_own_job(store: Store, job_id: str) -> None:
    """Return if a job may be changed here.

    Raises:
        OnAnotherHost: Its truth lies in another data folder.
    """
    if not store.owns_job(job_id):
        raise OnAnotherHost("Another gateway has this job.", value=job_id, accepted="the same, asked of that one")


def may_be_elsewhere(store: Store, job_id: str) -> bool:
    """Return whether a job without a folder of its own here is stored: then another data folder has it."""
    try:
        return store.storage is not None and store.storage.has(job_record(job_id))
    except OSError:  # nobody can say
        return True


def has_array(store: Store, job_id: str) -> bool:
    """Return whether the label array of a job is here; without a storage it can be nowhere else."""
    return store.storage is None or (store.job_dir(job_id) / LABELS).is_dir()


def open_scratch(store: Store, job_id: str) -> None:
    """Make a folder to work in for a job that has none here, with what was asked; without a storage nothing is done.

    It is scratch: what this host computes of a job whose truth lies in another data folder. No list shows it, and how
    the job ended is not written there.

    Raises:
        JobNotFound: There is no such job.
        OSError: The storage does not answer.
    """
    if store.storage is None or store.job_dir(job_id).is_dir():
        return
    stored = store.read_request(job_id)
    store.scratch.mkdir(exist_ok=True)
    with whole_folder(store.scratch / job_id) as making:
        write_json(making / "job.json", stored)


def scratch_jobs(store: Store) -> list[str]:
    """Return the ids of jobs that this host has scratch of, but of those that were deleted: that is removed.

    Raises:
        OSError: The storage does not answer.
    """
    if store.storage is None:
        return []
    found = []
    for job_id in names_in(store.scratch):
        if store.storage.has(job_record(job_id)):
            found.append(job_id)
        else:
            with suppress(FileNotFoundError):  # another process was quicker
                store.trash.discard(store.scratch / job_id)
    return found


def remove_stored_job(store: Store, job_id: str) -> None:
    """Remove all of a job from the storage, its results first; without one nothing is done.

    Raises:
        OSError: The storage does not answer; it may be called again.
    """
    results = store.results(job_id)
    if store.storage is not None and results is not None:
        results.remove()
        store.storage.delete(job_record(job_id))
        store.storage.delete_prefix(JOBS / job_id)
