"""How often a grey value occurs, per step and component (the paper's Fig. 2), of several models or noise laws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.config import NoiseLaw
from models.noise import NoiseField
from models.predictor import Predictor
from models.training.crops.data import Sample
from models.training.evaluation.evaluate import mirrored
from models.training.figures.style import ink, new_figure
from models.training.figures.vectors import Maps, PixelVectors, collect, grey_maps

_BINS: Final = 40
_KEPT: Final = (0.5, 99.5)


@dataclass(frozen=True)
class GreyRow:
    """A row of the figure: its name, and the pixels' values at each step."""

    name: str
    vectors: PixelVectors


@dataclass(frozen=True)
class Greys:
    """The rows. All are asked about the same pixels if the models have one mpp."""

    rows: tuple[GreyRow, ...]


def of_models(drawn: Sequence[tuple[str, PixelVectors]]) -> Greys:
    """Return a row for each model."""
    return Greys(tuple(GreyRow(name, one) for name, one in drawn))


def of_laws(
    folder: Path, laws: Sequence[NoiseLaw], samples: Sequence[Sample], per_class: int, seed: int, device: str
) -> Greys:
    """Return two rows for each law, of one model whose weights stay what they are.

    The noised latent is before any network but the encoder, which sees no noise, so it is what training with the law
    would have as well. The grey map is what these weights, trained with a law of their own, make of it.

    Raises:
        ValueError: The model decodes no maps, or no pixel is annotated.
    """
    rows = []
    for law in laws:
        predictor = Predictor.load(folder, device)
        config = predictor.model.config
        own = " (trained with)" if config.schedule.law == law else ""
        predictor.model.config = replace(config, schedule=replace(config.schedule, law=law))
        kinds: dict[str, Maps] = {
            f"noised latent, {law}": partial(noised_latents, law=law),
            f"grey map, {law}{own}": grey_maps,
        }
        for name, maps in kinds.items():
            rows.append(GreyRow(name, collect(predictor, samples, per_class, seed, maps)))
    return Greys(tuple(sorted(rows, key=lambda row: row.name.startswith("grey map"))))


@torch.inference_mode()
def noised_latents(predictor: Predictor, image: NDArray[np.uint8], seed: int, law: NoiseLaw) -> NDArray[np.float32]:
    """Return the first channel of z_t at every pixel, (T, H, W), of one image (H, W, 3), mirrored at its edges.

    Raises:
        ValueError: The model has no encoder of its own.
    """
    model = predictor.model
    if model.config.form != "maps":
        raise ValueError("this model decodes no maps: it has no latent of the image")
    padded, inside = mirrored(predictor, image)
    x = torch.from_numpy(padded[None]).to(predictor.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    z0 = model.encode(x.contiguous(memory_format=torch.channels_last))
    field, f = NoiseField(law, seed), model.config.network.latent_stride
    origin = -predictor.halo_px // f
    shape = (z0.shape[1], z0.shape[2], z0.shape[3])
    planes = []
    for t in model.config.schedule.timesteps:
        noise = field.draw(origin, origin, shape, t, predictor.device)[None]
        noisy = model.scheduler.add_noise(z0, noise, torch.full((1,), t, device=predictor.device))
        planes.append(noisy[0, 0].float().cpu().numpy())
    maps: NDArray[np.float32] = np.stack(planes).repeat(f, axis=1).repeat(f, axis=2)
    return maps[(slice(None), *inside)]


def overlap(counts: Sequence[NDArray[np.int64]]) -> float:
    """Return the share that two histograms have in common, 0 (apart) to 1 (alike); of several the mean over pairs."""
    shares = [one / max(one.sum(), 1) for one in counts]
    return float(np.mean([np.minimum(a, b).sum() for a, b in combinations(shares, 2)]))


def draw(greys: Greys) -> Figure:
    """Draw a panel for each row and step: of each class how many of the drawn pixels have a value."""
    steps = max(len(row.vectors.timesteps) for row in greys.rows)
    figure = new_figure(min(7.2, 1.0 + 1.25 * steps), 0.5 + 1.15 * len(greys.rows), pad=0.03)
    grid = figure.subplots(len(greys.rows), steps, squeeze=False)
    for row, axes in zip(greys.rows, grid, strict=True):
        vectors, values = row.vectors, np.array(row.vectors.values)
        labels = np.array(vectors.labels)
        present = [label for label in range(len(vectors.classes)) if (labels == label).any()]
        low, high = (float(end) for end in np.percentile(values, _KEPT))
        edges = np.linspace(low, high, _BINS + 1)
        most = 0
        for step, axis in enumerate(axes[: len(vectors.timesteps)]):
            counts = [np.histogram(np.clip(values[labels == k, step], low, high), edges)[0] for k in present]
            for label, count in zip(present, counts, strict=True):
                axis.stairs(count, edges, fill=True, color=ink(vectors.colors[label]), alpha=0.45)
                axis.stairs(count, edges, color=ink(vectors.colors[label]), linewidth=0.6)
            shown = f", overlap {overlap(counts):.2f}" if len(present) > 1 else ""
            axis.set_title(f"t = {vectors.timesteps[step]}{shown}", fontsize=6)
            axis.tick_params(labelsize=5)
            most = max(most, *(int(count.max()) for count in counts))
        for axis in axes:
            axis.set(ylim=(0, 1.05 * most), yticks=[])
            axis.set_axis_on() if axis.has_data() else axis.set_axis_off()
        axes[0].set_ylabel(row.name.replace(", ", "\n").replace(" (", "\n("), fontsize=6)
    first = greys.rows[0].vectors
    for label in sorted(set(first.labels)):
        grid[0][0].plot([], [], color=ink(first.colors[label]), linewidth=5, label=first.classes[label])
    caption = f"count of {len(first.labels)} drawn pixels by value"
    figure.legend(loc="outside lower center", ncols=4, title=caption, title_fontsize=6)
    return figure
