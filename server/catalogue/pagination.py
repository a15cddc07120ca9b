"""Pagination of lists, the newest first. A cursor names the last item of a page, so what comes in shifts nothing."""

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from workers.core.errors.base import RequestInvalid

T = TypeVar("T")
CURSOR_CHARS_MAX = 200


class Place(NamedTuple):
    """Where an item stands in a list: by time, then by id."""

    time: float
    id: str


def write_cursor(place: Place) -> str:
    """Return a place as text for an address; a client takes it as it is."""
    return base64.urlsafe_b64encode(f"{place.time!r} {place.id}".encode()).decode()


def read_cursor(text: str | None) -> Place | None:
    """Return the place that a cursor names; None without one.

    Raises:
        RequestInvalid: It is none of ours.
    """
    if not text:
        return None
    try:
        time, _, item_id = base64.b64decode(text, b"-_", validate=True).decode("ascii").partition(" ")
        return Place(float(time), item_id)
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid(
            "cursor: that is none of ours.", value=text[:CURSOR_CHARS_MAX], accepted="next_cursor of the page before"
        ) from error


def page(items: Sequence[tuple[Place, T]], limit: int) -> tuple[tuple[T, ...], str | None]:
    """Return up to `limit` items, and the cursor of the page after them if there are more."""
    shown = items[:limit]
    more = len(items) > limit
    return tuple(item for _, item in shown), write_cursor(shown[-1][0]) if more else None
