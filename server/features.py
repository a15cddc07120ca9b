"""Polygons of a view, from the spatial index of a job: what a box touches, nothing else is read."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyogrio.raw

from workers.core.errors import RequestInvalid
from workers.core.schemas import ModelClass

ACCEPTED_BOX = "x0,y0,x1,y1 in level-0 px of the full plane, for example 0,0,2048,2048"
WKB_POLYGON = 3

Box = tuple[float, float, float, float]


class Query(NamedTuple):
    """What is asked of an index."""

    box: Box | None
    model_class: ModelClass | None
    limit: int


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

    Coordinates are level-0 px of the full plane. `complete` says whether there are no more than the limit.

    Args:
        path: The FlatGeobuf of a job.
        query: Box, class, and how many polygons at most.
        classes: Of the job's model, for the colours.
    """
    where = None if query.model_class is None else f"class_index = {query.model_class.index}"
    meta, _, shapes, columns = pyogrio.raw.read(path, bbox=query.box, where=where, max_features=query.limit + 1)
    return _pieces(
        [] if shapes is None else list(shapes), dict(zip(meta["fields"], columns, strict=True)), query, classes
    )


def _pieces(
    shapes: list[bytes], columns: dict[str, Any], query: Query, classes: tuple[ModelClass, ...]
) -> Iterator[bytes]:
    head = {
        "type": "FeatureCollection",
        "coordinate_space": "level0",
        "numberReturned": min(len(shapes), query.limit),
        "complete": len(shapes) <= query.limit,
    }
    yield json.dumps(head)[:-1].encode() + b',"features":['
    colors = {each.index: each.color for each in classes}
    separator = b"\n"
    for row, shape in enumerate(shapes[: query.limit]):
        known = {name: column[row] for name, column in columns.items()}
        yield separator + json.dumps(_feature(shape, known, colors), separators=(",", ":")).encode()
        separator = b",\n"
    yield b"\n]}\n"


def _feature(shape: bytes, known: dict[str, Any], colors: dict[int, tuple[int, int, int]]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": known["id"],
        "geometry": {"type": "Polygon", "coordinates": rings_of(shape)},
        "properties": {
            "objectType": known["object_type"],
            "classification": {"name": known["class"], "color": colors[int(known["class_index"])]},
            "measurements": {
                "Area um^2": float(known["area_um2"]),
                "Mean probability": float(known["mean_probability"]),
            },
        },
    }


def rings_of(shape: bytes) -> list[list[list[float]]]:
    """Return the rings of a polygon in well-known binary, little-endian."""
    order, kind, count = struct.unpack_from("<BII", shape)
    if (order, kind) != (1, WKB_POLYGON):
        message = f"well-known binary of order {order} and kind {kind} is no little-endian polygon"
        raise ValueError(message)
    rings, at = [], 9
    for _ in range(count):
        (length,) = struct.unpack_from("<I", shape, at)
        points = np.frombuffer(shape, "<f8", 2 * length, at + 4)
        rings.append(points.reshape(length, 2).tolist())
        at += 4 + 16 * length
    return rings
