"""What `benchmarks.quality` spoils sections with: pen strokes, folds, blur. Each kind is drawn from a seed.

Group A was looked at while the rules were made; the seed of group B was first used when they were done.
"""

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal

from benchmarks.tissue_kinds import SOURCES, Kind
from benchmarks.tissue_thumbnails import Floats, Mask, Pixels, Textures, thumbnail
from workers.core.slides.readers.registry import open_slide
from workers.pipeline.overview import Overview
from workers.pipeline.tissue import find_tissue

SLIDES = ("CMU-1-Small-Region.svs", "crc_P2_0039_sec4_9984x16384.tif", "camelyon_level_jpeg_1152x700.dcm")
"""Slides without folds of their own. The second has a margin marked with green dye, which is ink."""

INKS = {
    "blue": [(15, 60, 175), (25, 35, 130), (50, 110, 200)],
    "green": [(0, 120, 90), (20, 100, 40), (10, 140, 130)],
    "red": [(205, 25, 50), (180, 15, 25), (225, 45, 60)],
    "black": [(25, 22, 24), (45, 45, 50), (12, 12, 14)],
}

STAINED = 0.12
"""Mean optical density from which a fold can be seen: twice nothing is nothing."""


@dataclass(frozen=True)
class Scene:
    """A section at 8 µm per px, spoiled or not.

    Args:
        name: For the table.
        pixels: uint8 (height, width, 3).
        spoiled: Where, bool (height, width).
        tissue: The tissue as it is found before it is spoiled, of the same shape.
    """

    name: str
    pixels: Pixels
    spoiled: Mask
    tissue: Mask


class Field(NamedTuple):
    """Blocks of tissue at 1 µm per px, sharp and blurred, uint8 (height, width, 3)."""

    name: str
    sharp: Pixels
    blurred: Pixels


def clean_scenes(data: Path, textures: Textures, count: int, seed: int) -> list[Scene]:
    """Return sections as they are: the slides at hand, and pieces of tissue of so many kinds."""
    rng = np.random.default_rng(seed)
    found = []
    for name in SLIDES[:count]:
        with open_slide(data / "wsi" / name) as slide:
            found.append((name.partition(".")[0][:20], Overview.from_slide(slide).pixels))
    for index in range(max(0, count - len(SLIDES))):
        source = list(SOURCES)[index % len(SOURCES)]
        light = int(rng.integers(225, 253))
        kind = Kind(f"{source} on {light}", source=source, glass=(light, light, light), pieces=int(rng.integers(1, 4)))
        found.append((kind.name, thumbnail(kind, textures, seed + index)[0]))
    nothing = [np.zeros(pixels.shape[:2], np.bool_) for _, pixels in found]
    return [
        Scene(name, pixels, none, find_tissue(Overview.of(pixels)))
        for (name, pixels), none in zip(found, nothing, strict=True)
    ]


def inked(scene: Scene, index: int, rng: Generator) -> Scene:
    """Draw strokes of one pen: ink takes its share of the light, or, every third time, is laid over it by its alpha."""
    pen = list(INKS)[index % len(INKS)]
    colour = np.array(INKS[pen][int(rng.integers(3))], np.float64)
    opacity = float(rng.uniform(0.6, 1))
    stroke = _strokes(scene.pixels.shape[:2], rng, (int(rng.integers(1, 4)), 12, 40, 150, 500))
    soft = opacity * ndimage.gaussian_filter(stroke * 1.0, 1)[..., np.newaxis]
    laid = index % 3 == 2
    seen = scene.pixels * (1 - soft) + colour * soft if laid else scene.pixels * (np.maximum(colour, 2) / 245) ** soft
    name = f"{pen} {'over' if laid else 'through'} {opacity:.1f}, {scene.name}"
    return replace(scene, name=name, pixels=_through_jpeg(seen), spoiled=stroke)


def folded(scene: Scene, rng: Generator) -> Scene:
    """Lay the section double along strips: the light comes through two places of it, one after the other."""
    strip = _strokes(scene.pixels.shape[:2], rng, (int(rng.integers(3, 7)), 5, 16, 40, 250)) & scene.tissue
    light = scene.pixels / np.percentile(scene.pixels.reshape(-1, 3), 99, axis=0)
    step = int(rng.integers(6, 15)), int(rng.integers(6, 15))
    other = np.where(np.roll(scene.tissue, step, (0, 1))[..., np.newaxis], np.roll(light, step, (0, 1)), light)
    soft = ndimage.gaussian_filter(strip * 1.0, 0.7)[..., np.newaxis]
    seen = scene.pixels * (np.minimum(other, 1) * soft + 1 - soft)
    density = -np.log10(np.maximum(seen, 1) / np.percentile(scene.pixels.reshape(-1, 3), 99, axis=0)).mean(axis=2)
    return replace(scene, pixels=_through_jpeg(seen), spoiled=strip & (density > STAINED))


def blurred_fields(data: Path, per_source: int, group: str, seed: int) -> list[Field]:
    """Return fields of real images, sharp and out of focus.

    Group A: a Gaussian of 1.5 to 5 µm. Group B: a disc of 3 to 9 µm across, as a lens makes it, then noise and JPEG.
    """
    rng = np.random.default_rng(seed)
    found = []
    for source, (folder, mpp) in SOURCES.items():
        files = sorted(path for path in (data / folder).iterdir() if path.suffix in {".png", ".jpg"})
        files = [path for path in files if "_inst" not in path.stem and "_type" not in path.stem]
        for index in rng.choice(len(files), min(per_source, len(files)), replace=False):
            with Image.open(files[index]) as image:
                pixels = np.asarray(image.convert("RGB"))
            amount = float(rng.uniform(1.5, 5))
            blurred = _defocused(pixels, amount / mpp, rng, is_disc=group == "B")
            name = f"{source} {amount:.1f} µm"
            found.append(Field(name, _at_one_um(pixels, mpp), _at_one_um(blurred, mpp)))
    return found


def _strokes(shape: tuple[int, int], rng: Generator, how: tuple[int, float, float, float, float]) -> Mask:
    """Draw bent lines of so many px width and length: count, least and most width, least and most length."""
    count, thin, thick, short, long = how
    out = np.zeros(shape, np.bool_)
    for _ in range(count):
        length = float(rng.uniform(short, long))
        at = np.arange(0, length, 0.5)
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.012, len(at)))
        y, x = (
            rng.uniform(0.1 * side, 0.9 * side) + np.cumsum(part) / 2
            for side, part in zip(shape, (np.sin(angle), np.cos(angle)), strict=True)
        )
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        line = np.ones(shape, np.bool_)
        line[y[inside].astype(int), x[inside].astype(int)] = False
        if inside.any():
            out |= ndimage.distance_transform_edt(line) < rng.uniform(thin, thick) / 2
    return out


def _defocused(pixels: Pixels, px: float, rng: Generator, *, is_disc: bool) -> Floats:
    if not is_disc:
        gaussian: Floats = ndimage.gaussian_filter(pixels.astype(np.float64), (px, px, 0))
        return gaussian
    reach = int(np.ceil(px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(px + 0.5 - np.hypot(y, x), 0, 1)
    padded = np.pad(pixels.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    seen = signal.fftconvolve(padded, (disc / disc.sum())[..., np.newaxis], mode="valid", axes=(0, 1))
    return _through_jpeg(seen + rng.normal(0, 1.5, seen.shape)).astype(np.float64)


def _at_one_um(pixels: NDArray[np.generic], mpp: float) -> Pixels:
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    size = round(image.width * mpp), round(image.height * mpp)
    return np.asarray(image.resize(size, Image.Resampling.BOX if mpp <= 0.5 else Image.Resampling.BILINEAR))


def _through_jpeg(pixels: Floats) -> Pixels:
    file = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    with Image.open(file) as image:
        return np.asarray(image)
