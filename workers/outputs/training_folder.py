"""Corrections → a dataset to train on: crops of the slide at the model's resolution and what people said of them.

    images/<slide id>_<x>_<y>.png   the crop as the model reads it; x, y: its corner in working px
    masks/<slide id>_<x>_<y>.png    a class index a pixel, 255 where nobody has judged
    dataset.toml                    what `ldiffusion data check` and training read (docs/datasets.md)
    corrections.json                of which job, slide, model and revision; what is not in it

Crops are cells of one grid of the plane, so none shows another's pixels twice but at the far ends of the plane.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workers.core.corrections.standing import Standing
from workers.core.roi.forms import Rings
from workers.core.roi.polygons import Polygon
from workers.core.schemas import Plan
from workers.core.storage.files import atomic_write
from workers.pipeline.plane import PlaneReader
from workers.pipeline.roi import RoiMask, without
from workers.pipeline.stitch import LabelArrays, UInt8
from workers.pipeline.tiling import Box, WorkingPlane

CROP_PX = 256
"""Side of a crop, working px."""

CROPS_MAX = 500
"""Most crops of one dataset: some 100 MB of pixels. Those with the most objects are taken."""

CROPS_PER_OBJECT = 16
"""Most crops that one object brings; of a larger one, some that are spread over it."""

IGNORED = 255
_EPOCH = (1980, 1, 1, 0, 0, 0)

Cell = tuple[int, int]
"""Left and top of a crop, working px."""


@dataclass(frozen=True)
class Judged:
    """What a dataset is made of.

    Args:
        arrays: The labels of the job.
        plan: Its plan.
        reader: Reads the working plane.
        objects: How the corrected objects stand.
        revision: Of the corrections.
    """

    arrays: LabelArrays
    plan: Plan
    reader: PlaneReader
    objects: Sequence[Standing]
    revision: int


def write_training_folder(path: Path, judged: Judged) -> int:
    """Write `path` (.zip); the same for the same corrections.

    Returns:
        The number of crops.

    Raises:
        SlideUnreadable: A tile of the slide cannot be decoded, and the job was to end at one.
    """
    plane = judged.reader.plane
    cells, left_out = choose_cells(judged.objects, plane)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for w_x, w_y in cells:
            box = Box(w_x, w_y, min(CROP_PX, plane.w_width), min(CROP_PX, plane.w_height))
            name = f"{judged.plan.slide_id}_{w_x}_{w_y}.png"
            pixels = judged.reader.read(box.w_x, box.w_y, box.width, box.height)
            _add(archive, f"images/{name}", _png(pixels))
            _add(archive, f"masks/{name}", _png(mask_of(box, judged)))
        _add(archive, "dataset.toml", _description(judged.plan).encode())
        _add(archive, "corrections.json", _record(judged, len(cells), left_out).encode())
    return len(cells)


def choose_cells(objects: Iterable[Standing], plane: WorkingPlane) -> tuple[list[Cell], int]:
    """Return the crops that show corrected objects, row by row, and how many more there would be."""
    seen = Counter(cell for each in objects for cell in _cells_of(each, plane))
    best = sorted(seen, key=lambda cell: (-seen[cell], cell[1], cell[0]))
    return sorted(best[:CROPS_MAX], key=lambda cell: (cell[1], cell[0])), max(0, len(best) - CROPS_MAX)


def mask_of(box: Box, judged: Judged) -> UInt8:
    """Return what is known of a box of the plane: uint8 (height, width), class index, 255 where nobody has judged.

    Objects that somebody judged count as they stand; what was rejected or drawn elsewhere is background. Objects of the
    model that nobody judged are not known. What the model took for background is, within the region of the job.
    """
    plane = judged.reader.plane
    labels = judged.arrays.labels[box.w_y : box.w_y + box.height, box.w_x : box.w_x + box.width]
    mask = np.where(labels > 0, IGNORED, 0).astype(np.uint8)
    if judged.plan.roi is not None:
        mask[~RoiMask.from_roi(judged.plan.roi).crop(box, plane)] = IGNORED
    here = [each for each in judged.objects if _touches(each, box, plane)]
    for each in here:  # first what is gone, so that it takes nothing from what is there
        if each.model is not None and (each.is_rejected or each.drawing is not None):
            _fill(mask, each.model.outline, 0, box, plane)
    for each in sorted((each for each in here if not each.is_rejected), key=lambda each: each.drawing is not None):
        _fill(mask, each.outline, each.class_index, box, plane)
    spoiled = without(np.ones(mask.shape, np.bool_), (box.w_x, box.w_y), judged.reader.holes(box))
    mask[~spoiled] = IGNORED
    return mask


def _fill(mask: UInt8, outline: Rings | None, value: int, box: Box, plane: WorkingPlane) -> None:
    if outline is not None:
        mask[RoiMask.from_roi(Polygon(coordinates=outline)).crop(box, plane)] = value


def _touches(each: Standing, box: Box, plane: WorkingPlane) -> bool:
    """Whether an object lies in a box, as it stands or as the model found it."""
    boxes = [each.box] if each.model is None else [each.box, each.model.box]
    x0, y0 = (float(side) for side in plane.to_l0(box.w_x, box.w_y))
    x1, y1 = (float(side) for side in plane.to_l0(box.w_x + box.width, box.w_y + box.height))
    return any(left < x1 and right > x0 and top < y1 and bottom > y0 for left, top, right, bottom in boxes)


def _cells_of(each: Standing, plane: WorkingPlane) -> Iterator[Cell]:
    """Yield the cells under the box of an object, at most `CROPS_PER_OBJECT` of them."""
    x0, y0, x1, y1 = each.box
    columns = _span(x0 / float(plane.scale_x), x1 / float(plane.scale_x), plane.w_width)
    rows = _span(y0 / float(plane.scale_y), y1 / float(plane.scale_y), plane.w_height)
    count = len(columns) * len(rows)
    step = max(1, -(-count // CROPS_PER_OBJECT))
    for at in range(0, count, step):
        row, column = divmod(at, len(columns))
        yield _start(columns[column], plane.w_width), _start(rows[row], plane.w_height)


def _span(start: float, stop: float, length: int) -> range:
    """Return the numbers of the cells under `[start, stop)`; at least one, none past the plane."""
    last = max(0, -(-length // CROP_PX) - 1)
    first = min(max(0, floor(start / CROP_PX)), last)
    return range(first, min(max(first, ceil(stop / CROP_PX) - 1), last) + 1)


def _start(number: int, length: int) -> int:
    """Return where a cell begins; the last one ends with the plane."""
    return max(0, min(number * CROP_PX, length - CROP_PX))


def _description(plan: Plan) -> str:
    lines = [f"mpp = {plan.model_mpp!r}", "group = '^([0-9a-f]{32})_'   # the slide", ""]
    for each in plan.classes:
        lines += [
            "[[classes]]",
            f"name = {json.dumps(each.name, ensure_ascii=False)}",
            f"value = {each.index}",
            f"color = {list(each.color)}",
            "",
        ]
    return "\n".join(lines)


def _record(judged: Judged, crops: int, left_out: int) -> str:
    plan = judged.plan
    states = Counter(each.state for each in judged.objects)
    without_outline = sum(each.outline is None for each in judged.objects)
    record: dict[str, Any] = {
        "job_id": plan.job_id,
        "slide_id": plan.slide_id,
        "slide_sha256": plan.slide_sha256,
        "model": plan.model,
        "model_digest": plan.model_digest,
        "revision": judged.revision,
        "objects": dict(sorted(states.items())),
        "objects_without_outline": without_outline,
        "crops": crops,
        "crops_left_out": left_out,
    }
    return json.dumps(record, indent=2) + "\n"


def _png(pixels: UInt8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
