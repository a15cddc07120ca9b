"""What `benchmarks.trust` takes for a sign of novelty: per cell of 32 px at the model's µm per px, higher is stranger.

A score that needs to know what is usual is fitted on the cells of clean training images.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.covariance import LedoitWolf
from torch import Tensor

from models.ldiffusion import LDiffusion
from models.noise import NoiseField
from models.predictor import Predictor

CELL_PX: Final = 32
WHITE: Final = 245.0

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Raw = dict[str, Floats]
"""By name, (rows, columns, values) of the cells of a picture."""


def in_cells(plane: NDArray[np.generic]) -> Floats:
    """Return the means of the cells of a plane (height, width, values); its sides are multiples of the cell."""
    rows, cols, values = plane.shape
    side = CELL_PX
    means: Floats = plane.reshape(rows // side, side, cols // side, side, values).mean(axis=(1, 3), dtype=np.float64)
    return means


def _pooled(features: Tensor, stride: int) -> Floats:
    """Features (1, C, h, w) of a stride that divides the cell → (rows, columns, C)."""
    means = torch.nn.functional.avg_pool2d(features.float(), CELL_PX // stride)[0]
    pooled: Floats = means.permute(1, 2, 0).double().cpu().numpy()
    return pooled


@torch.inference_mode()
def measure(pixels: Pixels, image_alone: Predictor, sequence: Predictor) -> Raw:
    """Return what all scores of a picture are made of; its sides are multiples of the cell.

    Args:
        pixels: uint8 (height, width, 3).
        image_alone: A model without a sequence, for what the segmentation network tells.
        sequence: One with it, for the errors of its denoising; nothing is decoded.
    """
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    head = image_alone.model.head
    features = head.features(x)
    logits = head.classify(head.refine(features))[:, : len(image_alone.classes)]
    probability = logits.softmax(dim=1)
    entropy = -(probability * probability.clamp_min(1e-12).log()).sum(dim=1, keepdim=True)
    return {
        "softmax": _pooled(1 - probability.amax(dim=1, keepdim=True), 1),
        "entropy": _pooled(entropy, 1),
        "features": _pooled(features[-1], 2 ** (len(features) - 1)),
        "denoising": _errors(sequence.model, x),
        "statistics": statistics(pixels),
    }


def _noise(model: LDiffusion, x: Tensor, seed: int) -> Callable[[int], Tensor]:
    field = NoiseField(model.config.schedule.law, seed)
    channels, f = model.config.latent_grid
    shape = channels, x.shape[2] // f, x.shape[3] // f
    return lambda t: field.draw(0, 0, shape, t)[None]


def _errors(model: LDiffusion, x: Tensor) -> Floats:
    """Return |ε − ε̂| of every step and channel, (rows, columns, steps · channels), step by step."""
    z0, noise = model.encode(x), _noise(model, x, 0)
    found = []
    for t in model.config.schedule.timesteps:
        drawn = noise(t)
        found.append((model.denoise(z0, drawn, torch.full((1,), t)).noise - drawn).abs())
    return _pooled(torch.cat(found, dim=1), model.config.latent_grid[1])


def statistics(pixels: Pixels) -> Floats:
    """Return mean and deviation of each channel's optical density, and the logarithm of the detail's variance."""
    density = -np.log10(np.maximum(pixels, 1) / WHITE)
    mean, square = in_cells(density), in_cells(density**2)
    detail = in_cells(ndimage.laplace(density.mean(axis=2))[..., np.newaxis] ** 2)
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0)), np.log(detail + 1e-6)], axis=2)


class Scores:
    """Novelty of cells, fitted on clean ones.

    Args:
        clean: Of each training picture what `measure` gives.
        timesteps: Of the sequence.
    """

    def __init__(self, clean: Iterable[Raw], timesteps: tuple[int, ...]) -> None:
        pictures = list(clean)
        self.timesteps = timesteps
        self._usual: dict[str, LedoitWolf] = {}
        for name in ("statistics", "features"):
            self._usual[name] = LedoitWolf().fit(_flat(pictures, name))
        errors = _flat(pictures, "denoising")
        self._scale = errors.mean(axis=0)  # of a Laplace law the most likely b
        self._usual["denoising"] = LedoitWolf().fit(np.log(self._of_steps(errors)))

    def of(self, raw: Raw) -> dict[str, Floats]:
        """Return each score, (rows, columns)."""
        errors = raw["denoising"]
        of_steps = self._of_steps(errors)
        found = {f"denoising.t{t}": of_steps[..., at] for at, t in enumerate(self.timesteps) if at % 2 == 0}
        found["denoising.nll"] = (errors / self._scale + np.log(2 * self._scale)).mean(axis=-1)
        found["denoising.distance"] = self._distance("denoising", np.log(of_steps))
        found |= {name: raw[name][..., 0] for name in ("softmax", "entropy")}
        found |= {name: self._distance(name, raw[name]) for name in ("features", "statistics")}
        return found

    def _of_steps(self, errors: Floats) -> Floats:
        means: Floats = errors.reshape(*errors.shape[:-1], len(self.timesteps), -1).mean(axis=-1)
        return means

    def _distance(self, name: str, cells: Floats) -> Floats:
        """Return the squared Mahalanobis distance of cells."""
        flat = cells.reshape(-1, cells.shape[-1])
        distance: Floats = self._usual[name].mahalanobis(flat).reshape(cells.shape[:-1])
        return distance


def _flat(pictures: list[Raw], name: str) -> Floats:
    return np.concatenate([each[name].reshape(-1, each[name].shape[-1]) for each in pictures])
