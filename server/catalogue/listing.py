"""Lists of slides and jobs, filtered and in pages: the index says which, the disk and the queue say what they are.

Of what is another data folder's the storage says it, as to who asks for it by id; many at once, for each takes a while.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from server.catalogue.catalogue import Catalogue
from server.catalogue.pages import JobFilter, SlideFilter
from server.catalogue.pagination import Place, page
from workers.core.errors.base import JobNotFound, SlideNotFound
from workers.core.job_files import stored_view, view_from_disk, with_labels, with_warnings
from workers.core.schemas import JobView
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store
from workers.core.stored.results import bring_result

AT_ONCE = 200
"""Jobs that are looked at in one exchange with Redis, where those of the first page are not enough."""

READERS = 8
"""Threads in which the storage is asked for what other data folders have."""

T = TypeVar("T")


def list_slides(
    catalogue: Catalogue, limit: int, wanted: SlideFilter | None = None, cursor: Place | None = None
) -> tuple[tuple[SlideInfo, ...], str | None]:
    """Return up to `limit` slides after a cursor, the newest first, and the cursor of the next page if there is one.

    Raises:
        OSError: The storage does not answer, and is to be asked for a slide of another data folder.
    """
    wanted = wanted or SlideFilter()
    catalogue.learn("slide")
    store = catalogue.jobs.store
    found: list[tuple[Place, SlideInfo]] = []
    size = limit + 1
    while len(found) <= limit:
        entries = catalogue.entries("slide", wanted.conditions(), cursor, size)
        away = _of_others(catalogue, store.has_slide, partial(_stored_slide, store), [entry.id for entry in entries])
        for entry in entries:
            info = away[entry.id] if entry.id in away else _own_slide(store, entry.id)
            if info is not None and wanted.tenant in (None, info.tenant):
                found.append((entry, info))
        if len(entries) < size:
            break
        cursor = entries[-1]
    return page(found, limit)


def list_jobs(
    catalogue: Catalogue, limit: int, wanted: JobFilter | None = None, cursor: Place | None = None
) -> tuple[tuple[JobView, ...], str | None]:
    """Return up to `limit` jobs after a cursor, the newest first, and the cursor of the next page if there is one.

    Raises:
        QueueUnavailable: Redis does not answer.
        OSError: The storage does not answer, and is to be asked for a job of another data folder.
    """
    wanted = wanted or JobFilter()
    if wanted.concerns_slides():
        catalogue.learn("slide")
    catalogue.learn("job")
    jobs, found = catalogue.jobs, list[tuple[Place, JobView]]()
    size = limit + 1
    while len(found) <= limit:
        entries = catalogue.entries("job", wanted.conditions(), cursor, size)
        known = dict(zip(entries, jobs.views([entry.id for entry in entries]), strict=True))
        known = {entry: view for entry, view in known.items() if view is None or wanted.may_let_through(view)}
        in_queue = {entry.id: view for entry, view in known.items()}
        away = _of_others(catalogue, jobs.store.owns_job, partial(_stored_job, jobs.store, in_queue), [*in_queue])
        for entry, seen in known.items():
            view = away[entry.id] if entry.id in away else _own_job(jobs.store, entry.id, seen)
            if view is not None and wanted.warning is not None:
                view = with_warnings(jobs.store, view)
            if view is not None and wanted.lets_through(view):
                found.append((entry, view))
        if len(entries) < size:
            break
        cursor, size = entries[-1], AT_ONCE
    items, following = page(found, limit)
    return tuple(_in_list(with_warnings(jobs.store, view)) for view in items), following


def _of_others(
    catalogue: Catalogue, is_own: Callable[[str], bool], read: Callable[[str], T], names: Sequence[str]
) -> Mapping[str, T]:
    """Return what is read of entries that lie in other data folders; nothing where the index has only this one."""
    away = [name for name in names if not is_own(name)] if catalogue.is_shared else []
    if not away:
        return {}
    with ThreadPoolExecutor(min(READERS, len(away))) as pool:
        return dict(zip(away, pool.map(read, away), strict=True))


def _own_slide(store: Store, slide_id: str) -> SlideInfo | None:
    try:
        return store.read_slide(slide_id)
    except (SlideNotFound, OSError, ValueError):  # deleted or damaged since
        return None


def _stored_slide(store: Store, slide_id: str) -> SlideInfo | None:
    try:
        return store.read_slide(slide_id)
    except (SlideNotFound, ValueError):  # it is gone, and its row not yet, or for good if its gateway is
        return None


def _own_job(store: Store, job_id: str, in_queue: JobView | None) -> JobView | None:
    return stored_view(store, job_id) if in_queue is None else with_labels(store, in_queue)


def _stored_job(store: Store, in_queue: Mapping[str, JobView | None], job_id: str) -> JobView | None:
    """Return a job of another data folder, with the records of its result at hand; None if it is gone there."""
    view = in_queue[job_id]
    try:
        if view is None or view.state == "succeeded":
            bring_result(store, job_id)
        if view is None:
            return view_from_disk(store, job_id)
        return view.model_copy(update={"labels": store.read_request(job_id).labels})
    except (JobNotFound, FileNotFoundError, ValueError):
        return None


def _in_list(view: JobView) -> JobView:
    """Return a job without the places of its warnings: a thousand jobs would have a hundred thousand."""
    warnings = tuple(each.model_copy(update={"places": ()}) for each in view.warnings)
    return view.model_copy(update={"warnings": warnings})
