"""Polygons to pixels: GeoJSON features of QuPath's kind, and an exact fill by the even-odd rule."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """A classified object: its class and its polygons, each a ring and its holes, (N, 2) as (column, row) in px."""

    name: str
    polygons: tuple[tuple[Ring, ...], ...]


def fill(rings: Sequence[Ring], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (H, W), true where a pixel's centre lies inside the rings by the even-odd rule.

    Pixel (r, c) covers [r, r + 1) × [c, c + 1), so its centre is (c + 0.5, r + 0.5). A ring need not be closed.
    """
    height, width = shape
    # A crossing toggles every pixel of its row from the first centre on its right; the last column takes those beyond.
    toggles = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            low, high = min(y0, y1), max(y0, y1)
            rows = np.arange(max(0, np.ceil(low - 0.5)), min(height, np.ceil(high - 0.5)), dtype=np.int64)
            if rows.size:
                crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                toggles[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)] += 1
    inside: NDArray[np.bool_] = np.cumsum(toggles[:, :width], axis=1) % 2 == 1
    return inside


def paint(target: NDArray[Any], rings: Sequence[Ring], value: int) -> None:
    """Write `value` into the pixels of a (H, W) map that the rings cover; only their bounding box is touched."""
    points = np.concatenate(list(rings))
    first = np.floor(points.min(axis=0)).astype(int).clip(0)
    last = np.minimum(np.ceil(points.max(axis=0)).astype(int), (target.shape[1], target.shape[0]))
    width, height = last - first
    if width > 0 and height > 0:
        window = target[first[1] : last[1], first[0] : last[0]]
        window[fill([ring - first for ring in rings], (height, width))] = value


def read_features(path: Path) -> list[Feature]:
    """Read a FeatureCollection, or a plain list of features, in the file's order.

    Raises:
        ValueError: It is no JSON of that form, or a geometry is neither Polygon nor MultiPolygon.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        items = document["features"] if isinstance(document, dict) else document
        return [_feature(item) for item in items]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{path.name} is not GeoJSON of classified polygons: {error!r}") from error


def _feature(item: dict[str, Any]) -> Feature:
    geometry = item["geometry"]
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"geometry {kind}; Polygon and MultiPolygon are known")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    rings = tuple(tuple(_ring(ring) for ring in polygon) for polygon in polygons)
    if not all(rings):
        raise ValueError("a polygon without a ring")
    return Feature(str(item["properties"]["classification"]["name"]), rings)


def _ring(points: list[list[float]]) -> Ring:
    ring = np.asarray(points, np.float64)
    if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] < 2 or not np.isfinite(ring).all():
        raise ValueError(f"a ring needs three points of two finite numbers, not {str(points)[:60]}")
    return ring[:, :2]
