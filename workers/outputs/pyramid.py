"""Label plane → tiled pyramidal TIFFs, tile by tile (`levels`), labels never averaged.

Level k holds every 2^k-th pixel of every 2^k-th row, so each level has legal labels only and any pixel of it can be
named in level 0. Every tile is written, also empty ones: OpenSlide takes missing tiles for a smaller slide.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from workers.core.class_colours import color_table
from workers.core.label_layout import TILE_PX
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.storage.files import atomic_write
from workers.outputs.levels import Levels
from workers.outputs.ometiff import CREATOR, chain_levels, ome_xml, pixels_per_cm
from workers.pipeline.tiling import exact

Layout = Literal["hybrid", "ome", "pages"]
"""Where the levels of an overlay are found: as SubIFDs and as pages, as SubIFDs only, as pages only."""
BACKGROUND = (255, 255, 255)
"""Colour of index 0 in the overlay: white, as glass is, and neutral where a viewer multiplies layers."""
GREY = {"photometric": "minisblack"}


def write_overlay(path: Path, labels: Levels, plan: Plan, layout: Layout = "hybrid") -> None:
    """Write the picture for viewers: a palette BigTIFF whose levels are SubIFDs and pages at once.

    Pixel values are class indices, shown in the classes' colours. One file is a pyramid for OpenSlide (and so QuPath),
    for Bio-Formats, tifffile, libvips and large_image. For readers that take nothing but the letter of a format there
    are two other layouts: `ome` is strict OME-TIFF, `pages` a plain tiled TIFF without OME-XML.

    Args:
        path: Where to; replaced atomically.
        labels: Class indices of the working plane.
        plan: The plan they were made for: classes and µm per px.
        layout: How the levels hang together.
    """
    with atomic_write(path) as temporary:
        look = {"photometric": "palette", "colormap": palette(plan.classes)}
        xml = None if layout == "pages" else _xml("overlay", labels, plan)
        _write_levels(temporary, labels, plan, xml, look)
        if layout == "hybrid":
            chain_levels(temporary)


def write_labels(path: Path, labels: Levels, plan: Plan) -> None:
    """Write the mask for analysis: a grey OME-TIFF of class indices whose levels are SubIFDs, as the OME format says.

    Args:
        path: Where to; replaced atomically.
        labels: Class indices of the working plane.
        plan: The plan they were made for; its classes are kept as annotations.
    """
    with atomic_write(path) as temporary:
        _write_levels(temporary, labels, plan, _xml("labels", labels, plan), GREY)


def write_confidence(path: Path, confidence: Levels, plan: Plan) -> None:
    """Write round(255 × probability of the chosen class) as a grey OME-TIFF; 0 is where nothing was segmented.

    Args:
        path: Where to; replaced atomically.
        confidence: That of the working plane.
        plan: The plan it was made for.
    """
    height, width = confidence.shape
    xml = ome_xml("confidence", width, height, exact(plan.model_mpp), (), "round(255 x probability)")
    with atomic_write(path) as temporary:
        _write_levels(temporary, confidence, plan, xml, GREY)


def palette(classes: Sequence[ModelClass]) -> NDArray[np.uint16]:
    """Return a TIFF colour map, uint16 (3, 256): the classes' colours, white for 0, black where there is no class."""
    colors = color_table(classes)
    colors[0] = BACKGROUND
    return colors.T * np.uint16(257)


def _xml(name: str, labels: Levels, plan: Plan) -> bytes:
    height, width = labels.shape
    return ome_xml(name, width, height, exact(plan.model_mpp), plan.classes)


def _write_levels(path: Path, levels: Levels, plan: Plan, xml: bytes | None, look: dict[str, Any]) -> None:
    """Write all levels: as SubIFDs of the page that carries the OME-XML, or, without one, as pages."""
    height, width = levels.shape
    mpp = exact(plan.model_mpp)
    steps = levels.steps
    with tifffile.TiffWriter(path, bigtiff=True, byteorder="<", ome=False, shaped=False) as tiff:
        for step in steps:
            is_main = step == 1
            tiff.write(
                levels.tiles(step),
                shape=(-(-height // step), -(-width // step)),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                predictor=False,
                subifds=len(steps) - 1 if is_main and xml is not None else None,
                subfiletype=0 if is_main else 1,
                resolution=(pixels_per_cm(mpp * step),) * 2,
                resolutionunit="CENTIMETER",
                description=xml if is_main else None,
                software=CREATOR,
                metadata=None,
                maxworkers=1,
                **look,
            )
