"""How well tissue is found: `python -m benchmarks.tissue [--data ../shared/data] [--pictures FOLDER]`.

Thumbnails with known tissue, of real texture on glass of many kinds, are given to the method of this project and to two
that others use. Group A was looked at while the method was made; the kinds of group B are drawn from a seed that was
first used when it was done. The mask has a rim of 16 µm on purpose: glass that lies so near to tissue is not counted in
the IoU, for any method. The column "+rim" counts it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.report import figure
from benchmarks.tissue_kinds import GROUP_A, Kind, group_b
from benchmarks.tissue_methods import otsu_on_grey, otsu_on_stain
from benchmarks.tissue_thumbnails import Mask, Pixels, Textures, thumbnail
from workers.core.command_line import CONTEXT
from workers.pipeline.overview import Overview
from workers.pipeline.tissue import DILATE_PX, find_tissue

GROUP_B_COUNT, GROUP_B_SEED = 24, 2028


class Score(NamedTuple):
    """What one mask is worth, against the tissue that is there."""

    iou: float
    iou_with_rim: float
    recall: float


def ours(pixels: Pixels) -> Mask:
    """Return the mask of this project."""
    return find_tissue(Overview.of(pixels))


METHODS: dict[str, Callable[[Pixels], Mask]] = {
    "ours": ours,
    "otsu_on_grey": otsu_on_grey,
    "otsu_on_stain": otsu_on_stain,
}


def score(found: Mask, truth: Mask) -> Score:
    """Compare a mask with the truth, bool (height, width) both; the truth holds something."""
    side = 2 * DILATE_PX + 1
    rim = ndimage.binary_dilation(truth, np.ones((side, side))) & ~truth
    hits, either = int((found & truth).sum()), found | truth
    return Score(hits / int((either & ~rim).sum()), hits / int(either.sum()), hits / int(truth.sum()))


def picture(pixels: Pixels, truth: Mask, masks: list[Mask]) -> Pixels:
    """Return a thumbnail beside the masks: what is missed in red, what is too much in yellow, glass in green."""
    panels = [pixels]
    for mask in masks:
        panel = pixels.copy()
        panel[~mask] = panel[~mask] // 4 + np.array((0, 60, 0), np.uint8)
        panel[mask & ~truth] = (220, 220, 0)
        panel[truth & ~mask] = (255, 0, 0)
        panels.append(panel)
    return np.hstack(panels)


def measure(kinds: tuple[Kind, ...], textures: Textures, group: str, pictures: Path | None) -> dict[str, list[Score]]:
    """Print a row for each kind of thumbnail, and return the scores of each method."""
    print(f"\n{'group ' + group:46}" + "".join(f"{name:>22}" for name in METHODS))
    print(f"{'':46}" + f"{'IoU  +rim recall':>22}" * len(METHODS))
    scores: dict[str, list[Score]] = {name: [] for name in METHODS}
    for index, kind in enumerate(kinds):
        pixels, truth = thumbnail(kind, textures, index)
        if not truth.any():
            continue
        masks = [method(pixels) for method in METHODS.values()]
        for name, mask in zip(METHODS, masks, strict=True):
            scores[name].append(score(mask, truth))
        row = (scores[name][-1] for name in METHODS)
        print(f"{kind.name:46}" + "".join(f"{one.iou:9.3f} {one.iou_with_rim:5.3f} {one.recall:6.3f}" for one in row))
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(pixels, truth, masks)).save(pictures / f"{group}{index:02}.png")
    return scores


def report(name: str, scores: list[Score]) -> None:
    """Print the figures of one method, or of one group of thumbnails."""
    ious, with_rim = [one.iou for one in scores], [one.iou_with_rim for one in scores]
    recalls = [one.recall for one in scores]
    figure(f"{name}.iou_mean", float(np.mean(ious)), "", (min(ious), max(ious)))
    figure(f"{name}.iou_with_rim_mean", float(np.mean(with_rim)), "", (min(with_rim), max(with_rim)))
    figure(f"{name}.worst_recall", min(recalls), "", (min(recalls), max(recalls)))


DATA = Path(os.environ.get("LDIFFUSION_TEST_DATA", "../shared/data"))


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="Folder of the textures.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write each thumbnail with its masks here.")
@click.option("--kinds", type=int, default=GROUP_B_COUNT, help="Of group B; of group A as many at the most.")
@click.option("--seed", type=int, default=GROUP_B_SEED, help="Of group B.")
def main(data: Path, pictures: Path | None, kinds: int, seed: int) -> None:
    textures = Textures(data)
    group_a = measure(GROUP_A[:kinds], textures, "A", pictures)
    drawn = measure(group_b(kinds, seed), textures, "B", pictures)
    print()
    for name in METHODS:
        if name != "ours":
            report(f"tissue.{name}", group_a[name] + drawn[name])
    report("tissue.group_a", group_a["ours"])
    report("tissue.group_b", drawn["ours"])
    report("tissue", group_a["ours"] + drawn["ours"])


if __name__ == "__main__":
    main()
