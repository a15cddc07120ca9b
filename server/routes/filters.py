"""What lists are filtered by, as annotated types of query parameters."""

from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from workers.core.errors.base import RequestInvalid
from workers.core.own_labels import KEYS, LABELS_MAX, VALUES, read_label

CursorQuery = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
NameQuery = Annotated[
    str | None, Query(min_length=1, max_length=256, description="Part of the slide's file name, in either case.")
]
Sha256Query = Annotated[str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="Of the slide as it was uploaded.")]
LabelsQuery = Annotated[
    list[str] | None, Query(max_length=LABELS_MAX, description="`name:value`; several: all of them.")
]
WarningQuery = Annotated[str | None, Query(max_length=64, description="With a warning of this code.")]
SinceQuery = Annotated[AwareDatetime | None, Query(description="Made at or after this time.")]
BeforeQuery = Annotated[AwareDatetime | None, Query(description="Made before this time.")]


def labels_asked(texts: list[str] | None) -> tuple[tuple[str, str], ...]:
    """Return the labels of a query.

    Raises:
        RequestInvalid: One is none, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        try:
            key, value = read_label(text)
        except ValueError as error:
            raise RequestInvalid(
                f"label: {error}.", value=text[:80], accepted=f"of the name {KEYS}, of the value {VALUES}"
            ) from error
        if key in found:
            raise RequestInvalid("label: a name comes twice.", value=key, accepted="each name once")
        found[key] = value
    return tuple(found.items())
