"""Pieces of the preview picture: tints, outlines, text, scale bars, the legend. They know colours, not slides."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.core.class_colours import Color
from workers.outputs.lettering import fitted, width_of, write

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

INK, QUIET, RULE, PAPER = (25, 28, 33), (105, 110, 118), (208, 211, 216), (255, 255, 255)
FEW_COLUMNS, COLUMN_PX, NARROW_COLUMN_PX = 2, 120, 84
"""Of numbers in the legend; more of them are narrower."""
ROWS = 128
"""Of a picture that are coloured at once."""
TINT = 0.6
"""Opacity of the colour over a place that is all one class."""


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A class in the legend, with what is told of it."""

    name: str
    color: Color
    cells: tuple[str, ...]


def tinted(rgb: UInt8, shares: Floats, colors: Sequence[Color]) -> UInt8:
    """Colour a picture by classes.

    The opacity grows with the root of the share, so that scattered nuclei show from far away.

    Args:
        rgb: uint8 (height, width, 3).
        shares: Share of each class in each pixel, float32 (height, width, classes), background left out.
        colors: Colour of each class.
    """
    mixed = np.empty_like(rgb)
    for top in range(0, len(rgb), ROWS):  # numbers with a point take many times the picture
        rows = slice(top, top + ROWS)
        total = shares[rows].sum(axis=2, keepdims=True)
        color = shares[rows] @ np.asarray(colors, np.float32) / np.maximum(total, 1e-6)
        opacity = TINT * np.sqrt(total)
        mixed[rows] = (rgb[rows] * (1 - opacity) + color * opacity + 0.5).astype(np.uint8)
    return mixed


def outlined(rgb: UInt8, labels: UInt8, colors: NDArray[np.uint8], width: int) -> UInt8:
    """Draw the inner rim of every labelled area in its colour.

    Args:
        rgb: uint8 (height, width, 3).
        labels: uint8 (height, width), 0 is background.
        colors: uint8 (256, 3), colour of each label.
        width: Width of the rim in px.
    """
    rim = rims(labels, width)
    drawn = rgb.copy()
    drawn[rim] = colors[labels[rim]]
    return drawn


def rims(labels: UInt8, width: int) -> Bools:
    """Return the labelled pixels with a pixel of another label up to `width` px above, below, left or right."""
    height, width_px = labels.shape
    around = np.pad(labels, width, mode="edge")
    rim: Bools = np.zeros(labels.shape, bool)
    for shift in range(1, width + 1):
        for down, right in ((shift, 0), (-shift, 0), (0, shift), (0, -shift)):
            rim |= labels != around[width + down :, width + right :][:height, :width_px]
    rim &= labels != 0
    return rim


def round_length(um_room: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, 50, … µm that has room in `um_room`."""
    decade = 10.0 ** floor(log10(um_room))
    return max(step * decade for step in (1, 2, 5) if step * decade <= um_room * (1 + 1e-9))


def length_text(um: float) -> str:
    """Return a length as people write it: 500 µm, 2 mm."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm"


def add_scale_bar(image: Image.Image, um_per_px: float) -> None:
    """Draw a bar of round length into the lower left corner, on a light plate."""
    um = round_length(0.25 * image.width * um_per_px)
    length = max(1, round(um / um_per_px))
    text = length_text(um)
    text_width = round(width_of(text, 18))
    plate = Image.new("RGBA", (max(length, text_width) + 24, 48), (*PAPER, 215))
    pen = ImageDraw.Draw(plate)
    write(pen, (plate.width / 2, 6), text, INK, 18, "ma")
    left = (plate.width - length) // 2
    pen.rectangle((left, 34, left + length - 1, 39), INK)
    image.paste(plate, (12, image.height - plate.height - 12), plate)


def draw_legend(
    image: Image.Image, at: tuple[int, int], width: int, head: Sequence[str], rows: Sequence[LegendRow]
) -> int:
    """Draw a table of classes: swatch, name, and right-aligned cells under `head`. Returns the y below it."""
    x, y = at
    pen = ImageDraw.Draw(image)
    column_px = COLUMN_PX if len(head) <= FEW_COLUMNS else NARROW_COLUMN_PX
    stops = [x + width - column_px * (len(head) - 1 - column) for column in range(len(head))]
    for text, stop in zip(head, stops, strict=True):
        write(pen, (stop, y), text, QUIET, 17, "ra")
    y += 30
    for row in rows:
        pen.line((x, y, x + width, y), RULE)
        pen.rounded_rectangle((x, y + 9, x + 25, y + 30), 4, row.color, RULE if min(row.color) > 200 else row.color)
        write(pen, (x + 38, y + 20), fitted(row.name, width - 60 - column_px * len(head), 20), INK, 20, "lm")
        for text, stop in zip(row.cells, stops, strict=True):
            write(pen, (stop, y + 20), text, INK, 20, "rm")
        y += 40
    pen.line((x, y, x + width, y), RULE)
    return y
