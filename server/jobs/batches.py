"""One question for many slides: a job for each, so that a bad slide fails alone.

`batches/<id>.json` in the data folder says which job belongs to which slide. It is written before the first job is, so
that a batch that was cut short is completed by sending it again with the same Idempotency-Key.
"""

import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, FailFast, Field, ValidationError

from server.access.limits import Wanted
from server.jobs.idempotency import Reservation
from server.jobs.pagination import Place, after, page, place_of
from server.jobs.submission import Admission, Requester
from workers.core.errors.base import Invalid, LDiffusionError, NotFound, RequestInvalid
from workers.core.errors.jobs import BatchNotFound
from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.job_files import stored_view
from workers.core.queue.jobs import Jobs
from workers.core.schemas import FINAL_STATES, ErrorBody, JobOptions, JobRequest, JobState, JobView, Priority
from workers.core.store import fsync_dir, new_id, write_json

SLIDES_MAX = 1000
ID_CHARS = 64
"""Longest text that is kept as the id of a slide: what is longer is none, and is not to fill the disk."""

logger = logging.getLogger(__name__)
_NAME = re.compile(r"[0-9a-zA-Z]+")
ItemState = JobState | Literal["refused", "deleted"]


def _different(slide_ids: tuple[str, ...]) -> tuple[str, ...]:
    twice = [slide_id for slide_id, count in Counter(slide_ids).items() if count > 1]
    if twice:
        message = f"slide {twice[0][:64]} is named twice"
        raise ValueError(message)
    return slide_ids


SlideId = Annotated[str, Field(min_length=1, max_length=ID_CHARS)]


class BatchRequest(JobOptions):
    """What a client asks of many slides at once."""

    slide_ids: Annotated[
        tuple[SlideId, ...], FailFast(), Field(min_length=1, max_length=SLIDES_MAX), AfterValidator(_different)
    ]
    priority: Priority = "batch"

    def for_slide(self, slide_id: str) -> JobRequest:
        """Return the same question for one slide."""
        return JobRequest(slide_id=slide_id, **self.model_dump(exclude={"slide_ids"}))


class StoredItem(Frozen):
    """One slide of a batch: its job, or why there is none."""

    slide_id: str
    job_id: str | None = None
    error: ErrorBody | None = None


class StoredBatch(Frozen):
    """`batches/<id>.json`."""

    id: str
    tenant: str = LOCAL_TENANT
    created_at: datetime
    request: BatchRequest
    items: tuple[StoredItem, ...]


def batch_missing(batch_id: str) -> BatchNotFound:
    """Return the error of an id that no batch has; another tenant's batch is told by the very same."""
    return BatchNotFound("No batch has this id.", value=batch_id[:64])


def job_id_of(batch_id: str, slide_id: str) -> str:
    """Return the id of the job on a slide of a batch: the same, however often the batch is made."""
    return uuid.uuid5(uuid.UUID(batch_id), slide_id).hex


class BatchItem(StoredItem):
    """One slide of a batch, as it stands."""

    state: ItemState = Field(description="Of its job; `refused`: there never was one; `deleted`: there was.")


class BatchView(Frozen):
    """What a client sees of a batch."""

    id: str
    created_at: datetime
    done: bool = Field(description="Whether nothing of it is waiting or running.")
    counts: dict[ItemState, int] = Field(description="Slides by state.")
    items: tuple[BatchItem, ...]


class Batches:
    """All batches of a data folder.

    Args:
        jobs: The queue.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._folder = jobs.store.root / "batches"

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
                if self._stored(batch_id) is None:
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
        self, limit: int, cursor: Place | None = None, tenant: str = LOCAL_TENANT
    ) -> tuple[tuple[BatchView, ...], str | None]:
        """Return up to `limit` batches of a tenant after a cursor, the newest first, and the next page's cursor."""
        stored = {batch.id: batch for batch in self._all() if batch.tenant == tenant}
        places = after(map(place_of, stored.values()), cursor)[: limit + 1]
        shown, following = page([(place, stored[place.id]) for place in places], limit)
        return tuple(self._view(batch) for batch in shown), following

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

    def drop_jobless(self, concerns: Callable[[StoredBatch], bool]) -> None:
        """Remove what is known of batches none of whose jobs is left; of the others, nothing.

        Args:
            concerns: Which batches are looked at: one that is being made has no jobs yet.
        """
        for batch in filter(concerns, self._all()):
            if not any(item.job_id and self.jobs.store.job_dir(item.job_id).exists() for item in batch.items):
                self._path(batch.id).unlink(missing_ok=True)

    def _make(self, batch_id: str, request: BatchRequest, requester: Requester) -> BatchView:
        """Make a batch, or what is missing of one that was cut short."""
        if batch := self._stored(batch_id):
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
            self._folder.mkdir(exist_ok=True)
            write_json(self._path(batch_id), batch)
            fsync_dir(self._folder)
            self._complete(batch)
        return self.view(batch_id)

    def _complete(self, batch: StoredBatch) -> None:
        """Make the jobs of a batch that are not there."""
        admission = Admission(self.jobs, batch.tenant)
        known = self.jobs.views([item.job_id or "" for item in batch.items])
        for item, view in zip(batch.items, known, strict=True):
            if item.job_id is not None and view is None and not self.jobs.store.job_dir(item.job_id).exists():
                self._create(admission, item.job_id, batch.request.for_slide(item.slide_id))

    def _create(self, admission: Admission, job_id: str, asked: JobRequest) -> None:
        try:
            admission.create(job_id, asked, admission.admit(asked))
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
            view or (stored_view(self.jobs.store, job_id) if job_id else None)
            for job_id, view in zip(job_ids, in_redis, strict=True)
        ]

    def _read(self, batch_id: str) -> StoredBatch:
        batch = self._stored(batch_id)
        if batch is None:
            raise batch_missing(batch_id)
        return batch

    def _all(self) -> Iterator[StoredBatch]:
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            if _NAME.fullmatch(path.stem) and (batch := self._stored(path.stem)):
                yield batch

    def _stored(self, batch_id: str) -> StoredBatch | None:
        try:
            return StoredBatch.model_validate_json(self._path(batch_id).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("what is known of batch %s cannot be read: %s", batch_id, type(error).__name__)
            return None

    def _path(self, batch_id: str) -> Path:
        if not _NAME.fullmatch(batch_id):
            raise BatchNotFound("No batch has this id.", value=batch_id[:64], accepted="32 hexadecimal characters")
        return self._folder / f"{batch_id}.json"


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
