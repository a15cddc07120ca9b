"""Pictures on their way out: kept by the client as long as is set, told by their ETag when it has them already."""

import hashlib
from collections.abc import Callable

from fastapi import Response

from server.viewing.deepzoom import Address
from server.web.files import is_current

VERSION = 2
"""Part of every ETag: a change of how tiles are made must reach who has cached them."""


def etag_of(digest: str, part: str) -> str:
    """Return the ETag, without quotes, of a part of what has this digest."""
    return hashlib.sha256(f"{VERSION}/{digest}/{part}".encode()).hexdigest()[:32]


def tile_etag(digest: str, address: Address) -> str:
    """Return the ETag of a tile."""
    level, col, row = address
    return etag_of(digest, f"{level}/{col}_{row}")


def picture_headers(etag: str, keep_s: int) -> dict[str, str]:
    """Return the headers by which a browser, and no cache on the way, keeps a picture.

    Args:
        etag: Of the picture, without quotes.
        keep_s: Seconds until it has to ask again; 0: it shall keep nothing.
    """
    keep = f"private, max-age={keep_s}" if keep_s else "private, no-store"
    return {"etag": f'"{etag}"', "cache-control": keep, "x-content-type-options": "nosniff"}


def answer(if_none_match: str | None, etag: str, media_type: str, make: Callable[[], bytes], keep_s: int) -> Response:
    """Return a picture, made unless the client holds it already.

    Args:
        if_none_match: What the client says it holds.
        etag: Of this picture, without quotes.
        media_type: Content type.
        make: Gives its bytes.
        keep_s: Seconds that a browser may keep it.
    """
    headers = picture_headers(etag, keep_s)
    if is_current(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(make(), media_type=media_type, headers=headers)
