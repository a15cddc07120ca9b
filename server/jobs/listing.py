"""Lists of jobs: those that Redis knows and those that only the disk knows, filtered and in pages."""

from collections.abc import Iterator
from datetime import datetime

from server.jobs.pagination import Place, after, page, place_of
from workers.core.frozen import Frozen
from workers.core.job_files import stored_view, with_warnings
from workers.core.queue.exchange import answering
from workers.core.queue.jobs import Jobs
from workers.core.queue.keys import JOBS
from workers.core.schemas import JobState, JobView

AT_ONCE = 200
"""Jobs that are looked at in one exchange with Redis."""


class JobFilter(Frozen):
    """Which jobs to list; None lets all through."""

    tenant: str | None = None
    states: tuple[JobState, ...] = ()
    slide_id: str | None = None
    model: str | None = None
    since: datetime | None = None

    def lets_through(self, view: JobView) -> bool:
        """Whether a job is to be listed, its age apart."""
        return (
            self.tenant in (None, view.tenant)
            and (not self.states or view.state in self.states)
            and self.slide_id in (None, view.request.slide_id)
            and self.model in (None, view.request.model)
        )


def list_jobs(
    jobs: Jobs, limit: int, wanted: JobFilter | None = None, cursor: Place | None = None
) -> tuple[tuple[JobView, ...], str | None]:
    """Return up to `limit` jobs after a cursor, the newest first, and the cursor of the next page if there is one.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    wanted = wanted or JobFilter()
    found: list[tuple[Place, JobView]] = []
    for view in _newest_first(jobs, cursor):
        if len(found) > limit or (wanted.since is not None and view.created_at < wanted.since):
            break
        if wanted.lets_through(view):
            found.append((place_of(view), with_warnings(jobs.store, view)))
    return page(found, limit)


def _newest_first(jobs: Jobs, cursor: Place | None) -> Iterator[JobView]:
    known = _known(jobs)
    seen = {place.id for place in known}
    on_disk = {
        view.id: view
        for job_id in jobs.store.list_jobs()
        if job_id not in seen
        if (view := stored_view(jobs.store, job_id))
    }
    places = after([*known, *map(place_of, on_disk.values())], cursor)
    for start in range(0, len(places), AT_ONCE):
        ids = [place.id for place in places[start : start + AT_ONCE]]
        for job_id, in_redis in zip(ids, jobs.views(ids), strict=True):
            view = in_redis or on_disk.get(job_id) or stored_view(jobs.store, job_id)
            if view is not None:
                yield view


def _known(jobs: Jobs) -> list[Place]:
    with answering():
        return [Place(score, member.decode()) for member, score in jobs.redis.zrange(JOBS, 0, -1, withscores=True)]
