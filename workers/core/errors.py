"""Everything that can go wrong, as one tree.

    LDiffusionError
    ├── NotFound                 the address names nothing
    │   ├── SlideNotFound        slide_not_found
    │   ├── JobNotFound          job_not_found
    │   ├── ModelNotFound        model_not_found
    │   └── ResultNotFound       result_not_found
    ├── Invalid                  the request can never succeed as it is
    │   ├── RequestInvalid       invalid_request
    │   ├── UploadEmpty          upload_empty
    │   ├── UploadIncomplete     upload_incomplete
    │   ├── UploadTooLarge       upload_too_large
    │   ├── SlideUnreadable      slide_unreadable
    │   ├── SlideTooLarge        slide_too_large
    │   ├── MppMissing           mpp_missing
    │   ├── MppOutOfRange        mpp_out_of_range
    │   └── ModelInvalid         model_invalid
    ├── Conflict                 the request is fine, the moment is not
    │   ├── ResultNotReady       result_not_ready
    │   ├── SlideInUse           slide_in_use
    │   └── JobCanceled          job_canceled
    └── Unavailable              ours to mend, the same request may work later
        ├── DiskFull             disk_full
        ├── QueueUnavailable     queue_unavailable
        └── JobLost              job_lost

An error knows its code, a sentence, the offending value and what would have been accepted. It knows
nothing of HTTP: `server.errors` maps the branches to status codes.
"""

from typing import ClassVar


class LDiffusionError(Exception):
    """Base of every error this project raises on purpose.

    Args:
        message: One sentence for a person.
        value: The offending value, if there is one.
        accepted: What would have been accepted instead.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, value: object = None, accepted: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.value = value
        self.accepted = accepted

    def as_dict(self) -> dict[str, str | None]:
        """Return the JSON body that every endpoint and every failed job shows."""
        value = None if self.value is None else str(self.value)
        return {"code": self.code, "message": self.message, "value": value, "accepted": self.accepted}


class NotFound(LDiffusionError):
    """The address names nothing."""

    code = "not_found"


class SlideNotFound(NotFound):
    """No slide has this id."""

    code = "slide_not_found"


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"


class ModelNotFound(NotFound):
    """No installed model has this name."""

    code = "model_not_found"


class ResultNotFound(NotFound):
    """The job makes no result of this name."""

    code = "result_not_found"


class Invalid(LDiffusionError):
    """The request can never succeed as it is."""

    code = "invalid"


class RequestInvalid(Invalid):
    """A field is missing, of the wrong type or out of range."""

    code = "invalid_request"


class UploadEmpty(Invalid):
    """The upload held no bytes."""

    code = "upload_empty"


class UploadIncomplete(Invalid):
    """The client went away, or sent another number of bytes than it announced."""

    code = "upload_incomplete"


class UploadTooLarge(Invalid):
    """The upload is, or claims to be, larger than the server takes."""

    code = "upload_too_large"


class SlideUnreadable(Invalid):
    """No reader opens the file, or one of its tiles cannot be decoded."""

    code = "slide_unreadable"


class SlideTooLarge(Invalid):
    """The slide's own numbers (pixels, levels, tile side) are past the limits."""

    code = "slide_too_large"


class MppMissing(Invalid):
    """The slide does not say its micrometres per pixel and the request does not either."""

    code = "mpp_missing"


class MppOutOfRange(Invalid):
    """The micrometres per pixel are implausible, or too coarse for the model."""

    code = "mpp_out_of_range"


class ModelInvalid(Invalid):
    """A model folder is incomplete, altered or of an unknown format."""

    code = "model_invalid"


class Conflict(LDiffusionError):
    """The request is fine, the moment is not."""

    code = "conflict"


class ResultNotReady(Conflict):
    """The job has not succeeded (yet)."""

    code = "result_not_ready"


class SlideInUse(Conflict):
    """A running job still reads the slide."""

    code = "slide_in_use"


class JobCanceled(Conflict):
    """The job was canceled; its tasks stop when they see this."""

    code = "job_canceled"


class Unavailable(LDiffusionError):
    """Ours to mend; the same request may work later."""

    code = "unavailable"


class DiskFull(Unavailable):
    """The disk that holds the data folder has too little room."""

    code = "disk_full"


class QueueUnavailable(Unavailable):
    """Redis does not answer."""

    code = "queue_unavailable"


class JobLost(Unavailable):
    """A task of the job failed more often than it may be retried."""

    code = "job_lost"
