"""What the disk alone knows of a job: enough to show it, and to queue it again, when Redis has forgotten it."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from workers.core.errors.base import Conflict, DiskFull, JobNotFound, NotFound, ResultNotReady
from workers.core.frozen import Frozen
from workers.core.own_labels import changed
from workers.core.schemas import ErrorBody, JobView, WebhookDelivery
from workers.core.storage.files import bytes_below, write_once
from workers.core.storage.layout import job_record
from workers.core.store import Store

ENDING = "ended.json"
RESULT = "result.json"
DELIVERY = "webhook.json"
SIZE = "size.json"
KEPT = frozenset({"job.json", ENDING, DELIVERY})
"""What stays of a job that failed or was canceled."""


REGIONS = frozenset({"plan.json", "tissue.png", "quality.png", "labels.zarr", "bad-tiles"})
"""What stays besides, of a job whose finish failed: all that was computed, for `Jobs.resume`."""

logger = logging.getLogger(__name__)


class Ending(Frozen):
    """`ended.json`: how a job ended that has no result. It stands above whatever else the folder holds."""

    state: Literal["failed", "canceled"]
    error: ErrorBody | None = None
    finished_at: datetime
    keeps_regions: bool = False


class JobSize(Frozen):
    """`size.json`: what the folder of a job holds, counted once, when results or a product had landed in it."""

    size_bytes: int = Field(ge=0, description="Bytes of all its files but this one.")


def view_from_disk(store: Store, job_id: str) -> JobView:
    """Return what the folder of a job tells: succeeded, failed or canceled; else it counts as queued.

    Raises:
        JobNotFound: There is no such job.
    """
    stored = store.read_request(job_id)
    asked = {name: value for name, value in stored if name in JobView.model_fields}
    waiting = JobView(state="queued", **asked)
    end = _read_end(store, job_id)
    webhook = None
    if waiting.request.webhook is not None:  # one that has not ended will be queued again, and its end told
        webhook = _read_delivery(store, job_id) if end else WebhookDelivery()
    return waiting.model_copy(update={**end, "webhook": webhook})


def stored_view(store: Store, job_id: str) -> JobView | None:
    """Return what the folder of a job tells; None if there is none, or if a file in it cannot be read, which is logged.

    For whoever looks at many jobs: one that is damaged must not hide the others.
    """
    try:
        return view_from_disk(store, job_id)
    except JobNotFound:  # being made, or being deleted
        return None
    except (OSError, ValueError) as error:
        logger.warning("the folder of job %s holds a file that cannot be read: %s", job_id, type(error).__name__)
        return None


def with_warnings(store: Store, view: JobView) -> JobView:
    """Return a job that says why its result cannot be trusted as it is: by `result.json`, else by the plan."""
    try:
        if view.state == "succeeded":
            warnings = store.read_result(view.id).warnings
        elif view.state in ("running", "finishing"):
            warnings = store.read_plan(view.id).warnings
        else:
            return view
    except (NotFound, Conflict, OSError, ValueError):  # deleted, or not there yet
        return view
    return view.model_copy(update={"warnings": warnings})


def with_labels(store: Store, view: JobView) -> JobView:
    """Return a job with its labels, which only the disk knows."""
    try:
        return view.model_copy(update={"labels": store.read_request(view.id).labels})
    except (NotFound, OSError, ValueError):  # deleted meanwhile
        return view


def change_labels(store: Store, job_id: str, changes: Mapping[str, str | None]) -> None:
    """Change the labels of a job.

    Raises:
        JobNotFound: There is no such job.
        RequestInvalid: It would have too many.
    """
    folder = store.own_job_dir(job_id)
    with _alone_in(folder):
        stored = store.read_request(job_id)
        stored = stored.model_copy(update={"labels": changed(stored.labels, changes)})
        store.put_record(job_record(job_id), stored)
        store.write_json(folder / "job.json", stored)


def write_delivery(store: Store, job_id: str, delivery: WebhookDelivery) -> None:
    """Write `webhook.json`: what became of the news of a job's end. A job without a folder is left alone."""
    folder = store.job_dir(job_id)
    if folder.is_dir():
        store.write_json(folder / DELIVERY, delivery)


def keep_ending(store: Store, job_id: str, ending: Ending) -> Ending:
    """Write `ended.json`, unless there is one: the first one holds. A job without a folder of its own is left alone.

    Returns:
        What the folder says from now on.

    Raises:
        OSError: The disk does not take it.
    """
    folder = store.own_job_dir(job_id)
    before = read_ending(store, job_id)
    if before is not None or not folder.is_dir():
        return before or ending
    write_once(folder / ENDING, ending.model_dump_json(indent=2) + "\n")
    return read_ending(store, job_id) or ending


def take_back_ending(store: Store, job_id: str) -> None:
    """Remove `ended.json` of a job that turned out to have succeeded."""
    (store.job_dir(job_id) / ENDING).unlink(missing_ok=True)


def has_result(store: Store, job_id: str) -> bool:
    """Return whether a job's folder is complete."""
    return (store.job_dir(job_id) / RESULT).is_file()


def clear_results(store: Store, job_id: str, *, later: bool = False, keeps_regions: bool = False) -> None:
    """Remove everything from the folder of a job but the request and the ending, and regions where those are kept.

    May run twice at once. With `later`, folders are only out of sight when it returns, and removed after that, by a
    thread: for a process that goes on. With `keeps_regions`, they are kept also where no ending says so.
    """
    folder = store.job_dir(job_id)
    ending = read_ending(store, job_id)
    keeps_regions |= ending is not None and ending.keeps_regions
    kept = KEPT | REGIONS if keeps_regions else KEPT
    (folder / RESULT).unlink(missing_ok=True)  # first: without it nothing else is served
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in kept:
            continue
        if path.is_dir() and later:
            store.trash.drop(path)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def read_size(store: Store, job_id: str) -> int | None:
    """Return the bytes that a job is known to have on the disk; None if nobody has counted them, or not to the end."""
    try:
        return JobSize.model_validate_json((store.job_dir(job_id) / SIZE).read_bytes()).size_bytes
    except (OSError, ValueError):
        return None


def count_size(store: Store, job_id: str) -> int:
    """Count the bytes of all files of a job, and write `size.json`; one that is not there has none.

    Two who count at once do it one after the other, so the number that stays is the later one. Where it cannot be
    written, the next one who wants to know it counts again.
    """
    folder = store.job_dir(job_id)
    with _alone_in(folder) as is_there:
        size = bytes_below(folder, besides=SIZE)
        if is_there:
            with suppress(OSError, DiskFull):
                store.write_json(folder / SIZE, JobSize(size_bytes=size))
    return size


def add_size(store: Store, job_id: str, size_bytes: int) -> None:
    """Say that a job has so many more bytes than were counted; where nobody has counted, there is nothing to say."""
    folder = store.job_dir(job_id)
    with _alone_in(folder) as is_there:
        known = read_size(store, job_id)
        if is_there and known is not None:
            with suppress(OSError, DiskFull):
                store.write_json(folder / SIZE, JobSize(size_bytes=known + size_bytes))


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Let one at a time count a folder; gives whether it is there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(descriptor)


def _read_delivery(store: Store, job_id: str) -> WebhookDelivery:
    try:
        return WebhookDelivery.model_validate_json((store.job_dir(job_id) / DELIVERY).read_bytes())
    except FileNotFoundError:  # Redis lost what was due: nobody calls any more
        return WebhookDelivery(state="failed")


def _read_end(store: Store, job_id: str) -> dict[str, object]:
    """Return the fields in which a job that has ended differs from one that waits; none if it has not."""
    if ending := read_ending(store, job_id):
        return {"state": ending.state, "error": ending.error, "finished_at": ending.finished_at}
    try:
        result = store.read_result(job_id)
    except ResultNotReady:
        return {}
    counts = {"regions_done": result.regions, "regions_total": result.regions}
    return {"state": "succeeded", "finished_at": result.finished_at, **counts}


def read_ending(store: Store, job_id: str) -> Ending | None:
    """Return how a job ended that has no result; None if its folder does not say so."""
    try:
        return Ending.model_validate_json((store.job_dir(job_id) / ENDING).read_bytes())
    except FileNotFoundError:
        return None
