"""Files that never change once they are there: strong validators, ranges, long caching."""

import gzip
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from server.web.errors import problem

CACHE_CONTROL = "private, max-age=31536000, immutable"
INFLATED_BYTES = 256 * 1024


def validators(etag: str) -> dict[str, str]:
    """Return the headers by which a cache keeps a file for good. `etag` comes without its quotes."""
    return {"etag": f'"{etag}"', "cache-control": CACHE_CONTROL, "x-content-type-options": "nosniff"}


def is_current(if_none_match: str | None, etag: str) -> bool:
    """Whether the client already holds this version (RFC 9110 13.1.2: weak comparison, `*` matches all)."""
    held = [entry.strip().removeprefix("W/") for entry in (if_none_match or "").split(",")]
    return "*" in held or f'"{etag}"' in held


def ask_anew(request: Request, content: bytes, media_type: str) -> Response:
    """Answer with what stays the same until the server is another version: kept, and asked for anew each time."""
    etag = hashlib.sha256(content).hexdigest()[:32]
    headers = {"etag": f'"{etag}"', "cache-control": "no-cache"}
    if is_current(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether an Accept-Encoding field lets an answer be gzipped (RFC 9110 12.5.3)."""
    weights: dict[str, float] = {}
    for entry in (accept_encoding or "").lower().split(","):
        coding, _, parameter = entry.partition(";")
        weights[coding.strip()] = _weight(parameter)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


class ImmutableFile(FileResponse):
    """A file with ranges, whose refused ranges leave in the one error shape.

    Args:
        path: The file.
        etag: Strong validator, without quotes.
        media_type: Content type.
        headers: More headers.
    """

    def __init__(self, path: Path, etag: str, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(path, headers=validators(etag) | dict(headers), media_type=media_type, stat_result=path.stat())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, a part of it, or the error that a refused Range becomes."""
        refused: Message | None = None

        async def send_in_shape(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message
            elif refused is None:
                await send(message)

        await super().__call__(scope, receive, send_in_shape)
        if refused is not None:
            await _refusal(refused, scope)(scope, receive, send)


def _refusal(start: Message, scope: Scope) -> JSONResponse:
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    size = told.get("content-range", "").rpartition("/")[2]
    return range_refused(scope, int(size) if size else None, start["status"])


def range_refused(scope: Scope, size_bytes: int | None, status: int = 416) -> JSONResponse:
    """Return the error of a Range that asks for bytes that a file of this size has not, or is not understood."""
    given = dict(scope["headers"]).get(b"range", b"").decode("latin-1")
    is_outside = size_bytes is not None
    return problem(
        status,
        "invalid_request",
        "Range: no such bytes in this file." if is_outside else "Range: not understood.",
        given[:200],
        f"bytes within 0-{(size_bytes or 0) - 1}" if is_outside else "bytes=<first>-<last>",
        {"content-range": f"bytes */{size_bytes}"} if is_outside else {},
    )


def inflated(path: Path, etag: str, media_type: str, headers: Mapping[str, str]) -> Response:
    """Return the content of a gzip file, inflated on its way out; without ranges, for its length is not known."""
    more = validators(etag) | {"accept-ranges": "none"} | dict(headers)
    return StreamingResponse(_inflate(path), headers=more, media_type=media_type)


async def _inflate(path: Path) -> AsyncIterator[bytes]:
    file = await to_thread.run_sync(gzip.open, path)
    try:
        while piece := await to_thread.run_sync(file.read, INFLATED_BYTES):
            yield piece
    finally:
        file.close()
