"""What is known of batches on the disk: which job belongs to which slide.

batches/<tenant>/<id>.json      `<tenant>` is a digest of its name: whose batches are asked for, no others are read

Where there is a storage, the record is there too, for gateways of other data folders.
"""

import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, FailFast, Field, ValidationError, model_validator

from server.catalogue.entries import BATCHES, batches_of
from workers.core.errors.jobs import BatchNotFound, OnAnotherHost
from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.own_labels import Labels
from workers.core.schemas import ErrorBody, JobOptions, JobRequest, JobState, Priority
from workers.core.storage.files import fsync_dir, write_json
from workers.core.storage.layout import batch_record
from workers.core.store import Store

SLIDES_MAX = 1000
ID_CHARS = 64
"""Longest text that is kept as the id of a slide: what is longer is none, and is not to fill the disk."""

REQUESTS_BYTES_MAX = 16 * 2**20
"""Of the requests of all jobs of a batch: each job keeps its own, with its region of interest."""

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
    labels: Labels = Field(default={})

    @model_validator(mode="after")
    def _not_too_much(self) -> Self:
        size = len(self.slide_ids) * len(self.model_dump_json(exclude={"slide_ids"}))
        if size > REQUESTS_BYTES_MAX:
            message = f"{len(self.slide_ids)} jobs of this size are {size} bytes, and {REQUESTS_BYTES_MAX} are accepted"
            raise ValueError(message)
        return self

    def for_slide(self, slide_id: str) -> JobRequest:
        """Return the same question for one slide."""
        return JobRequest(slide_id=slide_id, **self.model_dump(exclude={"slide_ids", "labels"}))


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


class BatchFiles:
    """The batches of a data folder. Every method blocks.

    Args:
        store: The data folder, with the storage, if there is one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.root
        self._folder = store.root / BATCHES

    def write(self, batch: StoredBatch) -> None:
        """Keep a batch, durably.

        Raises:
            OSError: The disk or the storage does not take it.
        """
        self._store.put_record(batch_record(batch.id), batch)  # first: what it does not take is not here either
        folder = batches_of(self._root, batch.tenant)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{batch.id}.json", batch)
        fsync_dir(folder)
        fsync_dir(self._folder)

    def remove(self, batch: StoredBatch) -> None:
        """Know nothing of a batch of this data folder any more; its jobs stay.

        Raises:
            OSError: The storage does not answer; it may be called again.
        """
        if self._store.storage is not None:
            self._store.storage.delete(batch_record(batch.id))
        (batches_of(self._root, batch.tenant) / f"{batch.id}.json").unlink(missing_ok=True)

    def find(self, batch_id: str, tenant: str | None = None) -> StoredBatch | None:
        """Return a batch of this or another data folder; None if there is none, or if it cannot be read.

        Args:
            batch_id: Its id.
            tenant: Whose it has to be; None: whoever's it is.

        Raises:
            BatchNotFound: The text is no identifier.
            OSError: It is not here, and the storage does not answer.
        """
        batch = self.find_own(batch_id, tenant)
        if batch is not None or self._store.storage is None:
            return batch
        try:
            batch = StoredBatch.model_validate_json(self._store.storage.get(batch_record(batch_id)))
        except (FileNotFoundError, ValidationError):
            return None
        return batch if tenant in (None, batch.tenant) else None

    def has(self, batch_id: str) -> bool:
        """Return whether a batch lies in this data folder, whether or not it can be read."""
        return any(self._folder.glob(f"*/{batch_id}.json"))

    def require_own(self, batch_id: str) -> None:
        """Return if a batch may be changed here.

        Raises:
            OnAnotherHost: It lies in another data folder.
        """
        if not self.has(batch_id):
            raise OnAnotherHost(
                "Another gateway has this batch.", value=batch_id, accepted="the same, asked of that one"
            )

    def find_own(self, batch_id: str, tenant: str | None = None) -> StoredBatch | None:
        """Return a batch of this data folder; None if there is none, or if it cannot be read, which is logged.

        Raises:
            BatchNotFound: The text is no identifier.
        """
        if not _NAME.fullmatch(batch_id):
            raise BatchNotFound("No batch has this id.", value=batch_id[:64], accepted="32 hexadecimal characters")
        whose = "*" if tenant is None else batches_of(self._root, tenant).name
        found = (self._read(path) for path in self._folder.glob(f"{whose}/{batch_id}.json"))
        return next((batch for batch in found if batch is not None), None)

    def all(self, tenant: str | None = None) -> Iterator[StoredBatch]:
        """Yield the batches of a tenant in this data folder; None: of all."""
        pattern = "*/*.json" if tenant is None else f"{batches_of(self._root, tenant).name}/*.json"
        for path in self._folder.glob(pattern):
            if _NAME.fullmatch(path.stem) and (batch := self._read(path)):
                yield batch

    def adopt(self) -> None:
        """Move what an earlier version kept directly in the folder to where it belongs."""
        for path in self._folder.glob("*.json"):
            if path.is_file() and _NAME.fullmatch(path.stem) and (batch := self._read(path)):
                self.write(batch)
                path.unlink()

    def _read(self, path: Path) -> StoredBatch | None:
        try:
            return StoredBatch.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("what is known of batch %s cannot be read: %s", path.stem, type(error).__name__)
            return None
