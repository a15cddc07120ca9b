"""Label plane → polygons of all its objects, as GeoJSON that QuPath imports: exact and streamed, or made simpler.

Coordinates are level-0 px (a working corner × the exact scale), so an exact polygon's area is its pixels'. The file is
a function of the planes alone: not of region sizes, nor of how many rows were in memory.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from workers.core.errors.base import ProductRefused
from workers.core.schemas import Plan
from workers.core.sizing.preflight import require_room
from workers.core.storage.files import atomic_write
from workers.outputs.vector.borders import assemble, cut, join, part
from workers.outputs.vector.contours import Shapes, outlines
from workers.outputs.vector.geojson import Features, FeatureWriter, collection
from workers.outputs.vector.sheet import Drawn, Sheet
from workers.outputs.vector.simplify import simplify
from workers.outputs.vector.tracing import counted, trace
from workers.pipeline.stitch import LabelArrays

CORNERS_MAX = 4_000_000
"""Corners of all shapes together above which they are not made simpler: all of them are in memory then."""
BYTES_PER_CORNER = 450
"""Memory that making simpler takes for a corner, at most."""


Stain = Iterator[float] | None
"""Optical density of haematoxylin of each object, in order; None where it is not known."""


def write_geojson(path: Path, arrays: LabelArrays, plan: Plan, stain: Stain = None, sheet: Sheet | None = None) -> int:
    """Write `path` (.geojson.gz), one Feature per object of a class other than background.

    Args:
        path: Where to; replaced atomically.
        arrays: The planes of the job, or labels of the sheet.
        plan: The job's plan.
        stain: Becomes a measurement of an object.
        sheet: What they are drawn on; the working plane if not given. On another, the smallest shapes are written too.

    Returns:
        How many features were written.
    """
    with atomic_write(path) as temporary, collection(temporary, plan, {}) as file:
        drawn_on = sheet or Sheet.from_plan(plan)
        features = Features(file, drawn_on)
        for shapes in counted(arrays, plan) if sheet is None else trace(arrays):
            for few in shapes.parts():
                features.add(Drawn.on(drawn_on, few), None if stain is None else list(islice(stain, len(few))))
        features.finish()
        return features.count


def write_simplified(
    path: Path, arrays: LabelArrays, plan: Plan, step_px: int, room_bytes: int = sys.maxsize, stain: Stain = None
) -> int:
    """Write `path` (.geojson.gz) with the same features, no border farther than a step from where it was.

    Identifiers and measurements are those of the exact shapes. All corners are in memory.

    Args:
        path: Where to; replaced atomically.
        arrays: The planes of the job.
        plan: The plan they were made for.
        step_px: Farthest distance from the exact border, working px.
        room_bytes: Memory that may be taken.
        stain: Becomes a measurement.

    Returns:
        How many features were written.

    Raises:
        ProductRefused: The shapes have more than `CORNERS_MAX` corners, or more than that memory holds.
    """
    batches = list(_few_corners(counted(arrays, plan), room_bytes))
    exact, firsts = join(outlines(shapes) for shapes in batches)
    borders = cut(exact)
    simpler = assemble(borders, simplify(borders, step_px))
    count, sheet, at = len(firsts) - 1, Sheet.from_plan(plan), 0
    with atomic_write(path) as temporary, collection(temporary, plan, {"simplified_px": step_px}) as file:
        writer = FeatureWriter(file, sheet, count)
        for shapes in batches:
            here = len(shapes)
            stains = None if stain is None else list(islice(stain, here))
            writer.write(Drawn.on(sheet, shapes, part(simpler, firsts[at : at + here + 1])), stains)
            at += here
    return count


def _few_corners(batches: Iterable[Shapes], room_bytes: int) -> Iterator[Shapes]:
    corners = 0
    for shapes in batches:
        corners += len(shapes.corners)
        if corners > CORNERS_MAX:
            message = "The polygons of this job have too many corners to be made simpler."
            raise ProductRefused(message, accepted=f"{CORNERS_MAX} corners; the exact polygons are there")
        require_room(BYTES_PER_CORNER * corners, room_bytes)
        yield shapes
