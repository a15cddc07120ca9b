"""t-SNE of pixel latent vectors, of one model or of several along its training (the paper's Fig. 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from models.training.figures.style import ink, new_figure
from models.training.figures.vectors import PixelVectors

_PERPLEXITY: Final = 30.0
_FEWEST: Final = 4
_COLUMNS: Final = 4


@dataclass(frozen=True)
class Embedding:
    """One model's vectors on the plane.

    Attributes:
        name: Name of the panel.
        labels: (M,) class of each pixel.
        points: (M, 2), without unit.
        silhouette: Mean silhouette of the classes among the vectors themselves, −1 to 1, by the cosine distance; None
            with one class only.
    """

    name: str
    labels: tuple[int, ...]
    points: tuple[tuple[float, ...], ...]
    silhouette: float | None


@dataclass(frozen=True)
class Embeddings:
    """The panels of one figure."""

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    seed: int
    perplexity: float
    panels: tuple[Embedding, ...]


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and scale each step over the drawn pixels, as the contrastive loss does over a batch: (M, T) → (M, T)."""
    scale = values.std(axis=0)
    result: NDArray[np.float64] = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1)
    return result


def embed(vectors: Sequence[tuple[str, PixelVectors]], seed: int) -> Embeddings:
    """Compute t-SNE of standardised vectors by the cosine distance, which is what the contrastive loss sees.

    Raises:
        ValueError: There are too few pixels, or the models' classes differ.
    """
    first = vectors[0][1]
    fewest = min(len(one.labels) for _, one in vectors)
    if fewest < _FEWEST:
        raise ValueError(f"{fewest} annotated pixels were drawn; t-SNE needs {_FEWEST} or more")
    perplexity = min(_PERPLEXITY, (fewest - 1) / 3)
    panels = []
    for name, one in vectors:
        if one.classes != first.classes:
            raise ValueError(f"{name} has the classes {one.classes}, {vectors[0][0]} {first.classes}")
        values, labels = standardised(np.array(one.values)), np.array(one.labels)
        tsne = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed)
        points = np.round(tsne.fit_transform(values).astype(np.float64), 4)
        several = 1 < len(np.unique(labels)) < len(labels)
        silhouette = float(silhouette_score(values, labels, metric="cosine")) if several else None
        panels.append(Embedding(name, one.labels, tuple(map(tuple, points.tolist())), silhouette))
    return Embeddings(first.classes, first.colors, seed, perplexity, tuple(panels))


def draw(embeddings: Embeddings) -> Figure:
    """Draw a panel for each model. The axes of a t-SNE have neither unit nor meaning, so they have no ticks."""
    count = len(embeddings.panels)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    side = 3.4 if count == 1 else 7.2 / columns
    figure = new_figure(side * columns, 0.4 + (side + 0.2) * rows)
    present = sorted({label for panel in embeddings.panels for label in panel.labels})
    for place, panel in enumerate(embeddings.panels):
        axis = figure.add_subplot(rows, columns, place + 1)
        points, labels = np.array(panel.points), np.array(panel.labels)
        # In one random order, so that no class covers another.
        order = np.random.default_rng(embeddings.seed).permutation(len(labels))
        inks = np.array([ink(color) for color in embeddings.colors])
        axis.scatter(points[order, 0], points[order, 1], c=inks[labels[order]].tolist(), s=3, linewidths=0, alpha=0.8)
        shown = (
            "" if panel.silhouette is None else f"\nsilhouette of the vectors {panel.silhouette:.2f}".replace("-", "−")
        )
        axis.set(xticks=[], yticks=[], title=panel.name + shown)
        axis.set_box_aspect(1)
        axis.spines[:].set_visible(True)
    for label in present:
        figure.axes[0].scatter([], [], s=16, color=ink(embeddings.colors[label]), label=embeddings.classes[label])
    figure.legend(loc="outside lower center", ncols=min(5, len(present)))
    return figure
