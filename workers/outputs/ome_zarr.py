"""Label plane → OME-Zarr (NGFF 0.5): the confidence as the image, the class labels over it, for napari and others.

    labels.ome.zarr             multiscale image: round(255 × probability)
    └── labels/classes          multiscale label image: class index, with a name and a colour for each class

Level k holds every 2^k-th pixel of every 2^k-th row, also of the confidence, so a level shows nothing that is not in
the plane. Chunks without a single pixel are not written: they read as background.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zarr

from workers.core.label_layout import level_steps
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.pipeline.stitch import LabelArrays, PlaneArray, read_rows

CHUNK_PX = 512
VERSION = "0.5"
LABELS = "classes"


def write_ome_zarr(path: Path, arrays: LabelArrays, plan: Plan, check: Callable[[], None]) -> None:
    """Write the folder `path`; one row of chunks is in memory at a time.

    Args:
        path: Where to; must not be there.
        arrays: Labels and confidence of the working plane.
        plan: The plan they were made for: classes and µm per px.
        check: Called before each row of chunks; raises if the work is no longer wanted.
    """
    height, width = arrays.labels.shape
    steps = level_steps(width, height)
    image = _group(path, "", {"multiscales": [_multiscales("confidence", plan, steps)]})
    _group(path, "labels", {"labels": [LABELS]})
    labels = _group(
        path,
        f"labels/{LABELS}",
        {"multiscales": [_multiscales(LABELS, plan, steps)], "image-label": image_label(plan.classes)},
    )
    for level, step in enumerate(steps):
        _write_level(image, level, step, arrays.confidence, check)
        _write_level(labels, level, step, arrays.labels, check)


def image_label(classes: Sequence[ModelClass]) -> dict[str, Any]:
    """Return the `image-label` metadata: each class has a colour and a name; the background is transparent."""
    return {
        "colors": [{"label-value": each.index, "rgba": [*each.color, 255 if each.index else 0]} for each in classes],
        "properties": [{"label-value": each.index, "class": each.name} for each in classes],
        "source": {"image": "../../"},
    }


def _group(path: Path, name: str, ome: dict[str, Any]) -> zarr.Group:
    return zarr.create_group(store=path, path=name, attributes={"ome": {"version": VERSION, **ome}})


def _multiscales(name: str, plan: Plan, steps: Sequence[int]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "nearest",
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"],
        "datasets": [
            {
                "path": str(level),
                # A pixel of a level stands where the one stands that it was taken from: no translation.
                "coordinateTransformations": [{"type": "scale", "scale": [plan.model_mpp * step] * 2}],
            }
            for level, step in enumerate(steps)
        ],
    }


def _write_level(group: zarr.Group, level: int, step: int, plane: PlaneArray, check: Callable[[], None]) -> None:
    height, width = plane.shape
    array = group.create_array(
        str(level),
        shape=(-(-height // step), -(-width // step)),
        chunks=(CHUNK_PX, CHUNK_PX),
        dtype="uint8",
        fill_value=0,
        dimension_names=("y", "x"),
    )
    for w_y in range(0, height, CHUNK_PX * step):
        check()
        rows = read_rows(plane, w_y, w_y + CHUNK_PX * step, step)
        array[w_y // step : w_y // step + len(rows)] = rows
