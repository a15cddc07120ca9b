"""What a laboratory annotated: regions, within which everything was, and objects of the model's classes, from QuPath.

An annotation is a GeoJSON feature with a class, `properties.classification`. Detections, cells and tiles are a
program's work and no truth. Polygons are level-0 px.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from workers.core.errors.base import RequestInvalid
from workers.core.roi.forms import Rings, polygons_of
from workers.core.roi.polygons import MultiPolygon

REGION: Final = "Region*"
IGNORED: Final = "Ignore*"
"""QuPath's own classes, in its list from the start, for what is looked at and what is not."""

IGNORE: Final = 255
"""The label of pixels that do not count."""

EXPORT: Final = "GeoJSON as QuPath writes it: File → Export objects as GeoJSON"
NO_CLASS: Final = "without a class"
KINDS: Final = ("annotation", None)

Space = Literal["level0", "qupath"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotation: its name, how many level-0 px it encloses, its polygons, and the label that its pixels get."""

    name: str
    area: float
    polygons: MultiPolygon
    label: int


@dataclass(frozen=True, slots=True)
class Truth:
    """A file of annotations.

    Args:
        regions: Where everything was annotated.
        shapes: What was annotated: the largest first, so that what lies on top of another is painted after it.
        left_out: How many annotations have a class that is nobody's, by its name.
    """

    regions: tuple[Shape, ...]
    shapes: tuple[Shape, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Words:
    """What annotations are called.

    Args:
        region: Class of the regions.
        labels: Class of an annotation, folded (`str.casefold`) → index of the model's class, or `IGNORE`.
        classes: Names of the model's classes, for messages.
    """

    region: str
    labels: Mapping[str, int]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, classes: tuple[str, ...], region: str = REGION, renamed: tuple[str, ...] = ()) -> "Words":
        """Return the model's own class names, QuPath's `Ignore*`, and `THEIRS=OURS` for others.

        Raises:
            RequestInvalid: One of `renamed` is not of this form, or names no class of the model.
        """
        labels = {name.casefold(): index for index, name in enumerate(classes)} | {IGNORED.casefold(): IGNORE}
        for text in renamed:
            theirs, equals, ours = text.rpartition("=")
            if not (equals and theirs and ours.casefold() in labels):
                known = ", ".join((*classes, IGNORED))
                raise RequestInvalid(
                    "--map names no class.", value=text, accepted=f"THEIRS=OURS, with OURS of: {known}"
                )
            labels[theirs.casefold()] = labels[ours.casefold()]
        return cls(region, labels, classes)


def read_truth(path: Path, words: Words, offset: tuple[int, int] = (0, 0)) -> Truth:
    """Read a file of annotations.

    Args:
        path: GeoJSON: a collection, a list of features, or one.
        words: What annotations are called.
        offset: Added to every position: level-0 px of the file's origin.

    Raises:
        RequestInvalid: It is no GeoJSON, an annotation encloses nothing, there is no region, or no annotation of a
            class of the model.
    """
    regions: list[Shape] = []
    shapes: list[Shape] = []
    left_out = Counter[str]()
    for place, feature in _features(_load(path)):
        name = _class_of(feature)
        label = words.labels.get(name.casefold())
        if not _is_annotation(feature):
            left_out[f"{name}, of type {feature['properties']['objectType']}"] += 1
        elif name.casefold() == words.region.casefold():
            regions.append(_shape(feature, place, offset, f"region {len(regions) + 1}", 0))
        elif label is None:
            left_out[name] += 1
        else:
            shapes.append(_shape(feature, place, offset, name, label))
    if not regions:
        raise RequestInvalid(
            "The truth has no region within which everything was annotated.",
            value=_listed(Counter(shape.name for shape in shapes) + left_out),
            accepted=f"an annotation of the class {words.region} around it, or the name of its class by --region",
        )
    if not any(shape.label != IGNORE for shape in shapes):
        raise RequestInvalid(
            "No annotation has a class of the model.",
            value=_listed(left_out),
            accepted=f"{', '.join(words.classes)}; other names by --map 'THEIRS={words.classes[-1]}'",
        )
    return Truth(tuple(regions), tuple(sorted(shapes, key=lambda shape: -shape.area)), left_out)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise RequestInvalid(f"The truth cannot be read: {error}.", value=path, accepted=EXPORT) from error


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        message = f"{text} is no number of px"
        raise ValueError(message)
    return number


def _features(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each feature with its place."""
    found, place = document, "truth"
    if isinstance(document, dict):
        is_one = document.get("type") == "Feature"
        found, place = ([document], place) if is_one else (document.get("features"), "truth.features")
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and each.get("type") == "Feature" for each in found
    ):
        raise RequestInvalid("The truth is no GeoJSON of features.", accepted=EXPORT)
    for index, feature in enumerate(found):
        yield f"{place}[{index}]", feature


def _is_feature(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Feature"


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _is_annotation(feature: dict[str, Any]) -> bool:
    return _properties(feature).get("objectType") in KINDS


def _class_of(feature: dict[str, Any]) -> str:
    """Return the class as QuPath shows it: `Tumor`, or `Tumor: Positive` of a class within a class."""
    said = _properties(feature).get("classification")
    if isinstance(said, dict):
        names = said.get("names")
        said = ": ".join(map(str, names)) if isinstance(names, list) else said.get("name")
    return said if isinstance(said, str) and said else NO_CLASS


def _shape(feature: dict[str, Any], place: str, offset: tuple[int, int], name: str, label: int) -> Shape:
    given = _properties(feature).get("name")
    polygons = polygons_of(feature.get("geometry"), f"{place}.geometry")
    moved = tuple(tuple(tuple((x + offset[0], y + offset[1]) for x, y in ring) for ring in rings) for rings in polygons)
    area = sum(map(_area, moved))
    return Shape(given if isinstance(given, str) and given else name, area, MultiPolygon(coordinates=moved), label)


def _area(rings: Rings) -> float:
    """Return the area of an outline without its holes."""
    areas = []
    for ring in rings:
        x, y = np.array(ring).T
        areas.append(abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())) / 2)
    return areas[0] - sum(areas[1:])


def _listed(names: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(names.items())) or "no annotation"
