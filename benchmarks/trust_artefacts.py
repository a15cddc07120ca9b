"""What `benchmarks.trust` spoils clean pictures with, at the model's µm per px; each kind is drawn from a seed.

Ink, folds and bubbles cover a part, and only cells of which most is spoiled count; the other kinds cover all.
"""

from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks.quality_artefacts import INKS
from benchmarks.stain import all_dab, stains, trichrome

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Spoiled(NamedTuple):
    """A picture, uint8 (height, width, 3), and where it is spoiled, bool (height, width)."""

    pixels: Pixels
    where: Mask


def spoil(kind: str, pixels: Pixels, seed: int) -> Spoiled:
    """Return a picture spoiled in one of `KINDS`; of one seed the same each time."""
    rng = np.random.default_rng(seed)
    seen, where = KINDS[kind](pixels.astype(np.float64), rng)
    return Spoiled(seen.clip(0, 255).round().astype(np.uint8), where)


def _band(shape: tuple[int, ...], rng: Generator, share: float) -> Mask:
    """Return a straight band through the middle of a picture that covers about this share of its diagonal."""
    angle = rng.uniform(0, np.pi)
    y, x = np.indices(shape[:2])
    along = (y - shape[0] / 2) * np.sin(angle) + (x - shape[1] / 2) * np.cos(angle)
    band: Mask = np.abs(along) < share * np.hypot(shape[0], shape[1]) / 2
    return band


def _ink(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    """A pen's stroke is wider than the picture is: its light is taken through the ink, in a third of all over it."""
    pens = list(INKS.values())
    colours = pens[int(rng.integers(len(pens)))]
    colour = np.array(colours[int(rng.integers(len(colours)))], np.float64)
    band = _band(pixels.shape, rng, 0.5)
    soft = rng.uniform(0.6, 1) * ndimage.gaussian_filter(band * 1.0, 2)[..., np.newaxis]
    if rng.random() < 1 / 3:
        return pixels * (1 - soft) + colour * soft, band
    return pixels * (np.maximum(colour, 2) / 245) ** soft, band


def _fold(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    band = _band(pixels.shape, rng, 0.4)
    step = int(rng.integers(20, 80)), int(rng.integers(20, 80))
    soft = ndimage.gaussian_filter(band * 1.0, 1.5)[..., np.newaxis]
    return pixels * (1 - soft + soft * np.roll(pixels, step, (0, 1)) / 245), band


def _blur(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    """Out of focus by a Gaussian of 3 to 8 px, then the sensor's noise."""
    px = rng.uniform(3, 8)
    blurred = ndimage.gaussian_filter(pixels, (px, px, 0)) + rng.normal(0, 1.5, pixels.shape)
    return blurred, np.ones(pixels.shape[:2], np.bool_)


def _bubble(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    """Air under the glass: bright and dull within, a dark rim with a bright line around it."""
    height, width = pixels.shape[:2]
    radius = rng.uniform(0.3, 0.42) * min(height, width)
    y, x = np.indices((height, width))
    far = np.hypot(y - height * rng.uniform(0.4, 0.6), x - width * rng.uniform(0.4, 0.6))
    inside = far < radius
    dull = 0.35 * ndimage.gaussian_filter(pixels, (4, 4, 0)) + 0.65 * 235
    seen = np.where(inside[..., np.newaxis], dull, pixels)
    seen *= (1 - 0.75 * np.exp(-(((far - radius) / 6) ** 2)))[..., np.newaxis]
    seen += (60 * np.exp(-(((far - radius + 12) / 3) ** 2)))[..., np.newaxis]
    return seen, far < radius + 8


def _jpeg(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(5, 16)))
    with Image.open(file) as image:
        return np.asarray(image, np.float64), np.ones(pixels.shape[:2], np.bool_)


def _fluorescence(pixels: Floats, rng: Generator) -> tuple[Floats, Mask]:
    """Nuclei that shine blue on black, the rest of the tissue a little green."""
    haematoxylin, eosin, _ = np.moveaxis(stains(pixels), -1, 0)
    gain = rng.uniform(120, 220)
    planes = [0 * eosin, gain * 0.15 * eosin, gain * haematoxylin]
    return np.stack(planes, -1) + rng.normal(6, 3, pixels.shape), np.ones(pixels.shape[:2], np.bool_)


def _dab(pixels: Floats, _: Generator) -> tuple[Floats, Mask]:
    return all_dab(pixels), np.ones(pixels.shape[:2], np.bool_)


def _trichrome(pixels: Floats, _: Generator) -> tuple[Floats, Mask]:
    return trichrome(pixels), np.ones(pixels.shape[:2], np.bool_)


KINDS: dict[str, Callable[[Floats, Generator], tuple[Floats, Mask]]] = {
    "ink": _ink,
    "fold": _fold,
    "blur": _blur,
    "bubble": _bubble,
    "jpeg": _jpeg,
    "fluorescence": _fluorescence,
    "dab": _dab,
    "trichrome": _trichrome,
}
