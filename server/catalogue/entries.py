"""What is known of an entry of the index, and how it is read from the disk."""

import hashlib
import time
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from workers.core.errors.base import NotFound, ResultNotReady
from workers.core.frozen import Frozen
from workers.core.job_files import ENDING, count_size, has_result, read_ending, read_size
from workers.core.products import read_made
from workers.core.schemas import StoredRequest
from workers.core.storage.files import bytes_below
from workers.core.store import Store

Kind = Literal["slide", "job", "batch"]
BATCHES = "batches"
CLEARED_S = 60.0
"""Seconds after which what an ended job had made is gone, or is on the disk to stay: only then it is settled."""

NOBODY = ""
"""Whose an entry is that cannot be read (yet)."""


def batches_of(root: Path, tenant: str) -> Path:
    """Return the folder of a tenant's batches in a data folder, whether or not it is there."""
    return root / BATCHES / hashlib.sha256(tenant.encode()).hexdigest()[:32]


class Stored(Frozen):
    """What a tenant has on the disk, in bytes. Jobs that have not ended count with what they take at most."""

    slides_bytes: int = 0
    jobs_bytes: int = 0
    batches_bytes: int = 0
    slides: int = 0
    jobs: int = 0
    batches: int = 0

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return self.slides_bytes + self.jobs_bytes + self.batches_bytes


ASIDE = ("labels", "warnings")
"""Facts that stand in tables of their own."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the index says of one entry.

    Attributes:
        kind: What it is.
        id: Its name on its shelf.
        shelf: The folder that it lies in, see `server.catalogue.mirror.Shelf`.
        host: Name of the data folder; empty in an index that has only one.
        tenant: Whose it is; `NOBODY` if it cannot be read.
        created_at: Unix seconds.
        size_bytes: What it takes on the disk, or, of a job that has not ended, what it takes at most.
        name: Of a slide, without regard to case.
        sha256: Of a slide, as it was uploaded.
        slide_id: Of a job.
        model: Of a job.
        state: Of a job that has ended; else empty.
        asked: Products of a job that were asked for and are not made.
        labels: Names and values of the tenant's own.
        warnings: Codes; of a job that has succeeded.
        is_settled: Nothing of it changes but by who says so; what is not settled is read again when it is asked for.
    """

    kind: Kind
    id: str
    shelf: str
    host: str = ""
    tenant: str = NOBODY
    created_at: float = 0.0
    size_bytes: int = 0
    name: str = ""
    sha256: str = ""
    slide_id: str = ""
    model: str = ""
    state: str = ""
    asked: frozenset[str] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()
    warnings: frozenset[str] = frozenset()
    is_settled: bool = False

    def row(self) -> dict[str, Any]:
        """Return the columns of its row, but for the revision."""
        columns = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ASIDE}
        return columns | {"asked": " ".join(sorted(self.asked))}


class _Batch(BaseModel):
    """What counts of the record of a batch."""

    model_config = ConfigDict(extra="ignore")

    tenant: str
    created_at: datetime


class Reader:
    """Reads entries from a data folder.

    Args:
        store: The data folder.
        host: Its name in the index.
    """

    def __init__(self, store: Store, host: str = "") -> None:
        self._store = store
        self._host = host

    def read(self, kind: Kind, name: str, shelf: str, folder: Path, asked: frozenset[str] = frozenset()) -> Facts:
        """Return what the disk says of an entry; of one that cannot be read, that it is nobody's."""
        try:
            if kind == "slide":
                return self._slide(name, shelf)
            if kind == "batch":
                return self._batch(name, shelf, folder / f"{name}.json")
            return self._job(name, shelf, asked)
        except (OSError, ValueError, NotFound):  # being made, being deleted, or damaged
            return Facts(kind, name, shelf, self._host)

    def size(self, job_id: str) -> int | None:
        """Return what a job takes on the disk; None as long as it has not ended."""
        folder = self._store.job_dir(job_id)
        if (size := read_size(self._store, job_id)) is not None:
            return size
        if (folder / ENDING).exists():  # nothing is to stay in its folder but that, so no number either
            return bytes_below(folder)
        return count_size(self._store, job_id) if has_result(self._store, job_id) else None

    def _slide(self, slide_id: str, shelf: str) -> Facts:
        info = self._store.read_slide(slide_id)
        return Facts(
            "slide",
            slide_id,
            shelf,
            self._host,
            info.tenant,
            info.created_at.timestamp(),
            info.size_bytes,
            name=info.filename.casefold(),
            sha256=info.sha256,
            labels=frozenset(info.labels.items()),
            warnings=frozenset(warning.code for warning in info.warnings),
            is_settled=True,
        )

    def _batch(self, batch_id: str, shelf: str, path: Path) -> Facts:
        content = path.read_bytes()
        batch = _Batch.model_validate_json(content)
        whose = self._host, batch.tenant, batch.created_at.timestamp()
        return Facts("batch", batch_id, shelf, *whose, len(content), is_settled=True)

    def _job(self, job_id: str, shelf: str, asked: frozenset[str]) -> Facts:
        stored = self._store.read_request(job_id)
        size = self.size(job_id)
        state, ended_at, warnings = self._end(job_id)
        left = frozenset(name for name in asked if read_made(self._store, job_id, name) is None)
        return Facts(
            "job",
            job_id,
            shelf,
            self._host,
            stored.tenant,
            stored.created_at.timestamp(),
            self._at_most(stored) if size is None else size,
            slide_id=stored.request.slide_id,
            model=stored.request.model,
            state=state,
            asked=left,
            labels=frozenset(stored.labels.items()),
            warnings=warnings,
            is_settled=bool(state) and not left and time.time() - ended_at > CLEARED_S,
        )

    def _at_most(self, stored: StoredRequest) -> int:
        return stored.estimated_bytes or bytes_below(self._store.job_dir(stored.id))

    def _end(self, job_id: str) -> tuple[str, float, frozenset[str]]:
        """Return how a job ended, when, in unix seconds, and with which warnings.

        The state is empty if it has not ended, or if that cannot be read.
        """
        try:
            ending = read_ending(self._store, job_id)
            if ending is not None:
                return ending.state, ending.finished_at.timestamp(), frozenset()
            result = self._store.read_result(job_id)
            codes = frozenset(warning.code for warning in result.warnings)
            return "succeeded", result.finished_at.timestamp(), codes
        except (NotFound, ResultNotReady, OSError, ValueError):
            return "", 0.0, frozenset()


def confirmed(facts: Facts, in_queue: str | None) -> Facts:
    """Return what the disk says, settled if the queue says the same: for a moment it may know better of an end.

    Args:
        facts: What the disk says.
        in_queue: The state of a job in the queue; None: it does not know it.
    """
    return replace(facts, is_settled=facts.is_settled and in_queue in (None, facts.state))
