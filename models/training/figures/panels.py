"""Qualitative panels: image, annotation, our labels, another network's labels; errors marked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from models.folder import ModelClass
from models.training.crops.data import IGNORE, Sample
from models.training.evaluation.metric_names import METRICS
from models.training.evaluation.metrics import confusion_matrix, scores
from models.training.figures.style import Color, hex_color, new_figure

MAPS: Final = "panels"
UNKNOWN: Final[Color] = (190, 190, 190)
# What can be wrong, with the colours that may mark it, the preferred one first; the classes keep their own.
ERRORS: Final[dict[str, tuple[Color, ...]]] = {
    "false alarm": ((230, 60, 0), (255, 205, 0), (0, 215, 230), (120, 0, 0)),
    "missed": ((0, 0, 0), (0, 215, 230), (255, 205, 0), (90, 90, 90)),
    "wrong class": ((240, 0, 200), (0, 215, 230), (255, 205, 0), (90, 0, 90)),
}
_APART: Final = 110.0
_ROUND: Final = (1, 2, 5)
_GAP: Final = 0.16  # inches that a row takes beside its images, and all rows together
_AROUND: Final = 0.62
_PAGE: Final = 9.5


@dataclass(frozen=True)
class Row:
    """One image: its size is (height, width) px at `mpp`, its maps lie in the folder `panels/`.

    Attributes:
        mpp: None where there is to be no scale bar.
        dice: For each predicting network, the mean Dice of the classes but the background that the annotation has;
            None where it has none.
    """

    name: str
    mpp: float | None
    size: tuple[int, int]
    dice: tuple[float | None, ...]


@dataclass(frozen=True)
class Panels:
    """The figure: `networks` are the predicting columns, ours first."""

    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    networks: tuple[str, ...]
    rows: tuple[Row, ...]


def collect(
    samples: Sequence[Sample],
    predicted: dict[str, list[NDArray[np.uint8]]],
    classes: Sequence[ModelClass],
    folder: Path,
    *,
    scaled: bool = True,
) -> Panels:
    """Write image, annotation and label maps as PNG into `folder/panels/` and return what else the figure needs.

    Args:
        samples: The images.
        predicted: For each network, by its name, the labels of every image on the annotation's grid.
        classes: Of all networks.
        folder: Where the figure is written.
        scaled: Whether the pixel size of the images is known.

    Raises:
        ValueError: A label map is not of its image's size, or holds an unknown label.
    """
    (folder / MAPS).mkdir(parents=True, exist_ok=True)
    rows = []
    for index, sample in enumerate(samples):
        maps = [labels[index] for labels in predicted.values()]
        dice = tuple(_mean_dice(sample, labels, len(classes)) for labels in maps)
        for kind, pixels in zip(_kinds(len(maps)), (sample.image, sample.labels, *maps), strict=True):
            Image.fromarray(pixels).save(folder / MAPS / f"{sample.name}_{kind}.png")
        rows.append(
            Row(sample.name, sample.mpp if scaled else None, (sample.labels.shape[0], sample.labels.shape[1]), dice)
        )
    names, colors = tuple(c.name for c in classes), tuple(c.color for c in classes)
    return Panels(names, colors, tuple(predicted), tuple(rows))


def _kinds(networks: int) -> list[str]:
    return ["image", "annotation", *(f"network{number + 1}" for number in range(networks))]


def _mean_dice(sample: Sample, labels: NDArray[np.uint8], classes: int) -> float | None:
    if labels.shape != sample.labels.shape:
        raise ValueError(f"{sample.name}: the annotation is {sample.labels.shape}, the predicted labels {labels.shape}")
    defined = [value for value in scores(confusion_matrix(sample.labels, labels, classes)).dice[1:] if value == value]
    return float(np.mean(defined)) if defined else None


def paint(labels: NDArray[np.uint8], colors: Sequence[Color]) -> NDArray[np.uint8]:
    """Labels (H, W) → RGB (H, W, 3) in the classes' colours; grey where nothing is annotated."""
    table = np.tile(np.array(UNKNOWN, np.uint8), (IGNORE + 1, 1))
    table[: len(colors)] = colors
    return table[labels]


def mark_errors(
    reference: NDArray[np.uint8], predicted: NDArray[np.uint8], colors: Sequence[Color]
) -> NDArray[np.uint8]:
    """Predicted labels in the classes' colours, with what is wrong painted over: RGB (H, W, 3)."""
    painted = paint(np.where(reference == IGNORE, np.uint8(IGNORE), predicted), colors)
    extra, missed, confused = error_colors(colors)
    wrong = (reference != predicted) & (reference != IGNORE)
    painted[wrong & (reference == 0)] = extra
    painted[wrong & (predicted == 0)] = missed
    painted[wrong & (reference > 0) & (predicted > 0)] = confused
    return painted


def error_colors(colors: Sequence[Color]) -> list[Color]:
    """Return the colours of false alarm, missed and wrong class, well apart in RGB from the classes and each other."""
    taken = [*colors, UNKNOWN]
    for candidates in ERRORS.values():
        gaps = [min(math.dist(candidate, other) for other in taken) for candidate in candidates]
        fitting = [candidate for candidate, gap in zip(candidates, gaps, strict=True) if gap >= _APART]
        taken.append(fitting[0] if fitting else candidates[gaps.index(max(gaps))])
    return taken[-len(ERRORS) :]


def draw(panels: Panels, folder: Path) -> Figure:
    """Draw a row for each image; the maps are read from `folder/panels/`."""
    kinds = _kinds(len(panels.networks))
    dice_name = METRICS["dice"].heading
    measure = dice_name if len(panels.classes) == 2 else f"mean {dice_name}"
    titles = ["image", "annotation", *panels.networks]
    tall = [row.size[0] / row.size[1] for row in panels.rows]
    side = min(1.9, 7.2 / len(kinds), _GAP + (_PAGE - _AROUND - _GAP * len(tall)) / sum(tall))
    heights = [(side - _GAP) * ratio + _GAP for ratio in tall]
    figure = new_figure(side * len(kinds), sum(heights) + _AROUND, pad=0.02)
    grid: Any = figure.add_gridspec(len(panels.rows), len(kinds), height_ratios=heights)
    for r, row in enumerate(panels.rows):
        maps = [np.asarray(Image.open(folder / MAPS / f"{row.name}_{kind}.png")) for kind in kinds]
        for c, (title, pixels) in enumerate(zip(titles, maps, strict=True)):
            axis = figure.add_subplot(grid[r, c])
            axis.set(xticks=[], yticks=[], title=title if r == 0 else "")
            axis.spines[:].set(visible=True, linewidth=0.4)
            shown = pixels if c == 0 else paint(pixels, panels.colors)
            axis.imshow(mark_errors(maps[1], pixels, panels.colors) if c > 1 else shown)
            if c > 1 and (dice := row.dice[c - 2]) is not None:
                axis.set_xlabel(f"{measure} {dice:.2f}", labelpad=2, fontsize=7)
        figure.axes[r * len(kinds)].set_ylabel(row.name, fontsize=7)
        if row.mpp is not None:
            _scale_bar(figure.axes[r * len(kinds)], row.size, row.mpp)
    _legend(figure, panels)
    return figure


def _scale_bar(axis: Axes, size: tuple[int, int], mpp: float) -> None:
    """Draw a bar of a round length, about a quarter of the image's width, on a white ground."""
    height, width = size
    length = round_length(width * mpp / 4)
    bar = length / mpp
    side = min(height, width)
    x, y = 0.04 * side, height - 0.05 * side
    axis.annotate(
        f"{length:g} µm",
        (x, y),
        xytext=(1, 4),
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=6,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
    )
    axis.set_autoscale_on(False)
    for color, width_pt in (("white", 2.6), ("black", 1.6)):
        axis.plot([x, x + bar], [y, y], color=color, linewidth=width_pt, solid_capstyle="butt")


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, … that is not above a length (above 0)."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(factor * power for factor in _ROUND if factor * power <= length * (1 + 1e-9)))


def _legend(figure: Figure, panels: Panels) -> None:
    shown = list(ERRORS) if len(panels.classes) > 2 else list(ERRORS)[:2]  # two classes cannot be confused otherwise
    entries = dict(zip(panels.classes, panels.colors, strict=True))
    marks = dict(zip(shown, error_colors(panels.colors), strict=False))
    edge = {"edgecolor": "black", "linewidth": 0.4}
    handles = [Patch(facecolor=hex_color(color), label=name, **edge) for name, color in (entries | marks).items()]  # type: ignore[arg-type]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)))
