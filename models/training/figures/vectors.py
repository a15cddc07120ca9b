"""Pixel latent vectors at annotated pixels, as inference makes them: what the violins and the t-SNE are drawn of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.predictor import Predictor
from models.training.crops.data import IGNORE, Sample, resize_image, resize_labels, working_size
from models.training.evaluation.evaluate import mirrored

# (predictor, image (H, W, 3), seed) → (T, H, W)
Maps = Callable[[Predictor, NDArray[np.uint8], int], NDArray[np.float32]]


@dataclass(frozen=True)
class PixelVectors:
    """Vectors of drawn pixels.

    Attributes:
        model: Name of the model.
        timesteps: The T steps, ascending.
        classes: Names of the model's classes.
        colors: Their colours.
        labels: (M,) class of each pixel.
        values: (M, T) grey values in [−1, 1].
    """

    model: str
    timesteps: tuple[int, ...]
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    labels: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


def grey_maps(predictor: Predictor, image: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """Return the grey maps (T, H, W) of one image (H, W, 3) of any size at the model's mpp, mirrored at its edges."""
    padded, inside = mirrored(predictor, image)
    origin = -predictor.halo_px
    maps: NDArray[np.float32] = predictor.grey_maps(padded[None], [(origin, origin)], seed)[0].float().cpu().numpy()
    return maps[(slice(None), *inside)]


def draw_pixels(labels: NDArray[np.uint8], classes: int, per_class: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return flat indices of up to `per_class` annotated pixels of every class, without repetition, class by class."""
    flat = labels.ravel()
    drawn = [np.flatnonzero(flat == label) for label in range(classes)]
    parts = [rng.choice(one, min(per_class, one.size), replace=False) if one.size else one for one in drawn]
    return np.concatenate(parts).astype(np.int64)


def collect(
    predictor: Predictor, samples: Sequence[Sample], per_class: int, seed: int, maps: Maps = grey_maps
) -> PixelVectors:
    """Draw pixels of every class and return their vectors, of the grey maps or of other maps (T, H, W).

    Every image gives up to `per_class // images` pixels of a class, so that none outweighs the others. Which pixels
    is a matter of the seed and the labels alone: models of one mpp are asked about the same pixels.

    Raises:
        ValueError: No pixel is annotated.
    """
    classes = predictor.classes
    share = max(1, per_class // max(len(samples), 1))
    rng = np.random.default_rng(seed)
    labels, values = [], []
    for sample in samples:
        width, height = working_size(sample, predictor.mpp)
        reference = resize_labels(sample.labels, width, height)
        pixels = draw_pixels(reference, len(classes), share, rng)
        planes = maps(predictor, resize_image(sample.image, width, height), seed)
        labels.append(reference.ravel()[pixels])
        values.append(planes.reshape(len(planes), -1)[:, pixels].T)
    if not sum(map(len, labels)):
        raise ValueError(f"none of the {len(samples)} images has an annotated pixel (labels below {IGNORE})")
    rounded = np.round(np.concatenate(values).astype(np.float64), 5)
    return PixelVectors(
        model=predictor.spec.name,
        timesteps=predictor.model.config.schedule.timesteps,
        classes=tuple(c.name for c in classes),
        colors=tuple(c.color for c in classes),
        labels=tuple(np.concatenate(labels).tolist()),
        values=tuple(map(tuple, rounded.tolist())),
    )


def thin(vectors: PixelVectors, per_class: int, seed: int) -> PixelVectors:
    """Return up to `per_class` pixels of every class, the same ones for equal labels and seed."""
    labels = np.array(vectors.labels, np.uint8)
    kept = draw_pixels(labels, len(vectors.classes), per_class, np.random.default_rng(seed))
    values = tuple(vectors.values[place] for place in kept)
    return replace(vectors, labels=tuple(labels[kept].tolist()), values=values)
