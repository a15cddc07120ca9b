"""After the last byte: the rules that make a complete file a slide, the same for every way in.

name → digest → unpack → strip → probe → storage, if there is one → commit
"""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from server.access.quotas import Quotas
from server.intake.fair_queue import FairQueue
from server.intake.parts import Parts
from server.intake.probe import ProbeReport, probe
from server.intake.sandbox import may_lack_memory
from server.intake.unpack import Prepared, prepare
from workers.core.disk_room import storage_told
from workers.core.errors.base import RequestInvalid, SlideUnreadable, UploadEmpty
from workers.core.frozen import LOCAL_TENANT
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.storage.base import KEY_BYTES, PART_BYTES, KeyInvalid
from workers.core.store import Store
from workers.core.stored.slides import publish_slide

PROBES_AT_ONCE = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Received:
    """A complete file as it came in.

    Attributes:
        filename: Name for people, as `display_name` gives it.
        sha256: What its bytes have, in hex.
        announced: SHA-256 in hex that the client said it would have, if it did.
        tenant: Whose slide it will be.
        labels: Of the client's own.
    """

    filename: str
    size: int
    sha256: str
    announced: str | None = None
    tenant: str = LOCAL_TENANT
    labels: Mapping[str, str] = field(default_factory=dict)


class Admission:
    """Makes slides of complete files.

    Args:
        store: The data folder.
        settings: Limits, and whether slides are stripped.
        quotas: Count what an archive unpacks to.
    """

    def __init__(self, store: Store, settings: Settings, quotas: Quotas) -> None:
        self._store = store
        self._settings = settings
        self._quotas = quotas
        self._fair_queue = FairQueue(PROBES_AT_ONCE)
        self._memory = Parts(PROBES_AT_ONCE)
        self._probes = CapacityLimiter(PROBES_AT_ONCE)

    async def admit(self, slide_id: str, file: Path, received: Received, folder: Path) -> SlideInfo:
        """Check a complete file and turn `folder`, which then holds nothing else, into the slide `slide_id`.

        Args:
            slide_id: Identifier that the slide gets.
            file: The bytes, durable, on the file system of `folder`. After a refusal they are there, or in `folder`.
            received: What is known of them.
            folder: Becomes the slide's.

        Raises:
            RequestInvalid, UploadEmpty, SlideUnreadable, SlideTooLarge, ArchiveRefused, SlideSetIncomplete,
            DeidentifyRefused: The file is refused.
            QuotaExceeded: The tenant has no room for what the archive unpacks to.
            StorageFault: The storage does not take it; nothing of it is seen there.
            DiskFull.
        """
        check_received(received)
        async with self._fair_queue.turn(received.tenant):
            return await self._admit(slide_id, file, received, folder)

    async def _admit(self, slide_id: str, file: Path, received: Received, folder: Path) -> SlideInfo:
        left = await to_thread.run_sync(self._quotas.left, received.tenant)
        unpacked_max = None if left is None else received.size + left  # what came in has its room already
        prepared = await to_thread.run_sync(
            partial(prepare, file, received.filename, folder, self._settings, unpacked_max),
            limiter=self._probes,
            abandon_on_cancel=True,  # a stop of the server does not wait: the child ends with it
        )
        more = prepared.size_bytes - received.size
        async with self._quotas.room(received.tenant, more) if more > 0 else nullcontext():
            report = await self._probe(prepared.first)
            if report.backend != "openslide":
                logger.warning("slide %s is read by %s: openslide does not take it", slide_id, report.backend)
            info = _info(slide_id, received, prepared, report)
            await to_thread.run_sync(self._publish, info, file, folder, abandon_on_cancel=True)
            await to_thread.run_sync(self._store.commit_slide, info, folder)
        return info

    async def _probe(self, file: Path) -> ProbeReport:
        """Probe a file with its part of the memory, and if that may have been too little, alone with all of it."""
        try:
            return await self._probe_with(1, file)
        except SlideUnreadable as error:
            if not may_lack_memory(error):
                raise
        return await self._probe_with(PROBES_AT_ONCE, file)

    async def _probe_with(self, parts: int, file: Path) -> ProbeReport:
        memory_bytes = self._settings.probe_memory_bytes * parts // PROBES_AT_ONCE
        async with self._memory.take(parts):
            return await to_thread.run_sync(probe, file, self._settings, memory_bytes, limiter=self._probes)

    def _publish(self, info: SlideInfo, file: Path, folder: Path) -> None:
        """Leave nothing in the folder but the slide, and put that into the storage, if there is one."""
        if file.parent == folder:  # the archive, or the slide before it was stripped
            file.unlink(missing_ok=True)
        try:
            with storage_told():
                publish_slide(self._store, info, folder)
        except KeyInvalid as error:
            raise RequestInvalid(
                "A file of the set has a name that is too long for the storage.",
                value=info.filename,
                accepted=f"names of at most {PART_BYTES} bytes, in a path of less than {KEY_BYTES}",
            ) from error


def _info(slide_id: str, received: Received, prepared: Prepared, report: ProbeReport) -> SlideInfo:
    return SlideInfo(
        id=slide_id,
        tenant=received.tenant,
        filename=received.filename,
        size_bytes=prepared.size_bytes,
        sha256=received.sha256,
        stored_sha256=prepared.sha256,
        deidentified=prepared.deidentified,
        vendor=report.vendor,
        backend=report.backend,
        geometry=report.geometry,
        content=report.content,
        modality=report.modality,
        warnings=report.warnings,
        labels=dict(received.labels),
        created_at=datetime.now(UTC),
    )


def check_received(received: Received) -> None:
    """Refuse what is empty, and bytes that are not those announced.

    Raises:
        UploadEmpty, RequestInvalid.
    """
    if received.size == 0:
        raise UploadEmpty("The upload holds no bytes.", value=0, accepted="a slide")
    if received.announced is not None and received.announced != received.sha256:
        raise RequestInvalid(
            "The bytes that arrived do not have the SHA-256 that was announced.",
            value=received.sha256,
            accepted=received.announced,
        )
