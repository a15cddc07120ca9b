"""Objects of a job by their ids, from the spatial index that is made of its polygons (`features.fgb`).

Not from `objects.index`, which finds the object at a place: that is made of the table of objects, and a job that made
polygons alone has none, but can be corrected.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw

from server.results.features import WKB_CORNER_BYTES, box_of, rings_of
from workers.core.corrections.schemas import VERTICES_MAX, ModelObject
from workers.core.errors.review import ObjectNotFound

NEAR_PX = 1.0
"""Level-0 px around a position within which an object has to lie."""

SEEN_MAX = 1_000
"""Most objects that are looked at around one position."""

Place = tuple[float, float]


def find_objects(path: Path, wanted: Mapping[str, Place | None]) -> dict[str, ModelObject]:
    """Return the objects of these ids.

    Args:
        path: The index.
        wanted: Id → a position on the object, level-0 px; without one the whole index is gone through, once for all.

    Raises:
        ObjectNotFound: There is none of this id, or it is elsewhere.
    """
    found: dict[str, ModelObject] = {}
    for name, place in wanted.items():
        if place is not None:
            x, y = place
            box = (x - NEAR_PX, y - NEAR_PX, x + NEAR_PX, y + NEAR_PX)
            found |= _read(path, [name], bbox=box, max_features=SEEN_MAX)
    if unplaced := [name for name, place in wanted.items() if place is None]:
        found |= _read(path, unplaced)
    for name, place in wanted.items():
        if name not in found:
            where = "" if place is None else " at this position"
            raise ObjectNotFound(
                f"The job has no object of this id{where}.", value=name, accepted="id of a feature, and a place on it"
            )
    return found


def _read(path: Path, names: list[str], **within: Any) -> dict[str, ModelObject]:
    listed = ", ".join(f"'{name}'" for name in names)  # ids are of hexadecimal digits and hyphens
    meta, _, shapes, columns = pyogrio.raw.read(path, where=f"id IN ({listed})", **within)
    fields = dict(zip(meta["fields"].tolist(), columns, strict=True))
    rows = zip(
        fields["id"], fields["class_index"], fields["area_um2"], shapes if shapes is not None else [], strict=True
    )
    return {name: _object(int(index), float(area), shape) for name, index, area, shape in rows}


def _object(class_index: int, area_um2: float, shape: bytes) -> ModelObject:
    corners = np.array(box_of(shape))
    is_large = len(shape) > VERTICES_MAX * WKB_CORNER_BYTES
    rings = None if is_large else tuple(tuple((x, y) for x, y in ring) for ring in rings_of(shape))
    return ModelObject(
        class_index=class_index,
        area_um2=area_um2,
        box=(*corners.min(0).tolist(), *corners.max(0).tolist()),
        outline=rings,
    )
