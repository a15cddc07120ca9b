"""Which colour a class has: the one table from index to colour, for every picture and every text that shows classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.core.model.schemas import ModelClass

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


def color_table(classes: Sequence[ModelClass]) -> NDArray[np.uint8]:
    """Return the colour of each index, uint8 (256, 3); black where there is no class."""
    table = np.zeros((256, 3), np.uint8)
    for each in classes:
        table[each.index] = each.color
    return table


def hex_color(color: Sequence[int]) -> str:
    """Return a colour as `#rrggbb`."""
    red, green, blue = color
    return f"#{red:02x}{green:02x}{blue:02x}"
