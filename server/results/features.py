"""Polygons of a view, from the spatial index of a job: what a box touches, nothing else is read."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyogrio.raw
from numpy.typing import NDArray

from workers.core.class_colours import Color
from workers.core.errors.base import RequestInvalid
from workers.core.model.schemas import ModelClass

ACCEPTED_BOX = "x0,y0,x1,y1 in level-0 px of the full plane, for example 0,0,2048,2048"
WKB_POLYGON = 3
WKB_CORNER_BYTES = 16

CORNERS_MAX = 200_000
"""Of one answer, all polygons together: some 5 MB of text, and 50 MB of memory while it is written."""

FIRST_BLOCK = 16

MEASUREMENTS = {
    "area_um2": "Area um^2",
    "mean_probability": "Mean probability",
    "perimeter_um": "Perimeter um",
    "circularity": "Circularity",
    "haematoxylin_od": "Hematoxylin OD mean",
}
"""Fields of an index, and the names of what they measure; one that is not there, or not known, is left out."""

Box = tuple[float, float, float, float]


class Query(NamedTuple):
    """What is asked of an index."""

    box: Box | None
    model_class: ModelClass | None
    limit: int
    skip: int = 0


class Found(NamedTuple):
    """A polygon of an index, in well-known binary, and its fields."""

    shape: bytes
    known: dict[str, Any]

    @property
    def is_too_large(self) -> bool:
        """Whether it has too many corners for any answer."""
        return len(self.shape) > CORNERS_MAX * WKB_CORNER_BYTES

    @property
    def corners(self) -> int:
        """How many corners it has as it is answered."""
        return 5 if self.is_too_large else len(self.shape) // WKB_CORNER_BYTES


def parse_box(text: str | None) -> Box | None:
    """Return a box of four numbers.

    Raises:
        RequestInvalid: They are not four, not finite, or the box is inside out.
    """
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RequestInvalid("bbox: not four numbers.", value=text[:200], accepted=ACCEPTED_BOX) from error
    if not (np.isfinite((x0, y0, x1, y1)).all() and x0 <= x1 and y0 <= y1):
        raise RequestInvalid("bbox: no box.", value=text[:200], accepted=ACCEPTED_BOX)
    return x0, y0, x1, y1


def find_class(classes: tuple[ModelClass, ...], name: str | None) -> ModelClass | None:
    """Return the class of a name; None for all.

    Raises:
        RequestInvalid: The model has no such class.
    """
    if name is None:
        return None
    for each in classes:
        if each.name == name:
            return each
    raise RequestInvalid(
        "class: the model has none of this name.", value=name[:200], accepted=", ".join(each.name for each in classes)
    )


def find(path: Path, query: Query, classes: tuple[ModelClass, ...]) -> Iterator[bytes]:
    """Return a GeoJSON FeatureCollection, as pieces, of the polygons that touch a box.

    Coordinates are level-0 px of the full plane. `complete` says whether there are no more; if there are, `next_cursor`
    is where the next page begins. A page ends at the limit, or before its polygons have more than `CORNERS_MAX`
    corners. One that has more by itself is answered by its bounding box, and says so (`isBoundingBox`).

    Args:
        path: The FlatGeobuf of a job.
        query: Box, class, how many polygons at most, and how many were on the pages before.
        classes: Of the job's model, for the colours.
    """
    page, is_complete = _page(path, query)
    head = {
        "type": "FeatureCollection",
        "coordinate_space": "level0",
        "numberReturned": len(page),
        "complete": is_complete,
        "next_cursor": None if is_complete else str(query.skip + len(page)),
    }
    return _pieces(head, page, {each.index: each.color for each in classes})


def _page(path: Path, query: Query) -> tuple[list[Found], bool]:
    """Return the polygons of a page, and whether they are the last. They are read in blocks: one may be very large."""
    page: list[Found] = []
    corners, count = 0, FIRST_BLOCK
    while True:
        count = min(count, query.limit - len(page))
        block = _block(path, query, query.skip + len(page), count + 1)  # one more, to know whether there are more
        for each in block[:count]:
            corners += each.corners
            if page and corners > CORNERS_MAX:
                return page, False
            page.append(each)
        if len(block) <= count or len(page) == query.limit:
            return page, len(block) <= count
        count = min(4 * count, 1 + (CORNERS_MAX - corners) * len(page) // corners)


def _block(path: Path, query: Query, skip: int, count: int) -> list[Found]:
    where = None if query.model_class is None else f"class_index = {query.model_class.index}"
    meta, _, shapes, columns = pyogrio.raw.read(
        path, bbox=query.box, where=where, skip_features=skip, max_features=count
    )
    rows = zip(*columns, strict=True)
    names = meta["fields"]
    return [
        Found(shape, dict(zip(names, row, strict=True)))
        for shape, row in zip([] if shapes is None else shapes, rows, strict=True)
    ]


def _pieces(head: dict[str, Any], page: list[Found], colors: dict[int, Color]) -> Iterator[bytes]:
    yield json.dumps(head)[:-1].encode() + b',"features":['
    separator = b"\n"
    for found in page:
        yield separator + json.dumps(_feature(found, colors), separators=(",", ":")).encode()
        separator = b",\n"
    yield b"\n]}\n"


def _feature(found: Found, colors: dict[int, Color]) -> dict[str, Any]:
    known = found.known
    rings = [box_of(found.shape)] if found.is_too_large else rings_of(found.shape)
    return {
        "type": "Feature",
        "id": known["id"],
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": known["object_type"],
            "classification": {"name": known["class"], "color": colors[int(known["class_index"])]},
            "measurements": {
                name: float(known[field])
                for field, name in MEASUREMENTS.items()
                if known.get(field) is not None and not np.isnan(known[field])
            },
        }
        | ({"isBoundingBox": True} if found.is_too_large else {}),
    }


def rings_of(shape: bytes) -> list[list[list[float]]]:
    """Return the rings of a polygon in well-known binary, little-endian."""
    return [points.tolist() for points in _rings(shape)]


def box_of(shape: bytes) -> list[list[float]]:
    """Return the ring of the box around a polygon in well-known binary, little-endian."""
    outer = next(_rings(shape))
    (x0, y0), (x1, y1) = outer.min(0).tolist(), outer.max(0).tolist()
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def _rings(shape: bytes) -> Iterator[NDArray[np.float64]]:
    order, kind, count = struct.unpack_from("<BII", shape)
    if (order, kind) != (1, WKB_POLYGON):
        message = f"well-known binary of order {order} and kind {kind} is no little-endian polygon"
        raise ValueError(message)
    at = 9
    for _ in range(count):
        (length,) = struct.unpack_from("<I", shape, at)
        yield np.frombuffer(shape, "<f8", 2 * length, at + 4).reshape(length, 2)
        at += 4 + 16 * length
