"""Violins of pixel latent values, per component and step (the paper's Fig. 1 and 5)."""

import numpy as np
from matplotlib.figure import Figure

from models.training.figures.style import ink, new_figure
from models.training.figures.vectors import PixelVectors


def draw(vectors: PixelVectors) -> Figure:
    """Draw a violin of the grey values for every step and every class that has a pixel; a bar marks the median."""
    labels, values = np.array(vectors.labels), np.array(vectors.values)
    present = [label for label in range(len(vectors.classes)) if (labels == label).any()]
    steps = len(vectors.timesteps)
    figure = new_figure(min(7.2, 1.6 + 0.32 * steps * len(present)), 2.8)
    axis = figure.add_subplot()
    width = 0.8 / len(present)
    for place, label in enumerate(present):
        chosen = values[labels == label]
        offset = (place - (len(present) - 1) / 2) * width
        bodies = axis.violinplot(
            [chosen[:, step] for step in range(steps)],
            positions=[step + offset for step in range(steps)],
            widths=0.92 * width,
            showextrema=False,
            showmedians=True,
        )
        color = ink(vectors.colors[label])
        for body in bodies["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor=color, edgecolor="black", linewidth=0.4, alpha=0.75)
        bodies["cmedians"].set(color="black", linewidth=1.0)
        axis.plot([], [], color=color, linewidth=5, label=f"{vectors.classes[label]} ({len(chosen)} pixels)")
    axis.set_xticks(range(steps), [str(step) for step in vectors.timesteps])
    axis.set(xlabel="diffusion step t", ylabel="grey value of decoded image", xlim=(-0.5, steps - 0.5))
    for border in range(steps - 1):
        axis.axvline(border + 0.5, color="#d0d0d0", linewidth=0.5, zorder=0)
    figure.legend(loc="outside upper center", ncols=min(4, len(present)))
    return figure
