"""Results of succeeded jobs in the storage, where there is one beside the data folder.

The finish of a job puts them there before the job counts as succeeded; the files in the job's folder are a copy, made
again where somebody needs one that is not there.
"""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from workers.core.checks import Check, unchecked
from workers.core.errors.base import JobNotFound
from workers.core.job_files import RESULT, SIZE, JobSize
from workers.core.storage.base import Key
from workers.core.storage.commits import Entry, entry_of
from workers.core.storage.files import atomic_write
from workers.core.store import Store
from workers.core.stored.jobs import open_scratch

PLAN = "plan.json"


class StoredResult(NamedTuple):
    """A result in the storage."""

    key: Key
    entry: Entry


def publish(store: Store, job_id: str, token: int, check: Check = unchecked, *, anew: bool = False) -> None:
    """Put all results of a job into the storage, and show them at once. Where they are there already, nothing is done.

    Args:
        store: The data folder, with the storage; without one, nothing is done either.
        job_id: A job with a `result.json`.
        token: Of whoever does this; greater than that of anybody before.
        check: Called before each file; raises if the work is no longer wanted.
        anew: Also where they seem to be there.

    Raises:
        Fenced: Somebody with a greater token was quicker.
        OSError: A file is not there, or the storage does not take it.
    """
    commits = store.results(job_id)
    if commits is None:
        return
    folder = store.job_dir(job_id)
    entries = entries_of(store, job_id)
    current = commits.current()
    if current is not None and current.files == entries and not anew:
        return
    commits.check(token)
    try:
        for name, entry in entries.items():
            check()
            commits.stage(token, name, folder / name, entry)
        check()
    except OSError:
        raise  # a storage that does not answer is asked for no more: the next commit removes what is left
    except BaseException:
        with suppress(OSError):
            commits.withdraw(token)  # of a host that was cut off: nobody may commit after it
        raise
    commits.commit(token, entries)


def entries_of(store: Store, job_id: str) -> dict[str, Entry]:
    """Return what the folder of a job says of its results, `result.json` among them."""
    folder, provenance = store.job_dir(job_id), store.read_result(job_id)
    entries = {}
    for name, sha256 in provenance.files.items():
        known = provenance.sizes_bytes.get(name)
        size_bytes = (folder / name).stat().st_size if known is None else known
        entries[name] = Entry(size_bytes=size_bytes, sha256=sha256)
    return entries | {RESULT: entry_of(folder / RESULT)}


def find_result(store: Store, job_id: str, name: str) -> StoredResult | None:
    """Return where a result lies in the storage; None if there is no storage, or nothing of this name in it."""
    commits = store.results(job_id)
    manifest = None if commits is None else commits.current()
    if commits is None or manifest is None or name not in manifest.files:
        return None
    return StoredResult(commits.key(manifest.token, name), manifest.files[name])


def local_result(store: Store, job_id: str, name: str) -> Path:
    """Return the file of a result, fetched from the storage if it is not in the job's folder.

    Raises:
        OSError: It is in neither, or what came is not what was stored.
    """
    path = store.job_dir(job_id) / name
    if path.exists() or (commits := store.results(job_id)) is None:
        return path
    manifest = commits.current()
    if manifest is not None and name in manifest.files:
        with atomic_write(path) as temporary:
            commits.fetch(manifest.token, name, manifest.files[name], temporary)
    return path


def bring_result(store: Store, job_id: str) -> None:
    """Have the records of a result here whose job lies in another data folder, if there is one; else do nothing.

    Raises:
        OSError: The storage does not answer.
    """
    if store.storage is not None and not store.owns_job(job_id) and not (store.job_dir(job_id) / RESULT).exists():
        fetch_records(store, job_id)


def fetch_records(store: Store, job_id: str) -> None:
    """Fetch what a folder has to hold of the result of a job, once another host has made it; `result.json` last.

    Raises:
        OSError: The storage does not give it.
    """
    commits = store.results(job_id)
    manifest = None if commits is None else commits.current()
    if commits is None or manifest is None:
        return
    with suppress(JobNotFound):  # deleted meanwhile
        open_scratch(store, job_id)
    if not store.job_dir(job_id).is_dir():
        return
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    store.write_json(store.job_dir(job_id) / SIZE, JobSize(size_bytes=size_bytes))
    for name in (PLAN, RESULT):
        local_result(store, job_id, name)
