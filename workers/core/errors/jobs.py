"""Leaves of the tree in `workers.core.errors.base`: what can be wrong with asking for a job, and with following it."""

from workers.core.errors.base import Conflict, Invalid, NotFound, Unavailable


class BatchNotFound(NotFound):
    """No batch has this id."""

    code = "batch_not_found"


class RoiOutside(Invalid):
    """The region of interest holds nothing of the slide."""

    code = "roi_outside"


class ModalityMismatch(Invalid):
    """The slide is fluorescence and the model was trained on bright field, or the other way round."""

    code = "modality_mismatch"


class JobTooLarge(Invalid):
    """A worker has too little memory for the job as it is asked for."""

    code = "job_too_large"


class KeyReused(Invalid):
    """An Idempotency-Key was sent before, with another request."""

    code = "idempotency_key_reused"


class KeyInUse(Unavailable):
    """A request with the same Idempotency-Key is still being worked on."""

    code = "idempotency_key_in_use"


class SlideDamaged(Invalid):
    """The stored bytes of the slide are no longer those that were stored."""

    code = "slide_damaged"


class OnAnotherHost(Conflict):
    """Another gateway has the data folder of the slide, job or batch: it is changed, corrected and deleted there."""

    code = "on_another_host"


class CacheTooSmall(Unavailable):
    """A host keeps fewer bytes of slides than this one has: `LDIFFUSION_SLIDE_CACHE` is too small."""

    code = "cache_too_small"


class WebhookRefused(Invalid):
    """The address or the secret of a webhook is not one that the operator allows."""

    code = "webhook_refused"


class TooManyListeners(Unavailable):
    """As many clients follow jobs by events as the server takes."""

    code = "too_many_listeners"


class SlideReadTimeout(Unavailable):
    """A read of the slide did not come back, each time it was tried."""

    code = "slide_read_timeout"


class SlideReaderFailed(Unavailable):
    """Reading a part of the slide crashed its reader, or took more time or memory than it may, each time."""

    code = "slide_reader_failed"


class OutOfMemory(Unavailable):
    """A task took more memory than its worker has; the worker ended it before the system did."""

    code = "out_of_memory"
