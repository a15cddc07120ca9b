"""Polygons → FlatGeobuf: one file with a packed Hilbert R-tree, so that a view of a slide costs what it shows.

FlatGeobuf and not GeoParquet, because its index reaches single features: a box reads a few nodes and those features,
where GeoParquet reads whole row groups of columns. Features pass one at a time through a text file and then from GDAL
to GDAL, so memory does not grow with their number, but for the index (40 bytes each); each is in memory as a whole.

Coordinates are level-0 px of the full plane, y down, as in `regions.geojson.gz`; there is no map projection.
"""

import gzip
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio

from workers.core.errors.base import ProductFailed
from workers.core.schemas import Plan
from workers.core.sizing.preflight import require_room
from workers.core.storage.files import atomic_write

GEOMETRY_ENDS = b'},"properties":'
GEOMETRY_BEGINS = b'"geometry":'
ID_BEGINS = b'"id":"'
ID_LENGTH = 36
BYTES_PER_BYTE = 22
"""Memory that GDAL takes for a byte of the text of one feature."""

GDAL_LIMITS = {"OGR_GEOJSON_MAX_OBJ_SIZE": 0}
"""No limit: at a feature larger than its limit (200 MB) GDAL ends the reading, and does not say so."""

MEASUREMENTS = {
    "area_um2": "Area um^2",
    "mean_probability": "Mean probability",
    "perimeter_um": "Perimeter um",
    "circularity": "Circularity",
    "haematoxylin_od": "Hematoxylin OD mean",
}
"""Fields and the names of the measurements that they hold; null where the polygons do not have it."""

FIELDS = ("id", "class", "class_index", "object_type", *MEASUREMENTS)


def write_features(path: Path, geojson: Path, plan: Plan, room_bytes: int = sys.maxsize) -> int:
    """Write `path` (.fgb) from the polygons of a job.

    Args:
        path: Where to; replaced atomically.
        geojson: `regions.geojson.gz` as `workers.outputs.vector.vectorize` writes it, one feature a line.
        plan: The plan it was made for: the indices of its classes.
        room_bytes: Memory that may be taken.

    Returns:
        How many features there are.

    Raises:
        ProductRefused: One polygon is too large for that memory.
        ProductFailed: GDAL wrote another number of features.
    """
    indices = {each.name: each.index for each in plan.classes}
    flat = path.with_name(f".{path.name}.geojsonl")
    try:
        count = longest = 0
        with flat.open("wb") as file:
            for line in _flat_features(geojson, indices):
                file.write(line)
                count += 1
                longest = max(longest, len(line))
        require_room(BYTES_PER_BYTE * longest, room_bytes)
        with atomic_write(path) as temporary, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # pixels have none
            if count:
                _convert(flat, temporary, count)
            else:  # GDAL takes no empty text for a list of features
                _write_none(temporary)
    finally:
        flat.unlink(missing_ok=True)
    return count


def _flat_features(geojson: Path, indices: dict[str, int]) -> Iterator[bytes]:
    """Yield each feature with flat properties; its geometry stays the text it is."""
    with gzip.open(geojson) as file:
        next(file)  # the head of the collection
        for line in file:
            head, found, tail = line.partition(GEOMETRY_ENDS)
            if not found:  # the end of the collection
                return
            begin = head.index(ID_BEGINS) + len(ID_BEGINS)
            properties = json.loads(tail.strip().removesuffix(b",").removesuffix(b"}"))
            flat = _flat(head[begin : begin + ID_LENGTH].decode(), properties, indices)
            geometry = head[head.index(GEOMETRY_BEGINS) + len(GEOMETRY_BEGINS) :] + b"}"
            yield b'{"type":"Feature","properties":%b,"geometry":%b}\n' % (json.dumps(flat).encode(), geometry)


def _flat(feature_id: str, properties: dict[str, Any], indices: dict[str, int]) -> dict[str, Any]:
    name = properties["classification"]["name"]
    measured = [properties["measurements"].get(each) for each in MEASUREMENTS.values()]
    values = (feature_id, name, indices[name], properties["objectType"], *measured)
    return dict(zip(FIELDS, values, strict=True))


def _convert(flat: Path, target: Path, count: int) -> None:
    pyogrio.set_gdal_config_options(GDAL_LIMITS)
    options = {"DATE_AS_STRING": "YES"}  # a class may be called like a day
    with pyogrio.open_arrow(f"GeoJSONSeq:{flat}", use_pyarrow=False, **options) as (meta, stream):
        pyogrio.write_arrow(
            stream,
            target,
            driver="FlatGeobuf",
            geometry_name=meta["geometry_name"] or "wkb_geometry",
            geometry_type="Polygon",
            layer="regions",
            SPATIAL_INDEX="YES",
        )
    written = pyogrio.read_info(target, force_feature_count=True)["features"]
    if written != count:
        raise ProductFailed("Not every polygon came into the index.", value=written, accepted=str(count))


def _write_none(target: Path) -> None:
    texts, numbers = np.empty(0, object), np.empty(0, np.float64)
    columns = [texts, texts, np.empty(0, np.int32), texts, *[numbers] * len(MEASUREMENTS)]
    pyogrio.raw.write(
        target, texts, columns, np.array(FIELDS, object), driver="FlatGeobuf", geometry_type="Polygon", layer="regions"
    )
