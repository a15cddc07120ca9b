"""What a client asks of a resumable upload, free of headers."""

from dataclasses import dataclass

from server.uploads.records import Upload
from server.uploads.writer import Checksum
from workers.core.errors.base import OffsetMismatch, UploadJoined, UploadTooLarge


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """A new upload as the client asks for it.

    Attributes:
        length: Bytes; None if it is to be joined.
        filename: The client's name for the file.
        sha256: What the whole file will have, in hex.
        metadata: Upload-Metadata as it came.
        is_part: It is to be joined with others later.
        parts: Ids of the complete parts it is joined from.
        source: Where the server fetches its bytes from, if it does.
        made_by: Id of the key that asks for it, if it is a key.
    """

    length: int | None
    filename: str = ""
    sha256: str | None = None
    metadata: str = ""
    is_part: bool = False
    parts: tuple[str, ...] = ()
    source: str | None = None
    made_by: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What is said of a chunk: where it begins, how long it claims to be, what it has; where the server fetches it."""

    offset: int
    length: int | None = None
    checksum: Checksum | None = None
    source: str | None = None


def check_chunk(upload: Upload, chunk: Chunk) -> None:
    """Refuse a chunk that the upload can never take, before its bytes.

    Raises:
        UploadJoined, UploadTooLarge.
    """
    if upload.parts:
        raise UploadJoined("This upload was joined from parts and takes no bytes.", value=upload.id)
    if upload.source != chunk.source:
        raise UploadJoined("The server fetches this upload itself and takes no bytes.", value=upload.id)
    if chunk.length is not None and chunk.offset + chunk.length > upload.length:
        raise UploadTooLarge(
            "The chunk goes past the end of the upload.",
            value=f"{chunk.length} bytes from {chunk.offset}",
            accepted=f"{upload.length} bytes in all",
        )


def check_offset(upload: Upload, chunk: Chunk) -> None:
    """Refuse a chunk that does not go on where the upload ends.

    Raises:
        OffsetMismatch.
    """
    if chunk.offset != upload.offset:
        raise OffsetMismatch(
            "The chunk does not begin where the upload ends.", value=chunk.offset, accepted=str(upload.offset)
        )
