"""Root and trunk of the tree of everything that can go wrong; `docs/errors.md` is printed from it.

An error knows its code, a sentence, the offending value and what would have been accepted. It knows nothing of HTTP:
`server.web.errors` maps the branches to status codes. Further leaves are in the other modules of this package.
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


class UploadNotFound(NotFound):
    """No resumable upload has this id."""

    code = "upload_not_found"


class UploadExpired(NotFound):
    """The resumable upload had no byte for too long; what came of it is gone."""

    code = "upload_expired"


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


class HeaderInvalid(Invalid):
    """A header of a resumable upload is missing or makes no sense."""

    code = "header_invalid"


class VersionUnsupported(Invalid):
    """The client speaks another version of the tus protocol, or does not say which."""

    code = "version_unsupported"


class BodyUnsupported(Invalid):
    """The body's Content-Type is not the one that the address takes: JSON, or the bytes of a resumable upload."""

    code = "body_unsupported"


class ChecksumMismatch(Invalid):
    """The bytes of a chunk do not have the checksum that was sent with them."""

    code = "checksum_mismatch"


class UploadJoined(Invalid):
    """The upload was joined from parts and takes no bytes of its own."""

    code = "upload_joined"


class SlideUnreadable(Invalid):
    """No reader opens the file, or one of its tiles cannot be decoded."""

    code = "slide_unreadable"


class TileFailed(Invalid):
    """Decoding a part of the slide for a viewer crashed, or took more time or memory than it may."""

    code = "tile_failed"


class SlideTooLarge(Invalid):
    """The slide's own numbers (pixels, levels, tile side) are past the limits."""

    code = "slide_too_large"


class MppImplausible(Invalid):
    """What is said of the µm per pixel is nothing that a scanner makes."""

    code = "mpp_implausible"


class MppMissing(Invalid):
    """The slide does not say its micrometres per pixel and the request does not either."""

    code = "mpp_missing"


class MppOutOfRange(Invalid):
    """The slide is too coarse for the model, or smaller than one of its pixels."""

    code = "mpp_out_of_range"


class ModelInvalid(Invalid):
    """A model folder is incomplete, altered or of an unknown format."""

    code = "model_invalid"


class ProductRefused(Invalid):
    """This product can never be made of this job."""

    code = "product_refused"


class Conflict(LDiffusionError):
    """The request is fine, the moment is not."""

    code = "conflict"


class ResultNotReady(Conflict):
    """The job has not succeeded (yet)."""

    code = "result_not_ready"


class SlideInUse(Conflict):
    """A running job still reads the slide."""

    code = "slide_in_use"


class OffsetMismatch(Conflict):
    """The chunk does not begin where the upload ends."""

    code = "offset_mismatch"


class UploadLocked(Conflict):
    """Another request is adding to the upload, or it is being checked."""

    code = "upload_locked"


class UploadUnfinished(Conflict):
    """A part that is to be joined is not complete."""

    code = "upload_unfinished"


class JobCanceled(Conflict):
    """The job was canceled; its tasks stop when they see this."""

    code = "job_canceled"


class Unavailable(LDiffusionError):
    """Ours to mend; the same request may work later."""

    code = "unavailable"


class DiskFull(Unavailable):
    """The disk that holds the data folder has too little room."""

    code = "disk_full"


class StorageFault(Unavailable):
    """The disk of the data folder is read-only, or does not do what it is told."""

    code = "storage_fault"


class ProductFailed(Unavailable):
    """Making this product failed; after a while it is tried again."""

    code = "product_failed"


class QueueUnavailable(Unavailable):
    """Redis does not answer."""

    code = "queue_unavailable"


class JobLost(Unavailable):
    """A task of the job failed more often than it may be retried."""

    code = "job_lost"
