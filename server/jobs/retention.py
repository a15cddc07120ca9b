"""Deletion that leaves nothing: a slide goes with its jobs, their results and caches; by age, or because it is asked.

A slide is as old as the last thing that was done with it: its upload, or the last job on it. So nothing is deleted by
age that is younger than `retention_days`. A job that has not ended pins itself and its slide.

What is on disk decides: a job has ended when its folder says so. So nothing is lost because Redis forgot a job.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from server.jobs.batches import Batches
from workers.core.errors.base import JobNotFound, SlideInUse, SlideNotFound
from workers.core.frozen import Frozen
from workers.core.job_files import stored_view
from workers.core.queue.jobs import Jobs
from workers.core.schemas import FINAL_STATES, JobView
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.files import bytes_below
from workers.core.stored.jobs import remove_stored_job, require_own_job
from workers.core.stored.slides import remove_stored_slide, require_own_slide

Reason = Literal["age", "request"]


class Removed(Frozen):
    """What is gone for good."""

    kind: Literal["slide", "job"]
    id: str
    reason: Reason
    size_bytes: int
    slide_id: str
    is_whole: bool = Field(default=True, description="Not if the disk would not let go of all files: tried again.")


Tell = Callable[[Removed], None]
"""Is told of each thing that is gone: writes it into the audit log, and drops what is held of it in memory."""


class Retention:
    """Removes slides and jobs. Every method blocks, and may run in several processes at once.

    Args:
        jobs: The queue, with its data folder.
        tell: Called after each removal.
    """

    def __init__(self, jobs: Jobs, tell: Tell) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._tell = tell
        self._batches = Batches(jobs)
        self._batches.files.adopt()
        self._days = jobs.settings.retention_days

    def sweep(self, now: datetime) -> int:
        """Remove what is older than `retention_days`; if that is 0, only what deletions left behind.

        Returns:
            The number of slides and jobs that are gone.

        Raises:
            QueueUnavailable: Redis does not answer; nothing was removed, or a part, and the next sweep goes on.
        """
        self._store.empty_trash()
        if self._store.storage is not None:
            self._jobs.ends.tend_scratch()
        if not self._days:
            return 0
        self._jobs.ping()  # a job goes from the disk first: better not to begin than to leave it half known
        cutoff = now - timedelta(days=self._days)
        by_slide, being_read = self._by_slide(), {view.request.slide_id for view in self._active_in_queue()}
        count = 0
        for info in self._store.list_slides():
            views = by_slide.pop(info.id, [])
            is_free = info.id not in being_read and all(_is_old(view, cutoff) for view in views)
            if info.created_at < cutoff and is_free:
                count += self._remove_slide(info, views, "age")
            else:
                count += self._remove_jobs([view for view in views if _is_old(view, cutoff)], "age")
        for views in by_slide.values():  # their slides are gone already
            count += self._remove_jobs([view for view in views if _is_old(view, cutoff)], "age")
        self._batches.drop_jobless(lambda batch: batch.created_at < cutoff)
        return count

    def remove_slide(self, slide_id: str) -> None:
        """Remove a slide with its jobs and all that came of them.

        Raises:
            SlideNotFound: There is no such slide.
            SlideInUse: A job on it has not ended.
            OnAnotherHost: Its truth lies in another data folder.
            QueueUnavailable: Redis does not answer.
        """
        info = self._store.read_slide(slide_id)
        require_own_slide(self._store, slide_id)
        views = [self._settled(view) for view in self._by_slide()[slide_id]]
        active = [view.id for view in views if view.state not in FINAL_STATES]
        active += [view.id for view in self._active_in_queue() if view.request.slide_id == slide_id]
        if active:
            raise SlideInUse(
                "A job still reads this slide.", value=active[0], accepted="a slide without queued or running jobs"
            )
        self._remove_slide(info, views, "request")
        self._drop_batches_of(info.tenant, *(view.id for view in views))

    def remove_job(self, job_id: str) -> None:
        """Remove a job that has ended, with its results.

        Raises:
            JobNotFound: There is no such job.
            OnAnotherHost: Its truth lies in another data folder.
            QueueUnavailable: Redis does not answer.
        """
        view = self._jobs.view(job_id)
        require_own_job(self._store, job_id)
        self._remove_jobs([view], "request")
        self._drop_batches_of(view.tenant, job_id)

    def remove_batch(self, batch_id: str) -> None:
        """Remove a batch with its jobs in this data folder and their results; all that have not ended are canceled.

        Raises:
            BatchNotFound: There is none of this id.
            OnAnotherHost: It lies in another data folder.
            QueueUnavailable: Redis does not answer; what is left goes when it is asked for again.
        """
        self._batches.require_own(batch_id)
        self._batches.cancel(batch_id, running=True)
        views = [view for view in self._batches.job_views(batch_id) if self._store.owns_job(view.id)]
        self._remove_jobs(views, "request")
        self._batches.remove(batch_id)

    def _active_in_queue(self) -> Sequence[JobView]:
        """Return jobs that have not ended, those of other data folders among them if slides are shared by a storage."""
        return () if self._store.storage is None else self._jobs.active()

    def _settled(self, view: JobView) -> JobView:
        """Return a job after an end that only the queue knew of has come to the disk too."""
        is_news = view.state not in FINAL_STATES and self._jobs.settle(view.id)
        return (stored_view(self._store, view.id) or view) if is_news else view

    def _by_slide(self) -> defaultdict[str, list[JobView]]:
        found: defaultdict[str, list[JobView]] = defaultdict(list)
        for job_id in self._store.list_jobs():
            view = stored_view(self._store, job_id)
            if view is not None and view.state not in FINAL_STATES and self._store.storage is not None:
                view = stored_view(self._store, job_id) if self._jobs.ends.learn(job_id) else view
            if view is not None:  # what cannot be read stays
                found[view.request.slide_id].append(view)
        return found

    def _remove_slide(self, info: SlideInfo, views: list[JobView], reason: Reason) -> int:
        # The jobs first: whoever dies in between leaves a slide without jobs, which the next attempt finds again.
        count = self._remove_jobs(views, reason)
        size = bytes_below(self._store.slide_dir(info.id))
        remove_stored_slide(self._store, info.id)
        with suppress(SlideNotFound):  # another process was quicker
            whole = self._store.delete_slide(info.id)
            self._tell(
                Removed(kind="slide", id=info.id, reason=reason, size_bytes=size, slide_id=info.id, is_whole=whole)
            )
            count += 1
        return count

    def _remove_jobs(self, views: Sequence[JobView], reason: Reason) -> int:
        count = 0
        for view in views:
            size = bytes_below(self._store.job_dir(view.id))
            # The storage first: one that does not answer leaves the job, to be asked for again.
            remove_stored_job(self._store, view.id)
            self._jobs.is_going(view.id)
            # The folder first: what is on disk and not in the queue would count as lost, and be submitted again.
            is_whole: bool | None = None
            with suppress(JobNotFound):  # another process was quicker
                is_whole = self._store.delete_job(view.id)
            self._jobs.forget(view.id)
            if is_whole is not None:
                slide_id = view.request.slide_id
                self._tell(
                    Removed(
                        kind="job", id=view.id, reason=reason, size_bytes=size, slide_id=slide_id, is_whole=is_whole
                    )
                )
                count += 1
        return count

    def _drop_batches_of(self, tenant: str, *job_ids: str) -> None:
        self._batches.drop_jobless(lambda batch: any(item.job_id in job_ids for item in batch.items), tenant)


def _is_old(view: JobView, cutoff: datetime) -> bool:
    return view.state in FINAL_STATES and (view.finished_at or view.created_at) < cutoff
