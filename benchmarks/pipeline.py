"""What a job computes for nothing: `python -m benchmarks.pipeline SLIDE [--mpp 0.5]`.

Pixels that go through the model, halos included, for each pixel of tissue: of whole tiles, and of boxes around the
tissue, as jobs do it. Then the same for a square of 512 working px in the middle of the tissue as a region of interest,
beside the whole slide: what a small region costs more, for each of its pixels. Nothing is inferred: the counts are
those of the pieces that a job gives its model.
"""

from pathlib import Path

import click
import numpy as np

from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import ModelCard
from workers.core.roi.polygons import MultiPolygon, Polygon, read_roi
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide
from workers.masks import area_of
from workers.pipeline.inference import pieces
from workers.pipeline.overview import Overview
from workers.pipeline.roi import Area, Mask
from workers.pipeline.tiling import Box, WorkingPlane, read_box, regions
from workers.pipeline.tissue import TissueMask

MODELS = {"nuclei": 1.5, "glands": 2.0}
"""Models, and what the project aims at: computed px for each px of tissue."""

ROI_PX = 512


def extra(plane: WorkingPlane, card: ModelCard, area: Area) -> tuple[float, float]:
    """Return computed px for each px that a job is about: by whole tiles, and as jobs do it."""
    asked = whole = computed = 0
    for tile in regions(plane, card.tile_px):
        found = list(pieces(plane, tile, card, area))
        if found:
            asked += sum(int(piece.mask.sum()) for piece in found)
            whole += area_px(read_box(tile, card.halo_px, card.stride_px))
            computed += sum(area_px(piece.box) for piece in found)
    return whole / asked, computed / asked


def area_px(box: Box) -> int:
    """Return how many px a box has."""
    return box.width * box.height


def square_of(tissue: TissueMask, plane: WorkingPlane) -> Polygon | MultiPolygon:
    """Return a square of `ROI_PX`, in level-0 px, around the tissue px that is nearest to the middle of the tissue."""
    mask: Mask = tissue.mask
    rows, cols = np.nonzero(mask)
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2))
    l0_x, l0_y = float(cols[nearest] * tissue.l0_per_px_x), float(rows[nearest] * tissue.l0_per_px_y)
    half_x, half_y = ROI_PX / 2 * float(plane.scale_x), ROI_PX / 2 * float(plane.scale_y)
    return read_roi([l0_x - half_x, l0_y - half_y, l0_x + half_x, l0_y + half_y])


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--mpp", type=float, help="µm per level-0 pixel, where the slide does not say.")
def main(slide: Path, mpp: float | None) -> None:
    with open_slide(slide) as opened:
        tissue = TissueMask.from_overview(Overview.from_slide(opened))
        geometry = opened.geometry
    print(f"{'model':<10}{'tile+halo px':>14}{'whole tiles':>13}{'boxes':>8}{'512 px alone':>14}   aim")
    found = {}
    for name, aim in MODELS.items():
        card = find_model(Settings().models_dir, name)
        plane = WorkingPlane.from_geometry(geometry, card.mpp, mpp)
        whole, found[name] = extra(plane, card, area_of(tissue, None))
        _, alone = extra(plane, card, area_of(tissue, square_of(tissue, plane)))
        size = f"{card.tile_px}+{card.halo_px}"
        print(f"{name:<10}{size:>14}{whole:>13.2f}{found[name]:>8.2f}{alone:>14.2f}   <= {aim}")
    for name, value in found.items():
        figure("pipeline.extra_pixels" if name == "nuclei" else f"pipeline.extra_pixels_{name}", value, "x")


if __name__ == "__main__":
    main()
