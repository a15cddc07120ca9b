"""Label plane → OME-Zarr (NGFF 0.5): the confidence as the image, the class labels over it, for napari and others.

    labels.ome.zarr             multiscale image: round(255 × probability)
    └── labels/classes          multiscale label image: class index, with a name and a colour for each class

Level k holds every 2^k-th pixel of every 2^k-th row, also of the confidence, so a level shows nothing that is not in
the plane. Chunks without a single pixel are not written: they read as background. Zarr writes what describes groups and
arrays; the chunks, all levels in one pass over each plane, are laid beside as the arrays' codec says.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import zarr
from zarr.codecs import ZstdCodec

from workers.core.label_layout import TILE_PX, level_steps
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.outputs.levels import level_tiles
from workers.pipeline.sparse import PlaneArray
from workers.pipeline.stitch import LabelArrays

ZSTD_LEVEL = 3
VERSION = "0.5"
LABELS = "classes"


def write_ome_zarr(path: Path, arrays: LabelArrays, plan: Plan, check: Callable[[], None]) -> None:
    """Write the folder `path`; memory as for `level_tiles`.

    Args:
        path: Where to; must not be there.
        arrays: Labels and confidence of the working plane.
        plan: The plan they were made for: classes and µm per px.
        check: Called before each block of a plane; raises if the work is no longer wanted.
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
    for group, plane in ((image, arrays.confidence), (labels, arrays.labels)):
        for level, step in enumerate(steps):
            _create_level(group, level, step, plane)
        _write_chunks(path / group.path, plane, steps, check)


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


def _create_level(group: zarr.Group, level: int, step: int, plane: PlaneArray) -> None:
    height, width = plane.shape
    group.create_array(
        str(level),
        shape=(-(-height // step), -(-width // step)),
        chunks=(TILE_PX, TILE_PX),
        dtype="uint8",
        fill_value=0,
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        dimension_names=("y", "x"),
    )


def _write_chunks(folder: Path, plane: PlaneArray, steps: Sequence[int], check: Callable[[], None]) -> None:
    """Write the chunks of all levels of a group; those that hold one value are packed once."""
    flat: dict[int, bytes] = {}
    for tile in level_tiles(plane, steps, check=check):
        value = tile.flat()
        if value == 0:
            continue
        packed = None if value is None else flat.get(value)
        if packed is None:
            packed = bytes(imagecodecs.zstd_encode(tile.padded().tobytes(), level=ZSTD_LEVEL))
        if value is not None:
            flat[value] = packed
        chunk = folder / str(tile.level) / "c" / str(tile.row) / str(tile.col)
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(packed)
