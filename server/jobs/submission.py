"""From a request to a queued job: what can be known to fail is refused before anything is written."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from shutil import disk_usage

from server.access.limits import Wanted
from server.jobs.idempotency import Reservation
from server.jobs.webhooks import check_webhook
from workers.core.errors.base import DiskFull, JobNotFound, LDiffusionError, Unavailable
from workers.core.errors.jobs import SlideDamaged
from workers.core.frozen import LOCAL_TENANT
from workers.core.model.catalogue import find_model
from workers.core.model.precision import choose_precision
from workers.core.model.schemas import ModelCard
from workers.core.queue.jobs import Jobs
from workers.core.queue.rates import pace_of
from workers.core.schemas import JobRequest, JobSubmission, JobView, Preflight
from workers.core.sizing.memory import worker_memory_bytes
from workers.core.sizing.preflight import Crew, preflight, require_disk
from workers.core.slides.images import geometry_of_image
from workers.core.slides.modality_match import require_modality
from workers.core.storage.base import StorageSilent
from workers.core.store import new_id, slide_missing
from workers.core.stored.jobs import remove_stored_job

logger = logging.getLogger(__name__)


@dataclass
class Admission:
    """Looks at requests; what it learns of workers and models is asked for once, and disk that it gave is given.

    Args:
        jobs: The queue.
        tenant: Who asks: another's slide is not there.
        disk_bytes: What the results of all that was admitted may take.
    """

    jobs: Jobs
    tenant: str = LOCAL_TENANT
    _rates: dict[str, float | None] = field(default_factory=dict)
    _capacity: tuple[int, int, int] | None = None
    disk_bytes: int = 0

    def admit(self, request: JobRequest) -> Preflight:
        """Return the pre-flight of a request that may be queued.

        Raises:
            SlideNotFound, ModelNotFound, ModelInvalid: What it names is not there, or not whole.
            SlideDamaged: Its stored bytes have changed.
            RequestInvalid: The file has no image of the number that is asked for.
            MppMissing, MppImplausible, MppOutOfRange: The slide's resolution is unknown or does not suit the model.
            ModalityMismatch: The slide is fluorescence and the model is not, or the other way round.
            RoiOutside: The region of interest holds nothing of the slide.
            JobTooLarge: No worker has the memory.
            DiskFull: The results do not fit on the disk.
            WebhookRefused: The webhook is not one that the operator allows.
            QueueUnavailable: Redis does not answer.
        """
        slide = self.jobs.store.read_slide(request.slide_id)
        if slide.tenant != self.tenant:
            raise slide_missing(request.slide_id)
        if slide.integrity is not None and not slide.integrity.ok:
            raise SlideDamaged(
                "The stored bytes of this slide are no longer those that were stored.",
                value=request.slide_id,
                accepted="the slide uploaded again, or restored",
            )
        card = find_model(self.jobs.settings.models_dir, request.model)
        require_modality(slide, request, card)
        if request.webhook is not None:
            check_webhook(request.webhook, self.tenant, self.jobs.settings)
        geometry = geometry_of_image(slide, request.image)
        estimate = preflight(geometry, request, card, partial(self._rate, card), self._crew(card))
        wanted = self.disk_bytes + (estimate.estimated_disk_bytes or 0)
        require_disk(wanted, disk_usage(self.jobs.store.root).free - self.jobs.settings.disk_reserve_bytes)
        self.disk_bytes = wanted
        return estimate

    def create(
        self, job_id: str, request: JobRequest, estimate: Preflight, labels: Mapping[str, str] | None = None
    ) -> None:
        """Put a job that was admitted on disk and into the queue.

        Raises:
            QueueUnavailable: Redis does not answer; nothing of the job stays.
            OSError, DiskFull: The disk or the storage does not take it; nothing of the job stays.
        """
        created_at = datetime.now(UTC)
        size = estimate.estimated_disk_bytes or 0
        try:
            is_new = self.jobs.store.save_request(job_id, request, created_at, self.tenant, size, labels)
        except (OSError, DiskFull) as error:
            was_stored = not isinstance(error, StorageSilent)  # then it is the disk that takes no more
            if was_stored and not self.jobs.store.own_job_dir(job_id).exists():  # else an earlier request made it
                self._forget_stored(job_id)
            raise
        try:
            self.jobs.submit(job_id, request, created_at, estimate, self.tenant)
        except Unavailable:
            if is_new:  # else it is what an earlier request made, and may be queued
                self.jobs.store.delete_job(job_id)
                self._forget_stored(job_id)
            raise
        logger.info("job %s is asked for", job_id)  # the line has the request's name as well

    def _forget_stored(self, job_id: str) -> None:
        with suppress(OSError):  # then the doctor finds it
            remove_stored_job(self.jobs.store, job_id)

    def _measure(self) -> tuple[int, int, int]:
        """Return the number of workers, the memory of the smallest, and how many have a GPU."""
        if self._capacity is None:
            settings = self.jobs.settings
            told = self.jobs.memory_bytes()
            if told is None or settings.worker_memory:
                told = worker_memory_bytes(settings)
            self._capacity = self.jobs.workers(), told, self.jobs.workers_with_gpu()
        return self._capacity

    def _crew(self, card: ModelCard) -> Crew:
        """Return the workers for a model; what they compute in is told by this machine, which is theirs as a rule."""
        settings = self.jobs.settings
        precision = choose_precision(settings.engine, settings.device, card)
        workers, memory_bytes, with_gpu = self._measure()
        theirs = with_gpu if card.heavy and with_gpu else workers
        return Crew(theirs, memory_bytes, precision, with_gpu > 0)

    def _rate(self, card: ModelCard, tile_px: int) -> float | None:
        pace = pace_of(card.digest, tile_px)
        if pace not in self._rates:
            self._rates[pace] = self.jobs.s_per_tile(pace)
        return self._rates[pace]


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks for jobs.

    Attributes:
        tenant: Whose the jobs will be; only slides of this tenant are there for it.
        key: Idempotency-Key of the request.
        room: Held while so much more is made; raises where the tenant may not have it.
    """

    tenant: str = LOCAL_TENANT
    key: str | None = None
    room: Callable[[Wanted], AbstractContextManager[None]] = lambda _wanted: nullcontext()


def submit_job(jobs: Jobs, request: JobSubmission, requester: Requester) -> JobView:
    """Queue a job, or return the one that an earlier request with the same key made.

    Raises:
        KeyReused: The key came before, with another request.
        KeyInUse: A request with the key is still being worked on.
        QuotaExceeded: The tenant has too many jobs that have not ended, or no room for the results of one more.
        Everything that `Admission.admit` raises; then nothing is left of the request.
    """
    if requester.key is None:
        job_id = new_id()
        _admit_one(jobs, job_id, request, requester)
        return jobs.view(job_id)
    reservation = Reservation(jobs, "job", requester.key, request, requester.tenant)
    with reservation.turn():
        job_id = reservation.take(new_id())
        try:
            return jobs.view(job_id)
        except JobNotFound:  # the key is new, or the gateway of the first request died, or the job was deleted
            pass
        try:
            _admit_one(jobs, job_id, request, requester)
        except LDiffusionError:
            reservation.release()
            raise
        return jobs.view(job_id)


def _admit_one(jobs: Jobs, job_id: str, asked: JobSubmission, requester: Requester) -> None:
    admission = Admission(jobs, requester.tenant)
    request = asked.request()
    estimate = admission.admit(request)
    with requester.room(Wanted(jobs=1, size_bytes=estimate.estimated_disk_bytes or 0)):
        admission.create(job_id, request, estimate, asked.labels)
