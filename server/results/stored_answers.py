"""Objects of a storage as answers: validators and one range, as files have them; or the way to the storage itself."""

import re
from collections.abc import Iterator, Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from server.web.files import range_refused, validators
from server.web.head import is_head_only
from workers.core.storage.base import Key, Storage

SIGNED_S = 300.0
"""How long a signed address is good: to begin a download, not to end it."""
_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


def stored_file(
    request: Request, storage: Storage, key: Key, size_bytes: int, etag: str, headers: Mapping[str, str]
) -> Response:
    """Answer with an object, or with the bytes that Range asks for; several ranges are answered with the whole.

    Args:
        request: Whose Range and If-Range count.
        storage: Where the object lies.
        key: The object.
        size_bytes: Of it.
        etag: Strong validator, without quotes.
        headers: More headers, its content-type among them.
    """
    told = validators(etag) | {"accept-ranges": "bytes"} | dict(headers)
    given = request.headers.get("range")
    start, stop, status = 0, size_bytes, 200
    if given is not None and "," not in given and request.headers.get("if-range", f'"{etag}"') == f'"{etag}"':
        span = _span(given, size_bytes)
        if span is not None and span[0] >= size_bytes:
            return range_refused(request.scope, size_bytes)
        if span is None or span[0] >= span[1]:
            return range_refused(request.scope, None, 400)
        (start, stop), status = span, 206
    told["content-length"] = str(stop - start)
    if status == 206:
        told["content-range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    nothing: Iterator[bytes] = iter(())
    pieces = nothing if is_head_only(request) else storage.pieces(key, start, stop)
    return StreamingResponse(pieces, status, told)


def _span(given: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the bytes of a Range, half-open, as it says them; None if it makes no sense."""
    match = _RANGE.fullmatch(given)
    first, last = match.groups() if match is not None else ("", "")
    if first:
        return int(first), min(size_bytes, int(last) + 1) if last else size_bytes
    return (max(0, size_bytes - int(last)), size_bytes) if last else None


def sent_to_storage(storage: Storage, key: Key) -> Response | None:
    """Answer with the way to an object; None where a storage has no addresses."""
    url = storage.signed_url(key, SIGNED_S)
    if url is None:
        return None
    return RedirectResponse(url, 307, {"cache-control": "no-store", "referrer-policy": "no-referrer"})
