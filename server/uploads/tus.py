"""The tus protocol, version 1.0.0: headers in, headers out.

https://tus.io/protocols/resumable-upload says what each of them means.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from email.utils import format_datetime

from pydantic import TypeAdapter, ValidationError

from server.uploads.records import Upload
from server.uploads.requests import Chunk, UploadRequest
from server.uploads.writer import Checksum
from workers.core.errors.base import BodyUnsupported, HeaderInvalid, VersionUnsupported
from workers.core.own_labels import KEYS, LABELS_MAX, VALUES, Labels

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination,concatenation"
ALGORITHMS = ("sha256", "sha1")
CHUNK_TYPE = "application/offset+octet-stream"
PREFIX = "/v1/uploads"

METADATA_MAX = 8192
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)
PARTS_MAX = 256
_PAIR = re.compile(r"(?P<key>[!-+\--~]+)(?: +(?P<value>[A-Za-z0-9+/]*={0,2}))?")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PART_URL = re.compile(r"(?:https?://[^/?#\s]+)?(?:/[^?#\s]*)?/(?P<id>[0-9a-f]{32})/?")


def check_version(header: str | None) -> None:
    """Refuse a client that does not speak this version.

    Raises:
        VersionUnsupported.
    """
    if header != VERSION:
        raise VersionUnsupported("Tus-Resumable: not the version spoken here.", value=header, accepted=VERSION)


def check_body_type(header: str | None) -> None:
    """Refuse a body that is not declared to be bytes of an upload.

    Raises:
        BodyUnsupported.
    """
    if (header or "").partition(";")[0].strip().lower() != CHUNK_TYPE:
        raise BodyUnsupported("Content-Type: not that of a chunk.", value=header, accepted=CHUNK_TYPE)


def parse_chunk(offset: str | None, length: int | None, checksum: str | None) -> Chunk:
    """Return what the headers of a chunk say.

    Args:
        offset: Upload-Offset.
        length: Content-Length, None if it is not known.
        checksum: Upload-Checksum.

    Raises:
        HeaderInvalid.
    """
    return Chunk(_number("Upload-Offset", offset), length, parse_checksum(checksum))


def parse_upload_request(
    length: str | None, deferred: str | None, metadata: str | None, concat: str | None
) -> UploadRequest:
    """Return the upload that the headers of a creation ask for.

    Args:
        length: Upload-Length.
        deferred: Upload-Defer-Length; the extension is not spoken here.
        metadata: Upload-Metadata; `filename`, `sha256` (hex, of the whole file) and `labels` (a JSON object) mean
            something.
        concat: Upload-Concat.

    Raises:
        HeaderInvalid.
    """
    if deferred is not None:
        raise HeaderInvalid("Upload-Defer-Length: not supported.", value=deferred, accepted="Upload-Length")
    is_part, parts = parse_concat(concat)
    if parts and length is not None:
        raise HeaderInvalid("Upload-Length: what is joined has the length of its parts.", value=length)
    pairs = parse_metadata(metadata)
    sha256 = pairs.get("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise HeaderInvalid("Upload-Metadata: sha256 is none.", value=sha256[:80], accepted="64 hexadecimal digits")
    parse_labels(pairs.get("labels"))
    return UploadRequest(
        length=None if parts else _number("Upload-Length", length),
        filename=pairs.get("filename", ""),
        sha256=None if sha256 is None else sha256.lower(),
        metadata=metadata or "",
        is_part=is_part,
        parts=parts,
    )


def parse_metadata(header: str | None) -> dict[str, str]:
    """Return the pairs of an Upload-Metadata header, values decoded.

    Raises:
        HeaderInvalid: It is too long or not well formed, a key comes twice, or a value is no base64 of UTF-8.
    """
    if not header:
        return {}
    accepted = f"up to {METADATA_MAX} characters of `key base64,key base64`"
    if len(header) > METADATA_MAX:
        raise HeaderInvalid("Upload-Metadata: too long.", value=f"{len(header)} characters", accepted=accepted)
    pairs: dict[str, str] = {}
    for entry in header.split(","):
        found = _PAIR.fullmatch(entry.strip())
        if found is None or found["key"] in pairs:
            raise HeaderInvalid("Upload-Metadata: not well formed.", value=entry[:80], accepted=accepted)
        try:
            pairs[found["key"]] = base64.b64decode(found["value"] or "", validate=True).decode("utf-8")
        except ValueError as error:  # of base64 or of UTF-8
            raise HeaderInvalid(
                f"Upload-Metadata: {found['key']} is no base64 of UTF-8.", value=entry[:80], accepted=accepted
            ) from error
    return pairs


def parse_labels(text: str | None) -> dict[str, str]:
    """Return the labels that a pair of an Upload-Metadata header holds, as a JSON object; none without it.

    Raises:
        HeaderInvalid: That is none, or they are no labels.
    """
    try:
        return _LABELS.validate_json(text) if text is not None else {}
    except ValidationError as error:
        raise HeaderInvalid(
            "Upload-Metadata: labels are none.",
            accepted=f"a JSON object of up to {LABELS_MAX} labels; of a name {KEYS}, of a value {VALUES}",
        ) from error


def metadata_with(labels: Mapping[str, str]) -> str:
    """Return an Upload-Metadata header that says these labels; empty without any."""
    return f"labels {base64.b64encode(_LABELS.dump_json(dict(labels))).decode()}" if labels else ""


def parse_checksum(header: str | None) -> Checksum | None:
    """Return what an Upload-Checksum header says, None where there is none.

    Raises:
        HeaderInvalid: The algorithm is not known, or the digest is none of it.
    """
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    accepted = f"{' or '.join(ALGORITHMS)}, a space, the digest in base64"
    if algorithm not in ALGORITHMS:
        raise HeaderInvalid("Upload-Checksum: unknown algorithm.", value=algorithm[:80], accepted=accepted)
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise HeaderInvalid("Upload-Checksum: no digest of this algorithm.", value=value[:80], accepted=accepted)
    return Checksum(algorithm, digest)


def parse_concat(header: str | None) -> tuple[bool, tuple[str, ...]]:
    """Return whether an upload is a part, and the ids of the parts it is joined from.

    Raises:
        HeaderInvalid: The header says something else, names what is no upload, or one part twice.
    """
    if header is None:
        return False, ()
    if header.strip() == "partial":
        return True, ()
    kind, _, urls = header.strip().partition(";")
    accepted = f"`partial`, or `final;` and the addresses of up to {PARTS_MAX} different parts"
    found = [_PART_URL.fullmatch(url) for url in urls.split()]
    parts = tuple(match["id"] for match in found if match is not None)
    if kind != "final" or not parts or len(set(parts)) != len(found) or len(found) > PARTS_MAX:
        raise HeaderInvalid("Upload-Concat: not well formed.", value=header[:80], accepted=accepted)
    return False, parts


def server_headers(max_bytes: int) -> dict[str, str]:
    """Return what the server says of itself."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def position_headers(upload: Upload) -> dict[str, str]:
    """Return how far an upload is and, while it takes bytes, when it expires."""
    headers = {"Upload-Offset": str(upload.offset)}
    if upload.state == "uploading":
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers


def upload_headers(upload: Upload, link: Callable[[str], str]) -> dict[str, str]:
    """Return all that a client which goes on with an upload wants to know.

    Args:
        upload: The upload.
        link: Makes of a path of the server what a client asks for.
    """
    headers = position_headers(upload) | {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    if upload.is_part:
        headers["Upload-Concat"] = "partial"
    elif upload.parts:
        headers["Upload-Concat"] = "final;" + " ".join(link(address(part.id)) for part in upload.parts)
    return headers


def address(upload_id: str) -> str:
    """Return where an upload is, relative to the server."""
    return f"{PREFIX}/{upload_id}"


def _number(name: str, header: str | None) -> int:
    if header is None or not _NUMBER.fullmatch(header):
        raise HeaderInvalid(f"{name}: no number of bytes.", value=header, accepted="decimal digits")
    return int(header)
