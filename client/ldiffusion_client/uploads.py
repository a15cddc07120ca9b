"""Sending a slide, in chunks that are taken up again: what a client of `/v1/uploads` does, free of sockets.

The server finds an upload again by the SHA-256 of the whole file, so the client has to keep nothing: one that was
killed goes on when it is started again, also on another machine. The server compares the same SHA-256 with its disk.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ldiffusion_client import sets
from ldiffusion_client.errors import Busy, Missing, Refused, RemoteError, Unreachable
from ldiffusion_client.names import display_name
from ldiffusion_client.protocol import Ask, Body, Pause, RetryPolicy, Seen, Steps, Work, look, may_pass, once, retrying
from ldiffusion_client.views import Page, SlideInfo, UploadView

CHUNK_BYTES = 32 * 2**20
HASHED_BYTES = 8 * 2**20
POLL_S = 0.25
LISTED = 1000
UPLOADS = "/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK_TYPE = "application/offset+octet-stream"
BROKEN = "upload_incomplete"
"""Code of a chunk whose line broke although its answer came through."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to send: where it is, what it is called, its length and SHA-256."""

    path: Path
    name: str
    size: int
    sha256: str


def upload(
    path: Path, name: str, labels: Mapping[str, str], seen: Seen, patience_s: float, *, resume: bool
) -> Steps[SlideInfo]:
    """Send a slide until it is one; with `resume`, go on with what the server has of these bytes under this name.

    Raises:
        Refused: It is no slide, or none that the server takes, or an empty folder.
        RemoteError.
    """
    files = sets.files_of(path)
    if files is None:
        return (yield from _upload_file(path, name, labels, seen, patience_s, resume=resume))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "slide.zip"
        seen("packing", 0, sum(each.stat().st_size for each in files.values()))
        yield Work(partial(sets.pack, files, archive))
        return (yield from _upload_file(archive, f"{name}.zip", labels, seen, patience_s, resume=resume))


def _upload_file(
    path: Path, name: str, labels: Mapping[str, str], seen: Seen, patience_s: float, *, resume: bool
) -> Steps[SlideInfo]:
    source = yield from _measured(path, name, seen)
    found = (yield from _find(source)) if resume else None
    view = found or (yield from _create(source, labels, patience_s))
    address = f"{UPLOADS}/{view.id}"
    if view.state == "uploading":
        yield from _send(address, source, seen, patience_s)
        seen("checking", 0, source.size)
    slide_id = yield from _accepted(address, patience_s)
    return (yield from look(f"/v1/slides/{slide_id}", SlideInfo, patience_s))


def _measured(path: Path, name: str, seen: Seen) -> Steps[Source]:
    """Read the file once, for its SHA-256."""
    size, digest, done = path.stat().st_size, hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := (yield Work(partial(_hash_piece, file, digest))):
            done += piece
            seen("reading", done, size)
    return Source(path, display_name(name), size, digest.hexdigest())


def _hash_piece(file: BinaryIO, digest: "hashlib._Hash") -> int:
    piece = file.read(HASHED_BYTES)
    digest.update(piece)
    return len(piece)


def _find(source: Source) -> Steps[UploadView | None]:
    """Return the newest upload of these bytes under this name that leads, or has led, to a slide that is there."""
    wanted = (source.sha256, source.size, display_name(source.name))
    for view in (yield from look(UPLOADS, Page[UploadView], limit=LISTED)).items:
        if (view.sha256, view.length, view.filename) != wanted or view.is_part or view.state == "rejected":
            continue
        if view.slide_id is None or (yield from _is_there(view.slide_id)):
            return view
    return None


def _is_there(slide_id: str) -> Steps[bool]:
    try:
        yield from look(f"/v1/slides/{slide_id}", SlideInfo)
    except Missing:
        return False
    return True


def _create(source: Source, labels: Mapping[str, str], patience_s: float) -> Steps[UploadView]:
    pairs = {"filename": source.name, "sha256": source.sha256} | ({"labels": json.dumps(labels)} if labels else {})
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    headers = TUS | {"Upload-Length": str(source.size), "Upload-Metadata": metadata}
    # If the answer is lost and this is sent again, the upload that it told of stays empty and expires.
    answer = yield from retrying(Ask("POST", UPLOADS, headers=headers), patience_s)
    return (yield from look(answer.headers["location"], UploadView, patience_s))


def _send(address: str, source: Source, seen: Seen, patience_s: float) -> Steps[None]:
    """Send what is missing. Where the next chunk begins is always the server's word."""
    patience = RetryPolicy(patience_s)
    offset = yield from _offset(address, patience_s)
    while offset < source.size:
        seen("sending", offset, source.size)
        begin = offset
        try:
            answer = yield from once(_chunk(address, source, begin, _behind(seen, begin, source.size)))
            offset = int(answer.headers["upload-offset"])
        except RemoteError as error:
            if not (isinstance(error, Unreachable | Busy) or error.code == BROKEN or may_pass(error)):
                raise
            yield from patience.hold(error)
            offset = yield from _offset(address, patience_s)
        if offset > begin:
            patience.renew()
    seen("sending", source.size, source.size)


def _chunk(address: str, source: Source, begin: int, report: Callable[[int], None]) -> Ask:
    length = min(CHUNK_BYTES, source.size - begin)
    headers = {"Content-Type": CHUNK_TYPE, "Content-Length": str(length), "Upload-Offset": str(begin)}
    return Ask("PATCH", address, headers=TUS | headers, body=Body(source.path, begin, length, report))


def _behind(seen: Seen, begin: int, size: int) -> Callable[[int], None]:
    return lambda done: seen("sending", begin + done, size)


def _offset(address: str, patience_s: float) -> Steps[int]:
    answer = yield from retrying(Ask("HEAD", address, headers=TUS), patience_s)
    return int(answer.headers["upload-offset"])


def _accepted(address: str, patience_s: float) -> Steps[str]:
    """Wait for the end of the check, and return the slide's id."""
    while True:
        view = yield from look(address, UploadView, patience_s)
        if view.error is not None:
            raise Refused(view.error)
        if view.slide_id is not None:
            return view.slide_id
        yield Pause(POLL_S)
