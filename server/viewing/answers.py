"""Pictures on their way out: kept for good by the client, told by their ETag when it has them already."""

import hashlib
from collections.abc import Callable

from fastapi import Response

from server.viewing.deepzoom import Address
from server.web.files import is_current, validators

VERSION = 2
"""Part of every ETag: a change of how tiles are made must reach who has cached them."""


def etag_of(digest: str, part: str) -> str:
    """Return the ETag, without quotes, of a part of what has this digest."""
    return hashlib.sha256(f"{VERSION}/{digest}/{part}".encode()).hexdigest()[:32]


def tile_etag(digest: str, address: Address) -> str:
    """Return the ETag of a tile."""
    level, col, row = address
    return etag_of(digest, f"{level}/{col}_{row}")


def answer(if_none_match: str | None, etag: str, media_type: str, make: Callable[[], bytes]) -> Response:
    """Return a picture, made unless the client holds it already.

    Args:
        if_none_match: What the client says it holds.
        etag: Of this picture, without quotes.
        media_type: Content type.
        make: Gives its bytes.
    """
    if is_current(if_none_match, etag):
        return Response(status_code=304, headers=validators(etag))
    return Response(make(), media_type=media_type, headers=validators(etag))
