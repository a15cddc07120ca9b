"""One question for many slides: a job for each, so that a bad slide fails alone.

A record in the data folder says which job belongs to which slide. It is written before the first job is, so that a
batch that was cut short is completed by sending it again with the same Idempotency-Key.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from server.access.limits import Wanted
from server.catalogue.catalogue import Catalogue
from server.catalogue.pages import of_tenant
from server.catalogue.pagination import Place, page
from server.jobs.batch_records import (
    BatchFiles,
    BatchItem,
    BatchRequest,
    BatchView,
    ItemState,
    StoredBatch,
    StoredItem,
    batch_missing,
    job_id_of,
)
from server.jobs.idempotency import Reservation
from server.jobs.submission import Admission, Requester
from workers.core.errors.base import Invalid, LDiffusionError, NotFound, RequestInvalid
from workers.core.frozen import LOCAL_TENANT
from workers.core.job_files import stored_view
from workers.core.queue.jobs import Jobs
from workers.core.schemas import FINAL_STATES, ErrorBody, JobRequest, JobView
from workers.core.store import new_id
from workers.core.stored.jobs import may_be_elsewhere
from workers.core.stored.results import bring_result

logger = logging.getLogger(__name__)


class Batches:
    """All batches of a data folder.

    Args:
        jobs: The queue.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.files = BatchFiles(jobs.store)

    def make(self, request: BatchRequest, requester: Requester) -> BatchView:
        """Make a job for every slide that can have one.

        Raises:
            KeyReused: The key came before, with another request.
            KeyInUse: A request with the key is still being worked on.
            RequestInvalid: No slide of it can have a job; nothing is kept.
            QuotaExceeded: The tenant may not have so many more jobs, or their results, or one more batch; none is made.
            QueueUnavailable: Redis does not answer; what was made runs, and sending it again completes it.
        """
        if requester.key is None:
            return self._make(new_id(), request, requester)
        reservation = Reservation(self.jobs, "batch", requester.key, request, requester.tenant)
        with reservation.turn():
            batch_id = reservation.take(new_id())
            try:
                return self._make(batch_id, request, requester)
            except LDiffusionError:
                if self.files.find(batch_id) is None:
                    reservation.release()
                raise

    def owner(self, batch_id: str) -> str:
        """Return the tenant whose batch this is.

        Raises:
            BatchNotFound: There is none of this id.
        """
        return self._read(batch_id).tenant

    def view(self, batch_id: str) -> BatchView:
        """Return a batch with the state of each of its jobs.

        Raises:
            BatchNotFound: There is none of this id.
            QueueUnavailable: Redis does not answer.
        """
        return self._view(self._read(batch_id))

    def list(
        self, catalogue: Catalogue, limit: int, cursor: Place | None = None, tenant: str = LOCAL_TENANT
    ) -> tuple[tuple[BatchView, ...], str | None]:
        """Return up to `limit` batches of a tenant after a cursor, the newest first, and the next page's cursor."""
        catalogue.learn("batch", tenant)
        places = catalogue.entries("batch", of_tenant(tenant), cursor, limit + 1)
        stored = [(place, self.files.find(place.id, tenant)) for place in places]
        shown, following = page(stored, limit)
        return tuple(self._view(batch) for batch in shown if batch is not None), following

    def cancel(self, batch_id: str, *, running: bool) -> BatchView:
        """Cancel the jobs that have not started; with `running`, those at work as well.

        Raises:
            BatchNotFound: There is none of this id.
            QueueUnavailable: Redis does not answer.
        """
        for item in reversed(self.view(batch_id).items):  # the last first: those at the front may start meanwhile
            if item.job_id and (item.state == "queued" or (running and item.state not in {*FINAL_STATES, "deleted"})):
                self.jobs.cancel(item.job_id)
        return self.view(batch_id)

    def remove(self, batch_id: str) -> None:
        """Remove what is known of a batch; its jobs and their results stay.

        Raises:
            BatchNotFound: There is none of this id.
            OnAnotherHost: It lies in another data folder.
        """
        batch = self.require_own(batch_id)
        self.files.remove(batch)

    def require_own(self, batch_id: str) -> StoredBatch:
        """Return a batch that may be changed here.

        Raises:
            BatchNotFound: There is none of this id.
            OnAnotherHost: It lies in another data folder.
        """
        batch = self._read(batch_id)
        self.files.require_own(batch_id)
        return batch

    def job_views(self, batch_id: str) -> Sequence[JobView]:
        """Return the jobs of a batch that are there.

        Raises:
            BatchNotFound: There is none of this id.
            QueueUnavailable: Redis does not answer.
        """
        views = self._views([item.job_id for item in self._read(batch_id).items])
        return [view for view in views if view is not None]

    def drop_jobless(self, concerns: Callable[[StoredBatch], bool], tenant: str | None = None) -> None:
        """Remove what is known of batches none of whose jobs is left; of the others, nothing.

        Args:
            concerns: Which batches are looked at: one that is being made has no jobs yet.
            tenant: Whose; None: everybody's.
        """
        for batch in filter(concerns, self.files.all(tenant)):
            if not any(item.job_id and self._is_there(item.job_id) for item in batch.items):
                self.files.remove(batch)

    def _make(self, batch_id: str, request: BatchRequest, requester: Requester) -> BatchView:
        """Make a batch, or what is missing of one that was cut short."""
        if batch := self.files.find(batch_id):
            self._complete(batch)
            return self.view(batch_id)
        batch, size_bytes = self._lay_out(batch_id, request, requester.tenant)
        _check_any(batch.items)
        wanted = Wanted(
            jobs=sum(item.job_id is not None for item in batch.items),
            size_bytes=size_bytes + len(batch.model_dump_json()),
            batches=1,
        )
        with requester.room(wanted):
            self.files.write(batch)
            self._complete(batch)
        return self.view(batch_id)

    def _complete(self, batch: StoredBatch) -> None:
        """Make the jobs of a batch that are not there."""
        admission = Admission(self.jobs, batch.tenant)
        known = self.jobs.views([item.job_id or "" for item in batch.items])
        for item, view in zip(batch.items, known, strict=True):
            if item.job_id is not None and view is None and not self._is_there(item.job_id):
                self._create(admission, item.job_id, batch.request.for_slide(item.slide_id), batch.request.labels)

    def _is_there(self, job_id: str) -> bool:
        """Whether a job is in this data folder, or may be in another: the batch was sent again to another gateway."""
        return self.jobs.store.own_job_dir(job_id).exists() or may_be_elsewhere(self.jobs.store, job_id)

    def _create(self, admission: Admission, job_id: str, asked: JobRequest, labels: Mapping[str, str]) -> None:
        try:
            admission.create(job_id, asked, admission.admit(asked), labels)
        except (NotFound, Invalid):  # since the batch was laid out: its slide was deleted, or its model
            logger.warning("slide %s of a batch can no longer be segmented", asked.slide_id)

    def _lay_out(self, batch_id: str, request: BatchRequest, tenant: str) -> tuple[StoredBatch, int]:
        """Return a batch that nothing is written of yet, and the bytes that its results may take."""
        admission = Admission(self.jobs, tenant)
        items = tuple(self._item(admission, batch_id, request.for_slide(slide_id)) for slide_id in request.slide_ids)
        batch = StoredBatch(id=batch_id, tenant=tenant, created_at=datetime.now(UTC), request=request, items=items)
        return batch, admission.disk_bytes

    def _item(self, admission: Admission, batch_id: str, asked: JobRequest) -> StoredItem:
        try:
            admission.admit(asked)
        except (NotFound, Invalid) as error:
            return StoredItem(slide_id=asked.slide_id, error=ErrorBody.model_validate(error.as_dict()))
        return StoredItem(slide_id=asked.slide_id, job_id=job_id_of(batch_id, asked.slide_id))

    def _view(self, batch: StoredBatch) -> BatchView:
        views = self._views([item.job_id for item in batch.items])
        items = tuple(_shown(item, view) for item, view in zip(batch.items, views, strict=True))
        counts: Counter[ItemState] = Counter(item.state for item in items)
        done = all(item.state in {*FINAL_STATES, "refused", "deleted"} for item in items)
        return BatchView(id=batch.id, created_at=batch.created_at, done=done, counts=dict(counts), items=items)

    def _views(self, job_ids: Sequence[str | None]) -> Sequence[JobView | None]:
        in_redis = self.jobs.views([job_id or "" for job_id in job_ids])
        return [
            view or (self._stored_view(job_id) if job_id else None)
            for job_id, view in zip(job_ids, in_redis, strict=True)
        ]

    def _stored_view(self, job_id: str) -> JobView | None:
        bring_result(self.jobs.store, job_id)
        return stored_view(self.jobs.store, job_id)

    def _read(self, batch_id: str) -> StoredBatch:
        batch = self.files.find(batch_id)
        if batch is None:
            raise batch_missing(batch_id)
        return batch


def _check_any(items: Sequence[StoredItem]) -> None:
    """Refuse a batch without a job: nobody could follow it, and it would stay for good."""
    first = items[0].error
    if first is not None and all(item.job_id is None for item in items):
        raise RequestInvalid(
            f"No slide of this batch can have a job. Of the first: {first.message}",
            value=items[0].slide_id,
            accepted="at least one slide that can be segmented",
        )


def _shown(item: StoredItem, view: JobView | None) -> BatchItem:
    if item.job_id is None:
        return BatchItem(**dict(item), state="refused")
    if view is None:
        return BatchItem(**dict(item), state="deleted")
    return BatchItem(slide_id=item.slide_id, job_id=item.job_id, state=view.state, error=view.error)
