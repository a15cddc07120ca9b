"""How often H&E is told from other stains of bright field: `python -m benchmarks.stain [--data ../shared/data]`.

The images of one source (a patient, a slide; else a file) are put side by side at about 8 µm per px, as a job sees
them. They count as H&E, and are alarms where they are not taken for it. Of the same images other stains are made by
unmixing (Ruifrok and Johnston's vectors): eosin replaced by DAB, all of it or in three of ten nuclei with haematoxylin
alone elsewhere, a trichrome (half of eosin blue, half red), and eosin without haematoxylin.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.report import figure
from workers.core.command_line import CONTEXT
from workers.core.slides.readers.registry import open_slide
from workers.outputs.stain import VECTORS
from workers.pipeline.overview import UM_PER_PX, Overview
from workers.pipeline.stain_match import MIN_PX, StainHues, find_hues
from workers.pipeline.tissue import find_tissue

Floats = NDArray[np.float64]
SETS = {
    "tnbc": ("*/images/*.png", 0.25, "_"),
    "consep": ("*/images/*.jpg", 0.25, "_"),
    "monuseg_external": ("images/*.jpg", 0.25, ""),
    "glas": ("*/images/*.jpg", 0.62, ""),
    "dsb2018_stained": ("*/images/*.png", 1.0, ""),
    "histolytics_hgsc": ("hgsc_*[!pt].jpg", 0.5, ""),
}
"""Of each data set its images, their µm per px (of one not known), and what ends the name of a source."""

SLIDES = (
    "CMU-1-Small-Region.svs",
    "OS-1-detail.ome.tif",
    "crc_P2_0039_sec4_9984x16384.tif",
    "tcga-cr-7395-01a-01-ts1.svs",
    "camelyon_level_j2k_1696x812.dcm",
    "camelyon_level_jpeg_1152x700.dcm",
)
"""H&E, read as a job reads them."""

ANILIN_BLUE, PONCEAU = (0.80, 0.59, 0.10), (0.10, 0.73, 0.67)
WHITE, FINE = 240.0, 4
"""White, and how many px of a made stain are averaged to one along a side."""


def stains(pixels: Floats) -> Floats:
    """Return haematoxylin, eosin and DAB of pixels (height, width, 3), none below 0."""
    density = np.maximum(-np.log10(np.maximum(pixels, 1) / WHITE), 0)
    parts: Floats = np.maximum(density @ np.linalg.inv(np.array(VECTORS)), 0)
    return parts


def mixed(parts: Floats, *vectors: tuple[float, float, float]) -> Floats:
    """Return pixels of stains (height, width, n)."""
    pixels: Floats = WHITE * 10 ** -(parts @ np.array(vectors))
    return pixels


def patches(shape: tuple[int, ...], share: float) -> NDArray[np.bool_]:
    """Return patches of some 20 px that cover a share, the same each time."""
    noise = ndimage.gaussian_filter(np.random.default_rng(7).random(shape[:2]), 5)
    chosen: NDArray[np.bool_] = noise < np.quantile(noise, share)
    return chosen


def all_dab(pixels: Floats) -> Floats:
    haematoxylin, eosin, _ = np.moveaxis(stains(pixels), -1, 0)
    return mixed(np.stack([haematoxylin, eosin], -1), VECTORS[0], VECTORS[2])


def some_dab(pixels: Floats) -> Floats:
    haematoxylin, eosin, _ = np.moveaxis(stains(pixels), -1, 0)
    brown = patches(haematoxylin.shape, 0.3)
    parts = np.stack([np.where(brown, 0.3, 1) * haematoxylin + 0.1 * eosin, brown * 1.5 * haematoxylin], -1)
    return mixed(parts, VECTORS[0], VECTORS[2])


def trichrome(pixels: Floats) -> Floats:
    haematoxylin, eosin, _ = np.moveaxis(stains(pixels), -1, 0)
    blue = patches(haematoxylin.shape, 0.5)
    return mixed(np.stack([haematoxylin, eosin * blue, eosin * ~blue], -1), VECTORS[0], ANILIN_BLUE, PONCEAU)


def eosin_alone(pixels: Floats) -> Floats:
    haematoxylin, eosin, _ = np.moveaxis(stains(pixels), -1, 0)
    return mixed((eosin + haematoxylin / 2)[..., np.newaxis], VECTORS[1])


MADE: dict[str, Callable[[Floats], Floats]] = {
    "dab": all_dab,
    "dab_some": some_dab,
    "trichrome": trichrome,
    "eosin_alone": eosin_alone,
}


def sources(data: Path, name: str, limit: int) -> Iterator[tuple[str, list[Floats]]]:
    """Yield of a data set the images of each source at a quarter of 8 µm per px, float (height, width, 3)."""
    glob, mpp, end = SETS[name]
    files = defaultdict(list)
    for path in sorted((data / name).glob(glob)):
        parts = path.stem.split(end) if end else [path.stem]
        files["_".join(parts[:-1]) or parts[0]].append(path)
    step = max(1, -(-len(files) // limit))
    for source in sorted(files)[::step]:
        yield source, [reduced(read(path), round(UM_PER_PX / FINE / mpp)) for path in files[source]]


def read(path: Path) -> Floats:
    """Return an image, float (height, width, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def reduced(pixels: Floats, side: int) -> Floats:
    """Return the means of squares of `side` px."""
    rows, columns = (length // side for length in pixels.shape[:2])
    means: Floats = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).mean(axis=(1, 3))
    return means


def look(images: list[Floats]) -> StainHues:
    """Return the hues of images, side by side, as a job would see them."""
    small = [reduced(each, FINE) for each in images]
    rows = min(len(each) for each in small)
    pixels = np.rint(np.hstack([each[:rows] for each in small])).astype(np.uint8)
    overview = Overview.of(pixels)
    return find_hues(overview, find_tissue(overview))


def slides(data: Path) -> Iterator[tuple[str, StainHues]]:
    """Yield the hues of the H&E slides at hand."""
    for name in SLIDES:
        with open_slide(data / "wsi" / name) as slide:
            overview = Overview.from_slide(slide)
            yield name, find_hues(overview, find_tissue(overview))


@click.command(context_settings=CONTEXT)
@click.option("--data", type=click.Path(path_type=Path), help="LDIFFUSION_TEST_DATA, else ../shared/data.")
@click.option("--limit", default=40, show_default=True, help="Sources of a data set that are looked at, at most.")
def main(data: Path | None, limit: int) -> None:
    """Print how many sources of each kind are taken for what is no H&E."""
    folder = data or Path(os.environ.get("LDIFFUSION_TEST_DATA") or "../shared/data")
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    print(f"{'data set':20}{'stain':14}{'sources':>8}{'told':>6}{'green':>14}{'brown':>14}{'red':>14}")
    for name in SETS:
        rows: dict[str, list[StainHues]] = defaultdict(list)
        for source, images in sources(folder, name, limit):
            for stain, make in {"he": lambda pixels: pixels, **MADE}.items():
                found = look([make(each) for each in images])
                if found.px >= MIN_PX:
                    rows[stain].append(found)
                if stain == "he" and found.unlike_he:
                    print(f"  {name} {source}: {found.unlike_he}")
        for stain, all_found in rows.items():
            told = sum(each.unlike_he is not None for each in all_found)
            counts[stain][0] += told
            counts[stain][1] += len(all_found)
            spans = [span([getattr(each, field) for each in all_found]) for field in ("green", "brown", "red")]
            print(f"{name:20}{stain:14}{len(all_found):8}{told:6}{''.join(f'{text:>14}' for text in spans)}")
    for name, found in slides(folder):
        counts["he"][0] += found.unlike_he is not None
        counts["he"][1] += found.px >= MIN_PX
        print(f"{name:40} {found.px:8} px, green {found.green:.2f}, brown {found.brown:.2f}, red {found.red:.2f}")
    for stain, (told, count) in counts.items():
        figure(f"stain.{stain}_told", told / count, f"of {count} sources")


def span(values: list[float]) -> str:
    """Return the smallest and the largest value."""
    return f"{min(values):.2f}..{max(values):.2f}"


if __name__ == "__main__":
    main()
