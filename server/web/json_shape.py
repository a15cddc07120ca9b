"""How large and deep a JSON body is, told from its bytes: before anything is built of it, and before a model sees it.

To parse many small values takes longer than to count them, and a model tells of each that is wrong. Here nothing is
parsed: strings are taken out, and what is left are brackets, commas and colons.
"""

import re

import numpy as np

from workers.core.errors.base import RequestInvalid
from workers.core.errors.door import BodyTooComplex

VALUES_MAX = 150_000
"""Most values: a region of interest with all the corners it may have, in features with members of their own."""

DEPTH_MAX = 64
KEYS_MAX = 1_000
"""Most members of the outermost object and of objects in it: no request has as many."""

# Possessive, and content with the end of the text: no string makes it look twice at a byte.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BACKSLASHES = rb"\\"
_NO_STRUCTURE = bytes(sorted(set(range(256)) - set(b"[]{},:")))


def check_json(body: bytes) -> None:
    """Refuse a body that would cost more than it can be worth; whether it is JSON at all is not asked.

    Args:
        body: All of it.

    Raises:
        RequestInvalid: Bytes or escapes in it are no text: not UTF-8, NUL, half of a surrogate pair.
        BodyTooComplex: It has too many values, too many members, or they lie too deep within each other.
    """
    _check_text(body)
    bare = _STRING.sub(b"", body)
    values = 1 + sum(map(bare.count, (b",", b"[", b"{")))
    if values > VALUES_MAX:
        raise BodyTooComplex("The body holds too many values.", value=values, accepted=f"at most {VALUES_MAX}")
    signs = np.frombuffer(bare.translate(None, _NO_STRUCTURE), np.uint8)
    depth = np.cumsum(np.isin(signs, _of(b"[{")).astype(np.int32) - np.isin(signs, _of(b"]}")))
    deepest = int(depth.max(initial=0))
    if deepest > DEPTH_MAX:
        raise BodyTooComplex(
            "The body holds values too deep within each other.",
            value=f"{deepest} levels",
            accepted=f"at most {DEPTH_MAX} levels",
        )
    keys = int(((signs == ord(":")) & (depth <= 2)).sum())
    if keys > KEYS_MAX:
        raise BodyTooComplex("The body has too many members.", value=keys, accepted=f"at most {KEYS_MAX}")


def _of(signs: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(signs, np.uint8)


def _check_text(body: bytes) -> None:
    accepted = "JSON in UTF-8, without a byte-order mark"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = "The body is not UTF-8."
        raise RequestInvalid(message, value=f"byte {error.start}", accepted=accepted) from None
    if b"\0" in body or body.startswith(b"\xef\xbb\xbf"):
        raise RequestInvalid("The body begins with a byte-order mark, or holds NUL bytes.", accepted=accepted)
    if b"\\u" not in body:
        return
    half = _HALF.search(_PAIR.sub(b"", body.replace(_BACKSLASHES, b"")))
    if half is not None:
        raise RequestInvalid(
            "A text in the body holds half of a surrogate pair.",
            value=half[0].decode(),
            accepted="both halves, or the character itself",
        )
