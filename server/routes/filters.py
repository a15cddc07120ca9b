"""What lists are filtered by, and which page of them is meant: one definition for slides and for jobs."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Query
from pydantic import AwareDatetime

from server.access.guards import CallerDep
from server.catalogue.pages import SlideFilter
from server.catalogue.pagination import Place, read_cursor
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


async def filter_asked(
    caller: CallerDep,
    name: NameQuery = None,
    sha256: Sha256Query = None,
    label: LabelsQuery = None,
    warning: WarningQuery = None,
    since: SinceQuery = None,
    before: BeforeQuery = None,
) -> SlideFilter:
    """Return which slides of the caller's tenant are asked for, or which jobs by what these have of it.

    Raises:
        RequestInvalid: A label is none, or a name comes twice.
    """
    return SlideFilter(
        tenant=caller.tenant,
        name=name,
        sha256=sha256,
        labels=labels_asked(label),
        warning=warning,
        since=since,
        before=before,
    )


FilterDep = Annotated[SlideFilter, Depends(filter_asked)]


class Page(NamedTuple):
    """Which page of a list: so many entries after a place."""

    limit: int
    cursor: Place | None


async def page_asked(limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: CursorQuery = None) -> Page:
    """Return the page that is asked for.

    Raises:
        RequestInvalid: The cursor is none of ours.
    """
    return Page(limit, read_cursor(cursor))


PageDep = Annotated[Page, Depends(page_asked)]
