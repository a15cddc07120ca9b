"""The rules by which QuPath's importer reads GeoJSON, as far as a file of polygons can break them."""

import json
import uuid
from typing import Any

import shapely

OBJECT_TYPES = ("annotation", "detection")
KNOWN = {"objectType", "classification", "isLocked", "measurements"}


def assert_qupath_takes(collection: dict[str, Any]) -> None:
    """Check a `FeatureCollection`, as a parser of JSON gives it."""
    json.dumps(collection, allow_nan=False)  # QuPath wants what is not finite as text
    assert collection["type"] == "FeatureCollection"
    ids = [feature["id"] for feature in collection["features"]]
    assert len(set(ids)) == len(ids)
    for feature in collection["features"]:
        assert str(uuid.UUID(feature["id"])) == feature["id"]  # any other is dropped, and a new one made
        # What is not within `properties` is ignored, and children make a deep tree.
        assert feature.keys() == {"type", "id", "geometry", "properties"}
        assert feature["type"] == "Feature"
        _assert_properties(feature["properties"])
        _assert_geometry(feature["geometry"])


def _assert_properties(properties: dict[str, Any]) -> None:
    assert properties.keys() <= KNOWN
    assert properties["objectType"] in OBJECT_TYPES
    classification = properties["classification"]
    assert classification.keys() == {"name", "color"}  # with a name and no colour the whole file is refused
    assert isinstance(classification["name"], str)
    assert classification["name"]
    assert len(classification["color"]) == 3
    assert all(type(part) is int and 0 <= part <= 255 for part in classification["color"])
    assert isinstance(properties.get("isLocked", True), bool)
    assert all(type(number) in (int, float) for number in properties["measurements"].values())


def _assert_geometry(geometry: dict[str, Any]) -> None:
    """Check rings and the whole: one that is not valid makes the import of all fail."""
    assert geometry.keys() == {"type", "coordinates"}
    assert geometry["type"] == "Polygon"
    for ring in geometry["coordinates"]:
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(len(point) == 2 for point in ring)
        assert all(one != other for one, other in zip(ring[1:], ring, strict=False))
    shape = shapely.geometry.shape(geometry)
    assert shapely.is_valid(shape), shapely.is_valid_reason(shape)
    assert shape.area > 0
