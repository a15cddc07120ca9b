"""How much halo a model needs: `python -m benchmarks.halo SLIDE [--model nuclei] [--mpp 0.5]`.

A square of the slide is segmented in one piece, with the networks' theoretical reach around it, and again in small
tiles with one halo after the other. The table shows which share of the pixels gets the same label. Small tiles make it
the hard case: most of their pixels are near an edge. A model ships with the smallest halo that keeps 99.95 %.
"""

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import figure
from models.predictor import Predictor
from models.receptive_field import theoretical_reach
from workers.core.command_line import CONTEXT
from workers.core.model.catalogue import model_dir
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import Region, WorkingPlane, best_level, read_box, tiles

NEEDED_PERCENT = 99.95


def segment(
    predictor: Predictor, reader: PlaneReader, square: Region, parts: Iterable[Region], halo: int
) -> NDArray[np.uint8]:
    """Return the labels of a square, segmented part by part with this halo."""
    labels = np.zeros((square.height, square.width), np.uint8)
    for tile in parts:
        box = read_box(tile, halo, predictor.stride_px)
        image = reader.read(box.w_x, box.w_y, box.width, box.height)
        answer, *_ = predictor.predict(image[None], [(box.w_x, box.w_y)], 0)
        top, left = tile.w_y0 - square.w_y0, tile.w_x0 - square.w_x0
        labels[top : top + tile.height, left : left + tile.width] = answer[0][box.crop(tile)]
    return labels


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--model", default="nuclei")
@click.option("--mpp", type=float)
@click.option("--square-px", "side", type=int, default=1024)
@click.option("--tile-px", type=int, default=256)
def main(slide: Path, model: str, mpp: float | None, side: int, tile_px: int) -> None:
    predictor = Predictor.load(model_dir(Settings().models_dir, model), "cpu")
    reach = theoretical_reach(predictor.model)
    with open_slide(slide) as opened:
        plane = WorkingPlane.from_geometry(opened.geometry, predictor.mpp, mpp)
        reader = PlaneReader(opened, plane, best_level(opened.geometry, plane))
        left, top = ((length - side) // 2 // tile_px * tile_px for length in (plane.w_width, plane.w_height))
        square = Region(0, 0, 0, left, top, left + side, top + side)
        whole = segment(predictor, reader, square, [square], reach)
        print(f"{model}: theoretical reach {reach} px; tiles of {tile_px} px against {side} px in one piece")
        print(f"{'halo px':>8}{'same labels %':>16}   needed {NEEDED_PERCENT} %")
        shares = {}
        for halo in sorted({0, 16, 32, 48, 64, 80, 96, 128, predictor.halo_px, reach}):
            labels = segment(predictor, reader, square, tiles(square, tile_px), halo)
            shares[halo] = 100 * float((labels == whole).mean())
            shipped = "   shipped" if halo == predictor.halo_px else ""
            print(f"{halo:>8}{shares[halo]:>16.4f}{shipped}")
    figure("halo.same_labels", shares[predictor.halo_px], "%")
    figure("halo.theoretical_reach", reach, "px")


if __name__ == "__main__":
    main()
