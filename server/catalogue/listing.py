"""Lists of slides and jobs, filtered and in pages: the index says which, the disk and the queue say what they are."""

from server.catalogue.catalogue import Catalogue
from server.catalogue.pages import JobFilter, SlideFilter
from server.catalogue.pagination import Place, page
from workers.core.errors.base import SlideNotFound
from workers.core.job_files import stored_view, with_labels, with_warnings
from workers.core.schemas import JobView
from workers.core.slide_schemas import SlideInfo

AT_ONCE = 200
"""Jobs that are looked at in one exchange with Redis, where those of the first page are not enough."""


def list_slides(
    catalogue: Catalogue, limit: int, wanted: SlideFilter | None = None, cursor: Place | None = None
) -> tuple[tuple[SlideInfo, ...], str | None]:
    """Return up to `limit` slides after a cursor, the newest first, and the cursor of the next page if there is one."""
    wanted = wanted or SlideFilter()
    catalogue.learn("slide")
    found: list[tuple[Place, SlideInfo]] = []
    size = limit + 1
    while len(found) <= limit:
        entries = catalogue.entries("slide", wanted.conditions(), cursor, size)
        for entry in entries:
            try:
                info = catalogue.jobs.store.read_slide(entry.id)
            except (SlideNotFound, OSError, ValueError):  # deleted or damaged since
                continue
            if wanted.tenant in (None, info.tenant):
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
    """
    wanted = wanted or JobFilter()
    if wanted.concerns_slides():
        catalogue.learn("slide")
    catalogue.learn("job")
    jobs, found = catalogue.jobs, list[tuple[Place, JobView]]()
    size = limit + 1
    while len(found) <= limit:
        entries = catalogue.entries("job", wanted.conditions(), cursor, size)
        in_redis = jobs.views([entry.id for entry in entries])
        for entry, known in zip(entries, in_redis, strict=True):
            view = stored_view(jobs.store, entry.id) if known is None else with_labels(jobs.store, known)
            if view is not None and wanted.warning is not None:
                view = with_warnings(jobs.store, view)
            if view is not None and wanted.lets_through(view):
                found.append((entry, view))
        if len(entries) < size:
            break
        cursor, size = entries[-1], AT_ONCE
    items, following = page(found, limit)
    return tuple(_in_list(with_warnings(jobs.store, view)) for view in items), following


def _in_list(view: JobView) -> JobView:
    """Return a job without the places of its warnings: a thousand jobs would have a hundred thousand."""
    warnings = tuple(each.model_copy(update={"places": ()}) for each in view.warnings)
    return view.model_copy(update={"warnings": warnings})
